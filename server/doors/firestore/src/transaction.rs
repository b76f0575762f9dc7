//! The book of open transactions: what each has read, and whose turn it is where many want the same.
//!
//! Transactions are optimistic: what one has read is handed to the engine with its commit, which stands only if that is
//! unchanged. So nothing here decides what is true. Where commits failed lately, the next readers queue: each gets the
//! document for a short lease, and one of any number of contenders always goes ahead. A lease that runs out costs
//! a retry and nothing else. Who tries again keeps the age of its first attempt, and goes before all that are younger.
//!
//! Told the time; waits for nobody. Waiting is `service`'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hearth_auth::Scope;
use hearth_core::{DatabaseName, DocPath, Version};
use hearth_engine::QueryRead;
use tokio::sync::Notify;

use crate::status::TransactionError;

/// The number of a transaction within this process.
pub(crate) type Number = u64;

/// What a transaction may do, and what it has seen.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// It only reads, at this version.
    ReadOnly(Version),
    /// It reads and may commit.
    ReadWrite(Reads),
}

/// What a transaction has read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// The version that all its reads see; chosen by the first.
    pub(crate) at: Option<Version>,
    /// Documents, with their last change as they were read.
    pub(crate) documents: BTreeMap<DocPath, Option<Version>>,
    /// Queries.
    pub(crate) queries: Vec<QueryRead>,
    /// Whether it queues.
    pub(crate) manners: Manners,
}

/// Whether a transaction waits for its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Where others failed lately.
    #[default]
    WhereContended,
    /// Always: the caller asked for locks.
    Always,
    /// Never: the caller asked to be optimistic.
    Never,
}

/// What can be contended for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subject {
    pub(crate) database: DatabaseName,
    pub(crate) what: What,
}

/// A document, or a query by its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    Document(DocPath),
    Query(u64),
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) database: DatabaseName,
    pub(crate) kind: Kind,
    scope: Scope,
    secret: [u8; 8],
    /// The number of its first attempt: the lower, the older.
    age: Number,
    began: Duration,
    used: Duration,
    held: Vec<Subject>,
}

/// What is remembered of a transaction that is over, for the attempt after it.
#[derive(Debug)]
struct Ended {
    database: DatabaseName,
    scope: Scope,
    secret: [u8; 8],
    age: Number,
    until: Duration,
}

/// Whether it is a transaction's turn.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is, or the subject is free of contention.
    Now,
    /// It is not: ask again when this wakes, at the latest after this time.
    After(Duration, Arc<Notify>),
}

/// Who has a subject, and who waits for it.
#[derive(Debug, Default)]
struct Line {
    holder: Option<(Number, Duration)>,
    /// The oldest first. Each has its own bell, so that only the first is woken, and never by itself.
    waiting: VecDeque<Place>,
}

/// A transaction that waits.
#[derive(Debug)]
struct Place {
    number: Number,
    age: Number,
    bell: Arc<Notify>,
}

impl Line {
    /// A transaction's bell; it is put in line where it is not yet.
    fn bell(&mut self, number: Number, age: Number) -> Arc<Notify> {
        if let Some(place) = self.waiting.iter().find(|place| place.number == number) {
            return place.bell.clone();
        }
        let bell = Arc::<Notify>::default();
        let behind = self.waiting.partition_point(|place| place.age <= age);
        self.waiting.insert(behind, Place { number, age, bell: bell.clone() });
        bell
    }

    /// Takes a transaction out; whoever is first then goes ahead.
    fn leave(&mut self, number: Number) {
        self.waiting.retain(|place| place.number != number);
        if self.holder.is_some_and(|(holder, _)| holder == number) {
            self.holder = None;
        }
        if self.holder.is_none()
            && let Some(first) = self.waiting.front()
        {
            first.bell.notify_one();
        }
    }
}

/// All open transactions of a process.
#[derive(Debug)]
pub(crate) struct Book {
    epoch: [u8; 8],
    next: Number,
    open: HashMap<Number, Transaction>,
    ended: BTreeMap<Number, Ended>,
    /// Subjects at which commits failed, and until when that is remembered.
    contended: HashMap<Subject, Duration>,
    lines: HashMap<Subject, Line>,
    swept: Duration,
}

impl Book {
    /// How long a transaction may do nothing. Source: Firestore documentation, "Transactions and batched writes".
    pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);
    /// How long a transaction may last. Source: the same.
    pub(crate) const LIFE_MAX: Duration = Duration::from_secs(270);
    /// Most open transactions.
    const OPEN_MAX: usize = 10_000;
    /// How long it is remembered of a transaction that is over how old it was.
    const ENDED: Duration = Duration::from_secs(60);
    /// Of how many that is remembered.
    const ENDED_MAX: usize = 10_000;
    /// How long a transaction has a subject to itself.
    const LEASE: Duration = Duration::from_secs(1);
    /// How long a failed commit makes others queue.
    const CONTENTION: Duration = Duration::from_secs(10);
    const SWEEP_EVERY: Duration = Duration::from_secs(1);
    const ID_BYTES: usize = 24;

    /// An empty book. The epoch tells the ids of this process from those of earlier ones.
    pub(crate) fn new(epoch: [u8; 8]) -> Self {
        Self {
            epoch,
            next: 1,
            open: HashMap::new(),
            ended: BTreeMap::new(),
            contended: HashMap::new(),
            lines: HashMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// Opens a transaction and says its id. The secret makes the id hard to guess. `attempt` is the id of the attempt before
    /// it, whose age it keeps; empty where this is the first.
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        secret: [u8; 8],
        database: &DatabaseName,
        scope: Scope,
        kind: Kind,
        attempt: &[u8],
    ) -> Result<(Number, Vec<u8>), TransactionError> {
        self.sweep(now);
        if self.open.len() >= Self::OPEN_MAX {
            return Err(TransactionError::TooMany);
        }
        let number = self.next;
        let age = self.age_of(attempt, database, &scope)?.unwrap_or(number);
        self.next += 1;
        let database = database.clone();
        let transaction = Transaction { database, kind, scope, secret, age, began: now, used: now, held: Vec::new() };
        self.open.insert(number, transaction);
        Ok((number, [self.epoch, number.to_be_bytes(), secret].concat()))
    }

    /// The open transaction of an id, which must be of this database and caller.
    pub(crate) fn find(
        &mut self,
        now: Duration,
        id: &[u8],
        database: &DatabaseName,
        scope: &Scope,
    ) -> Result<Number, TransactionError> {
        self.sweep(now);
        let (number, secret) = self.parse(id)?;
        let transaction = self.open.get_mut(&number).ok_or(TransactionError::Over)?;
        if transaction.secret != secret || transaction.database != *database || transaction.scope != *scope {
            return Err(TransactionError::Unknown);
        }
        transaction.used = now;
        Ok(number)
    }

    /// The number and the secret of an id that this process may have handed out.
    fn parse(&self, id: &[u8]) -> Result<(Number, [u8; 8]), TransactionError> {
        let id: &[u8; Self::ID_BYTES] = id.try_into().map_err(|_| TransactionError::Unknown)?;
        let part = |from: usize| <[u8; 8]>::try_from(&id[from..from + 8]).expect("eight bytes of twenty-four");
        if part(0) != self.epoch {
            return Err(TransactionError::Lost);
        }
        match Number::from_be_bytes(part(8)) {
            number if number < self.next => Ok((number, part(16))),
            _ => Err(TransactionError::Unknown),
        }
    }

    /// How old the attempt with this id was, where that is remembered. It is over then, if it was not yet.
    fn age_of(
        &mut self,
        attempt: &[u8],
        database: &DatabaseName,
        scope: &Scope,
    ) -> Result<Option<Number>, TransactionError> {
        if attempt.is_empty() {
            return Ok(None);
        }
        let (number, secret) = match self.parse(attempt) {
            Ok(parsed) => parsed,
            // Nothing of an earlier life of the process is remembered.
            Err(TransactionError::Lost) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(open) = self.open.get(&number)
            && (open.secret, &open.database, &open.scope) == (secret, database, scope)
            && let Ok(transaction) = self.take(number)
        {
            self.release(number, &transaction);
        }
        match self.ended.get(&number) {
            None if !self.open.contains_key(&number) => Ok(None),
            Some(ended) if (ended.secret, &ended.database, &ended.scope) == (secret, database, scope) => {
                Ok(self.ended.remove(&number).map(|ended| ended.age))
            }
            _ => Err(TransactionError::Unknown),
        }
    }

    /// An open transaction.
    pub(crate) fn get(&mut self, number: Number) -> Result<&mut Transaction, TransactionError> {
        self.open.get_mut(&number).ok_or(TransactionError::Over)
    }

    /// Takes a transaction out, to be committed or forgotten. What it holds stays held until [`Book::release`].
    pub(crate) fn take(&mut self, number: Number) -> Result<Transaction, TransactionError> {
        let transaction = self.open.remove(&number).ok_or(TransactionError::Over)?;
        let Transaction { ref database, ref scope, secret, age, used, .. } = transaction;
        let until = used + Self::ENDED;
        self.ended.insert(number, Ended { database: database.clone(), scope: scope.clone(), secret, age, until });
        if self.ended.len() > Self::ENDED_MAX {
            self.ended.pop_first();
        }
        Ok(transaction)
    }

    /// Lets others at what a transaction held.
    pub(crate) fn release(&mut self, number: Number, transaction: &Transaction) {
        for subject in &transaction.held {
            self.leave(number, subject);
        }
    }

    /// Remembers that a commit failed at these.
    pub(crate) fn contend(&mut self, now: Duration, subjects: impl IntoIterator<Item = Subject>) {
        self.contended.extend(subjects.into_iter().map(|subject| (subject, now + Self::CONTENTION)));
    }

    /// Whether it is a transaction's turn at a subject; if not it is put in line.
    pub(crate) fn turn(&mut self, now: Duration, number: Number, subject: &Subject) -> Turn {
        let contended = self.contended.get(subject).is_some_and(|until| *until > now);
        let queues = match self.open.get(&number).map(|transaction| &transaction.kind) {
            None | Some(Kind::ReadOnly(_)) => false,
            Some(Kind::ReadWrite(reads)) => match reads.manners {
                Manners::Never => false,
                Manners::Always => true,
                Manners::WhereContended => contended,
            },
        };
        let (true, Some(transaction)) = (queues, self.open.get_mut(&number)) else {
            // It may have waited until now.
            self.leave(number, subject);
            return Turn::Now;
        };
        let age = transaction.age;
        let line = self.lines.entry(subject.clone()).or_default();
        match line.holder {
            Some((holder, _)) if holder == number => return Turn::Now,
            Some((_, until)) if until > now => return Turn::After(until - now, line.bell(number, age)),
            _ => {}
        }
        if line.waiting.front().is_some_and(|first| first.number != number && first.age <= age) {
            // Whoever is first takes it in a moment, or leaves.
            return Turn::After(Self::LEASE, line.bell(number, age));
        }
        line.waiting.retain(|place| place.number != number);
        line.holder = Some((number, now + Self::LEASE));
        transaction.held.push(subject.clone());
        Turn::Now
    }

    /// Takes a transaction out of a subject's line.
    pub(crate) fn leave(&mut self, number: Number, subject: &Subject) {
        if let Some(line) = self.lines.get_mut(subject) {
            line.leave(number);
        }
        self.tidy(subject);
    }

    fn tidy(&mut self, subject: &Subject) {
        if self.lines.get(subject).is_some_and(|line| line.holder.is_none() && line.waiting.is_empty()) {
            self.lines.remove(subject);
        }
    }

    /// Forgets what is over.
    fn sweep(&mut self, now: Duration) {
        if now < self.swept + Self::SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.contended.retain(|_, until| *until > now);
        let is_over = |transaction: &Transaction| {
            now > transaction.used + Self::IDLE_MAX || now > transaction.began + Self::LIFE_MAX
        };
        let over: Vec<Number> =
            self.open.iter().filter(|(_, transaction)| is_over(transaction)).map(|(number, _)| *number).collect();
        for number in over {
            if let Ok(transaction) = self.take(number) {
                self.release(number, &transaction);
            }
        }
        self.ended.retain(|_, ended| ended.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_auth::Caller;

    fn database() -> DatabaseName {
        DatabaseName::parse("p", "(default)").unwrap()
    }

    fn subject(path: &str) -> Subject {
        Subject { database: database(), what: What::Document(DocPath::parse(path).unwrap()) }
    }

    fn begin(book: &mut Book, now: Duration) -> (Number, Vec<u8>) {
        let kind = Kind::ReadWrite(Reads::default());
        book.begin(now, [7; 8], &database(), Caller::Admin.scope(), kind, &[]).unwrap()
    }

    fn retry(book: &mut Book, now: Duration, attempt: &[u8]) -> Result<(Number, Vec<u8>), TransactionError> {
        let kind = Kind::ReadWrite(Reads::default());
        book.begin(now, [8; 8], &database(), Caller::Admin.scope(), kind, attempt)
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn an_id_opens_only_what_it_was_handed_out_for() {
        let mut book = Book::new([1; 8]);
        let (number, id) = begin(&mut book, at(0));
        let admin = Caller::Admin.scope();
        assert_eq!(book.find(at(1), &id, &database(), &admin), Ok(number));
        let other = DatabaseName::parse("p", "other").unwrap();
        assert_eq!(book.find(at(1), &id, &other, &admin), Err(TransactionError::Unknown));
        assert_eq!(book.find(at(1), &id, &database(), &Caller::Anonymous.scope()), Err(TransactionError::Unknown));
        assert_eq!(book.find(at(1), b"short", &database(), &admin), Err(TransactionError::Unknown));
        let mut earlier = id.clone();
        earlier[0] ^= 1;
        assert_eq!(book.find(at(1), &earlier, &database(), &admin), Err(TransactionError::Lost));
        let mut guessed = id.clone();
        guessed[23] ^= 1;
        assert_eq!(book.find(at(1), &guessed, &database(), &admin), Err(TransactionError::Unknown));
        book.take(number).unwrap();
        assert_eq!(book.find(at(1), &id, &database(), &admin), Err(TransactionError::Over));
    }

    #[test]
    fn a_transaction_ends_by_idleness_and_by_age() {
        let mut book = Book::new([1; 8]);
        let admin = Caller::Admin.scope();
        let (_, idle) = begin(&mut book, at(0));
        assert!(book.find(at(60), &idle, &database(), &admin).is_ok());
        assert_eq!(book.find(at(121), &idle, &database(), &admin), Err(TransactionError::Over));
        let (_, busy) = begin(&mut book, at(200));
        for second in (230..=470).step_by(30) {
            assert!(book.find(at(second), &busy, &database(), &admin).is_ok());
        }
        assert_eq!(book.find(at(472), &busy, &database(), &admin), Err(TransactionError::Over));
    }

    #[test]
    fn contenders_queue_and_each_has_its_lease() {
        let mut book = Book::new([1; 8]);
        let hot = subject("rooms/a");
        let (first, _) = begin(&mut book, at(0));
        assert!(matches!(book.turn(at(0), first, &hot), Turn::Now), "nobody failed yet");
        book.contend(at(0), [hot.clone()]);
        let numbers: Vec<Number> = (0..3).map(|_| begin(&mut book, at(0)).0).collect();
        assert!(matches!(book.turn(at(0), numbers[0], &hot), Turn::Now));
        assert!(matches!(book.turn(at(0), numbers[1], &hot), Turn::After(..)));
        assert!(matches!(book.turn(at(0), numbers[2], &hot), Turn::After(..)));
        let done = book.take(numbers[0]).unwrap();
        book.release(numbers[0], &done);
        assert!(matches!(book.turn(at(0), numbers[2], &hot), Turn::After(..)), "the second is first in line");
        assert!(matches!(book.turn(at(0), numbers[1], &hot), Turn::Now));
        assert!(matches!(book.turn(at(2), numbers[2], &hot), Turn::Now), "the lease ran out");
        assert!(matches!(book.turn(at(2), numbers[0], &subject("rooms/b")), Turn::Now));
    }

    #[test]
    fn who_tries_again_goes_before_all_that_are_younger() {
        let mut book = Book::new([1; 8]);
        let hot = subject("rooms/a");
        let (first, id) = begin(&mut book, at(0));
        book.contend(at(0), [hot.clone()]);
        let others: Vec<Number> = (0..3).map(|_| begin(&mut book, at(0)).0).collect();
        for number in &others {
            book.turn(at(0), *number, &hot);
        }
        // It failed, came back last, and waits for no more than the one that is at it.
        book.take(first).unwrap();
        let (again, second_id) = retry(&mut book, at(0), &id).unwrap();
        assert!(matches!(book.turn(at(0), again, &hot), Turn::After(..)));
        let done = book.take(others[0]).unwrap();
        book.release(others[0], &done);
        assert!(matches!(book.turn(at(0), others[1], &hot), Turn::After(..)), "an older one is before it");
        assert!(matches!(book.turn(at(0), again, &hot), Turn::Now));
        // A third attempt is as old as the first, also where the second was not ended; and takes what is free at once.
        let (third, _) = retry(&mut book, at(0), &second_id).unwrap();
        assert!(matches!(book.turn(at(0), third, &hot), Turn::Now), "the second let go of it");
        assert!(matches!(book.turn(at(0), others[1], &hot), Turn::After(..)));
    }

    #[test]
    fn an_attempt_before_is_ones_own_and_forgotten_in_time() {
        let mut book = Book::new([1; 8]);
        let unknown = Err(TransactionError::Unknown);
        assert_eq!(retry(&mut book, at(0), b"nonsense").map(|_| ()), unknown);
        let (number, id) = begin(&mut book, at(0));
        let kind = || Kind::ReadWrite(Reads::default());
        let anonymous = book.begin(at(0), [8; 8], &database(), Caller::Anonymous.scope(), kind(), &id);
        assert_eq!(anonymous.map(|_| ()), unknown);
        assert!(book.get(number).is_ok(), "another caller does not end it");
        let mut guessed = id.clone();
        guessed[23] ^= 1;
        assert_eq!(retry(&mut book, at(0), &guessed).map(|_| ()), unknown);
        let mut earlier = id.clone();
        earlier[0] ^= 1;
        assert!(retry(&mut book, at(0), &earlier).is_ok(), "an earlier process is not asked");
        book.take(number).unwrap();
        assert_eq!(retry(&mut book, at(0), &guessed).map(|_| ()), unknown);
        assert_eq!(book.ended.len(), 1);
        begin(&mut book, at(61));
        assert!(book.ended.is_empty());
        assert!(retry(&mut book, at(61), &id).is_ok(), "what is forgotten is as good as new");
    }

    #[test]
    fn who_leaves_the_line_holds_nobody_up_and_nothing_is_kept() {
        let mut book = Book::new([1; 8]);
        let hot = subject("rooms/a");
        book.contend(at(0), [hot.clone()]);
        let numbers: Vec<Number> = (0..3).map(|_| begin(&mut book, at(0)).0).collect();
        for number in &numbers {
            book.turn(at(0), *number, &hot);
        }
        book.leave(numbers[1], &hot);
        let done = book.take(numbers[0]).unwrap();
        book.release(numbers[0], &done);
        assert!(matches!(book.turn(at(0), numbers[2], &hot), Turn::Now));
        let done = book.take(numbers[2]).unwrap();
        book.release(numbers[2], &done);
        assert!(book.lines.is_empty());
    }

    #[test]
    fn only_the_first_in_line_is_woken_and_contention_ends_for_all() {
        let mut book = Book::new([1; 8]);
        let hot = subject("rooms/a");
        book.contend(at(0), [hot.clone()]);
        let numbers: Vec<Number> = (0..4).map(|_| begin(&mut book, at(0)).0).collect();
        let bell = |turn: Turn| match turn {
            Turn::After(_, bell) => Some(bell),
            Turn::Now => None,
        };
        let bells: Vec<_> = numbers.iter().map(|number| bell(book.turn(at(0), *number, &hot))).collect();
        assert!(bells[0].is_none());
        let rung = |bell: &Option<Arc<Notify>>| {
            use futures_util::FutureExt as _;
            bell.as_ref().is_some_and(|bell| bell.notified().now_or_never().is_some())
        };
        let done = book.take(numbers[0]).unwrap();
        book.release(numbers[0], &done);
        assert!(rung(&bells[1]) && !rung(&bells[2]) && !rung(&bells[3]));
        assert!(bell(book.turn(at(0), numbers[2], &hot)).is_some());
        assert!(!rung(&bells[1]) && !rung(&bells[2]), "asking wakes nobody");
        // Contention is over before any of them asks again: none of them stays in line.
        for number in &numbers[1..] {
            assert!(matches!(book.turn(at(11), *number, &hot), Turn::Now));
        }
        assert!(book.lines.is_empty());
    }
}
