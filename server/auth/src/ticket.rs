//! Tickets: how an `EventSource`, which can send no header, proves who asks.
//!
//! A ticket carries all that it grants, sealed (AES-256-GCM-SIV) with a key that the program keeps in its data
//! directory, so it outlives restarts with nothing stored. Sealed rather than only signed, because it stands in an
//! address, and the claims of a user should not be readable in a proxy's log.
//!
//! **What is remembered** is only which tickets were opened in this life of the process. A ticket of this life must be
//! opened for the first time within [`Tickets::OPEN_SECONDS_MAX`]; after that it may be opened again until it expires,
//! which is how `EventSource` reconnects. Of a ticket from an earlier life nobody knows any more whether it had been
//! opened in time, and refusing would end for good the very streams that tickets are for, so it may be opened until it
//! expires. That gives away little: whoever holds a ticket that *was* opened could do the same without any restart, so
//! the short term only ever protects tickets that were never used, and for those it lapses with the process.
//!
//! **One stream at a time**: opening a ticket again ends the stream it already feeds. Refusing would be wrong, since a
//! reconnecting browser is often back before the server has noticed that the old connection is dead, and gives up for
//! good when it is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::admin::{AdminKey, sha256};
use crate::caller::{Caller, User};
use crate::claims;
use crate::gate::Mode;

/// The book of tickets of one process. All times in seconds since 1970.
pub struct Tickets {
    key: LessSafeKey,
    mode: Mode,
    /// Of the admin key; zeros without one. An admin's ticket dies with the key it was issued under.
    admin: [u8; 32],
    /// Tells this life of the process from others.
    life: [u8; 16],
    opened: BTreeMap<[u8; 16], Stream>,
    turns: u64,
}

/// A ticket that was opened in this life.
struct Stream {
    /// Counts openings and closings of all tickets: which opening is the last one of this ticket, or when it closed.
    turn: u64,
    open: bool,
    expires_seconds: u64,
}

/// A ticket as it is handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The text for the address: letters, digits, `-` and `_`. A secret; never logged.
    pub text: String,
    /// It must be opened for the first time before this second.
    pub opens_before_seconds: u64,
    /// It opens nothing from this second on.
    pub expires_seconds: u64,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("opens_before_seconds", &self.opens_before_seconds)
            .field("expires_seconds", &self.expires_seconds)
            .finish_non_exhaustive()
    }
}

/// One opening of one ticket; tell [`Tickets::closed`] when its stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    id: [u8; 16],
    turn: u64,
}

/// What opening a ticket grants: this caller, reading, at the address the ticket was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who asks.
    pub caller: Caller,
    /// When the stream must end, also for callers whose own authority has no end.
    pub expires_seconds: u64,
    /// This opening.
    pub pass: Pass,
    /// The opening that this one takes over; its stream must be ended now.
    pub ends: Option<Pass>,
}

/// Why no ticket was issued or opened. The messages repeat nothing of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("a ticket is for an address of 1 to {} bytes that begins with a slash", Tickets::ADDRESS_BYTES_MAX)]
    Address,
    /// Claims that did not come out of a token.
    #[error("the caller's claims cannot be put into a ticket")]
    Claims,
    /// Forged, damaged, of another server, or of this server in its other mode.
    #[error("not a ticket of this server")]
    Unknown,
    #[error("the ticket is for another address")]
    OtherAddress,
    #[error("the ticket was not opened within {} s", Tickets::OPEN_SECONDS_MAX)]
    TooLate,
    #[error("the ticket has expired")]
    Expired,
    /// The admin key was changed since.
    #[error("the ticket was issued under another admin key")]
    OtherAdminKey,
    #[error("{} streams are open by ticket, and no more can be", Tickets::OPENED_MAX)]
    TooMany,
}

impl Tickets {
    /// By when a ticket must be opened for the first time.
    pub const OPEN_SECONDS_MAX: u64 = 30;
    /// How long a ticket lasts for callers whose authority has no end.
    pub const LIFE_SECONDS_DEFAULT: u64 = 24 * 60 * 60;
    /// Longest address with its query, in bytes.
    pub const ADDRESS_BYTES_MAX: usize = 16 * 1024;
    /// Most opened tickets that are remembered; past that, those closed longest ago are forgotten.
    pub const OPENED_MAX: usize = 10_000;

    /// A book under `key`, 32 random bytes that the program keeps in its data directory.
    ///
    /// `life` is random and drawn anew at each start. Tickets of dev, where anybody may be an admin, open nothing in
    /// serve under the same key.
    pub fn new(key: [u8; 32], life: [u8; 16], mode: Mode, admin: Option<&AdminKey>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key).expect("a key of 32 bytes fits AES-256");
        Self {
            key: LessSafeKey::new(key),
            mode,
            admin: admin.map_or([0; 32], AdminKey::fingerprint),
            life,
            opened: BTreeMap::new(),
            turns: 0,
        }
    }

    /// A ticket for this caller to read at this address: path and query exactly as they will be asked for, without
    /// the ticket. `random` comes from the system's generator and is never used twice.
    pub fn issue(
        &self,
        random: [u8; 16],
        now_seconds: u64,
        address: &str,
        caller: &Caller,
    ) -> Result<Ticket, TicketError> {
        if !address.starts_with('/') || address.len() > Self::ADDRESS_BYTES_MAX {
            return Err(TicketError::Address);
        }
        if caller.is_expired(now_seconds) {
            return Err(TicketError::Expired);
        }
        let default = now_seconds.saturating_add(Self::LIFE_SECONDS_DEFAULT);
        let expires_seconds = caller.expires_seconds().unwrap_or(default);
        let grant = Sealed {
            life: self.life,
            opens_before_seconds: now_seconds.saturating_add(Self::OPEN_SECONDS_MAX).min(expires_seconds),
            expires_seconds,
            address: sha256(address.as_bytes()),
            admin: self.admin,
            caller: caller.clone(),
        };
        let mut sealed = grant.encode().ok_or(TicketError::Claims)?;
        self.key
            .seal_in_place_append_tag(nonce(&random), self.context(&random), &mut sealed)
            .expect("sealing fails only for gigabytes");
        let text = URL_SAFE_NO_PAD.encode([random.as_slice(), &sealed].concat());
        Ok(Ticket { text, opens_before_seconds: grant.opens_before_seconds, expires_seconds })
    }

    /// Opens a ticket at an address, which is path and query as they came, without the ticket (see [`split`]).
    pub fn open(&mut self, ticket: &str, address: &str, now_seconds: u64) -> Result<Opened, TicketError> {
        let (id, grant) = self.unseal(ticket).ok_or(TicketError::Unknown)?;
        if grant.address != sha256(address.as_bytes()) {
            return Err(TicketError::OtherAddress);
        }
        if now_seconds >= grant.expires_seconds {
            return Err(TicketError::Expired);
        }
        if grant.caller == Caller::Admin && grant.admin != self.admin {
            return Err(TicketError::OtherAdminKey);
        }
        let before = self.opened.get(&id);
        let first_of_this_life = before.is_none() && grant.life == self.life;
        if first_of_this_life && now_seconds >= grant.opens_before_seconds {
            return Err(TicketError::TooLate);
        }
        let ends = before.filter(|stream| stream.open).map(|stream| Pass { id, turn: stream.turn });
        if before.is_none() {
            self.make_room(now_seconds)?;
        }
        self.turns += 1;
        let turn = self.turns;
        self.opened.insert(id, Stream { turn, open: true, expires_seconds: grant.expires_seconds });
        Ok(Opened { caller: grant.caller, expires_seconds: grant.expires_seconds, pass: Pass { id, turn }, ends })
    }

    /// The stream of that opening has ended. If another has taken over meanwhile, nothing changes.
    pub fn closed(&mut self, pass: Pass) {
        if let Some(stream) = self.opened.get_mut(&pass.id).filter(|stream| stream.turn == pass.turn) {
            self.turns += 1;
            (stream.open, stream.turn) = (false, self.turns);
        }
    }

    /// Whether that opening still feeds its stream, and was not taken over or closed.
    pub fn is_open(&self, pass: Pass) -> bool {
        self.opened.get(&pass.id).is_some_and(|stream| stream.open && stream.turn == pass.turn)
    }

    /// Forgets what is of no use, so that one more ticket can be remembered. A ticket that is forgotten while it was
    /// closed can be opened again only in the next life.
    fn make_room(&mut self, now_seconds: u64) -> Result<(), TicketError> {
        if self.opened.len() < Self::OPENED_MAX {
            return Ok(());
        }
        self.opened.retain(|_, stream| stream.open || stream.expires_seconds > now_seconds);
        if self.opened.len() < Self::OPENED_MAX {
            return Ok(());
        }
        let closed = self.opened.iter().filter(|(_, stream)| !stream.open);
        let oldest = closed.min_by_key(|(_, stream)| stream.turn).map(|(id, _)| *id);
        self.opened.remove(&oldest.ok_or(TicketError::TooMany)?);
        Ok(())
    }

    fn unseal(&self, ticket: &str) -> Option<([u8; 16], Sealed)> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (id, sealed) = bytes.split_first_chunk::<16>()?;
        let mut sealed = sealed.to_vec();
        let grant = self.key.open_in_place(nonce(id), self.context(id), &mut sealed).ok()?;
        Some((*id, Sealed::decode(grant)?))
    }

    /// What is sealed along: what kind of thing this is, under which mode it holds, and the whole id, of which the
    /// nonce has only a part: with another end it would be another ticket, not yet opened.
    fn context(&self, id: &[u8; 16]) -> Aad<Vec<u8>> {
        let kind: &[u8] = match self.mode {
            Mode::Dev => b"hearth ticket 1 dev",
            Mode::Serve => b"hearth ticket 1 serve",
        };
        Aad::from([kind, id].concat())
    }
}

/// Splits path and query into the address without its `ticket` parameter, and the ticket. `None` if there is no
/// ticket, or more than one.
pub fn split(path_and_query: &str) -> Option<(Cow<'_, str>, &str)> {
    let (path, query) = path_and_query.split_once('?')?;
    let (tickets, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("ticket="));
    let [ticket] = tickets.as_slice() else { return None };
    let ticket = ticket.strip_prefix("ticket=")?;
    match others.as_slice() {
        [] => Some((path.into(), ticket)),
        others => Some((format!("{path}?{}", others.join("&")).into(), ticket)),
    }
}

/// The nonce of a ticket. A collision among random ones would tell only that two tickets are equal, which is why the
/// cipher is the misuse-resistant one.
fn nonce(id: &[u8; 16]) -> Nonce {
    let bytes = id.first_chunk::<12>().expect("16 bytes begin with 12");
    Nonce::assume_unique_for_key(*bytes)
}

/// What is sealed in a ticket.
#[derive(Debug, PartialEq)]
struct Sealed {
    life: [u8; 16],
    opens_before_seconds: u64,
    expires_seconds: u64,
    /// SHA-256 of path and query.
    address: [u8; 32],
    admin: [u8; 32],
    caller: Caller,
}

impl Sealed {
    /// Fixed parts first, then the caller: a kind, and for a user its expiry, issuer, uid and claims as JSON.
    /// `None` if the claims cannot be said in JSON, which those of a token always can.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.life);
        out.extend_from_slice(&self.opens_before_seconds.to_be_bytes());
        out.extend_from_slice(&self.expires_seconds.to_be_bytes());
        out.extend_from_slice(&self.address);
        out.extend_from_slice(&self.admin);
        match &self.caller {
            Caller::Anonymous => out.push(0),
            Caller::Admin => out.push(1),
            Caller::User(user) => {
                out.push(2);
                // The largest number stands for no expiry; no token's expiry lies behind year 9999.
                out.extend_from_slice(&user.expires_seconds.unwrap_or(u64::MAX).to_be_bytes());
                let claims = claims::print(&user.claims).ok()?;
                for text in [&user.issuer, &user.uid, claims.as_str()] {
                    let bytes = u32::try_from(text.len()).ok()?;
                    out.extend_from_slice(&bytes.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
        Some(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (life, rest) = bytes.split_first_chunk()?;
        let (opens_before, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (address, rest) = rest.split_first_chunk()?;
        let (admin, rest) = rest.split_first_chunk()?;
        let caller = match rest.split_first()? {
            (0, []) => Caller::Anonymous,
            (1, []) => Caller::Admin,
            (2, rest) => {
                let (expires, rest) = rest.split_first_chunk()?;
                let (issuer, rest) = text(rest)?;
                let (uid, rest) = text(rest)?;
                let (claims, []) = text(rest)? else { return None };
                let expires = u64::from_be_bytes(*expires);
                Caller::user(User {
                    uid: uid.into(),
                    issuer: issuer.into(),
                    claims: claims::parse(claims.as_bytes()).ok()?,
                    expires_seconds: (expires != u64::MAX).then_some(expires),
                })
            }
            _ => return None,
        };
        Some(Self {
            life: *life,
            opens_before_seconds: u64::from_be_bytes(*opens_before),
            expires_seconds: u64::from_be_bytes(*expires),
            address: *address,
            admin: *admin,
            caller,
        })
    }
}

/// A text with its length in front, and what follows it.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use hearth_core::{Map, Value};
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_900_000_000;
    const ADDRESS: &str = "/db/messages?limit=50";

    fn book(life: u8) -> Tickets {
        Tickets::new([9; 32], [life; 16], Mode::Serve, Some(&admin("0")))
    }

    fn admin(end: &str) -> AdminKey {
        AdminKey::parse(&format!("test-only-admin-key-01234567890{end}")).unwrap()
    }

    fn ada() -> Caller {
        let claims = Map::from([("sub".into(), Value::text("ada")), ("n".into(), Value::Double(1.0))]);
        Caller::user(User { uid: "ada".into(), issuer: "i".into(), claims, expires_seconds: Some(NOW + 600) })
    }

    fn ticket(book: &Tickets, caller: &Caller) -> String {
        book.issue([5; 16], NOW, ADDRESS, caller).unwrap().text
    }

    #[test]
    fn a_ticket_carries_its_caller() {
        for (n, caller) in [ada(), Caller::Anonymous, Caller::Admin].iter().enumerate() {
            let mut book = book(1);
            let ticket = book.issue([n as u8; 16], NOW, ADDRESS, caller).unwrap();
            let opened = book.open(&ticket.text, ADDRESS, NOW + 1).unwrap();
            assert_eq!(&opened.caller, caller);
            assert_eq!(opened.expires_seconds, ticket.expires_seconds);
            let end = caller.expires_seconds().unwrap_or(NOW + Tickets::LIFE_SECONDS_DEFAULT);
            assert_eq!((ticket.opens_before_seconds, ticket.expires_seconds), (NOW + 30, end));
        }
    }

    #[test]
    fn it_opens_only_its_own_address() {
        let mut book = book(1);
        let ticket = ticket(&book, &ada());
        for other in
            ["/db/messages", "/db/messages?limit=51", "/db/messages?limit=50&at=1", "/DB/messages?limit=50", ""]
        {
            assert_eq!(book.open(&ticket, other, NOW), Err(TicketError::OtherAddress), "{other}");
        }
        assert!(book.open(&ticket, ADDRESS, NOW).is_ok());
    }

    #[test]
    fn it_is_first_opened_within_thirty_seconds_and_again_until_it_expires() {
        let mut late = book(1);
        let unused = ticket(&late, &ada());
        assert_eq!(late.open(&unused, ADDRESS, NOW + 30), Err(TicketError::TooLate));
        let mut book = book(1);
        let ticket = ticket(&book, &ada());
        let first = book.open(&ticket, ADDRESS, NOW + 29).unwrap();
        book.closed(first.pass);
        assert!(book.open(&ticket, ADDRESS, NOW + 599).is_ok());
        assert_eq!(book.open(&ticket, ADDRESS, NOW + 600), Err(TicketError::Expired));
    }

    #[test]
    fn it_survives_restarts_whether_it_had_been_opened_or_not() {
        let ticket = ticket(&book(1), &ada());
        let mut second = book(2);
        let opened = second.open(&ticket, ADDRESS, NOW + 100).unwrap();
        assert_eq!((&opened.caller, opened.ends), (&ada(), None));
        assert!(book(3).open(&ticket, ADDRESS, NOW + 599).is_ok());
        assert_eq!(book(3).open(&ticket, ADDRESS, NOW + 600), Err(TicketError::Expired));
    }

    #[test]
    fn opening_again_ends_the_stream_that_was_open() {
        let mut book = book(1);
        let ticket = ticket(&book, &ada());
        let first = book.open(&ticket, ADDRESS, NOW).unwrap();
        let second = book.open(&ticket, ADDRESS, NOW + 50).unwrap();
        assert_eq!(second.ends, Some(first.pass));
        assert!(!book.is_open(first.pass) && book.is_open(second.pass));
        // The first stream notices late; that must not close the second.
        book.closed(first.pass);
        assert!(book.is_open(second.pass));
        book.closed(second.pass);
        assert_eq!(book.open(&ticket, ADDRESS, NOW + 60).unwrap().ends, None);
    }

    #[test]
    fn tickets_of_other_keys_and_of_the_other_mode_are_unknown() {
        let ticket = ticket(&book(1), &ada());
        let mut other_key = Tickets::new([8; 32], [1; 16], Mode::Serve, Some(&admin("0")));
        assert_eq!(other_key.open(&ticket, ADDRESS, NOW), Err(TicketError::Unknown));
        let mut dev = Tickets::new([9; 32], [1; 16], Mode::Dev, Some(&admin("0")));
        assert_eq!(dev.open(&ticket, ADDRESS, NOW), Err(TicketError::Unknown));
    }

    #[test]
    fn an_admins_ticket_dies_with_the_admin_key_and_a_users_does_not() {
        let (of_admin, of_ada) = (ticket(&book(1), &Caller::Admin), ticket(&book(1), &ada()));
        let mut changed = Tickets::new([9; 32], [2; 16], Mode::Serve, Some(&admin("1")));
        assert_eq!(changed.open(&of_admin, ADDRESS, NOW), Err(TicketError::OtherAdminKey));
        assert!(changed.open(&of_ada, ADDRESS, NOW).is_ok());
    }

    #[test]
    fn every_changed_byte_is_noticed_and_nothing_inside_is_readable() {
        let mut book = book(1);
        let text = ticket(&book, &ada());
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for place in 0..bytes.len() {
            // The id counts too: with another one, a stream could be open twice by one ticket.
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            let got = book.open(&URL_SAFE_NO_PAD.encode(forged), ADDRESS, NOW);
            assert_eq!(got, Err(TicketError::Unknown), "byte {place}");
        }
        for cut in 0..text.len() {
            assert_eq!(book.open(&text[..cut], ADDRESS, NOW), Err(TicketError::Unknown));
        }
        assert!(!bytes.windows(3).any(|window| window == b"ada"));
    }

    #[test]
    fn nothing_is_issued_for_strange_addresses_or_expired_callers() {
        let book = book(1);
        let claims = Map::from([("bytes".into(), Value::Bytes([1u8].as_slice().into()))]);
        let odd = Caller::user(User { uid: "ada".into(), issuer: "i".into(), claims, expires_seconds: None });
        assert_eq!(book.issue([5; 16], NOW, ADDRESS, &odd), Err(TicketError::Claims));
        let issue = |address: &str, now| book.issue([5; 16], now, address, &ada()).unwrap_err();
        assert_eq!(issue("", NOW), TicketError::Address);
        assert_eq!(issue("http://elsewhere/", NOW), TicketError::Address);
        assert_eq!(issue(&format!("/{}", "a".repeat(16 * 1024)), NOW), TicketError::Address);
        assert_eq!(issue(ADDRESS, NOW + 600), TicketError::Expired);
        assert_eq!(book.issue([5; 16], NOW + 590, ADDRESS, &ada()).unwrap().opens_before_seconds, NOW + 600);
    }

    #[test]
    fn the_book_is_bounded_forgets_the_longest_closed_and_never_an_open_stream() {
        let mut book = book(1);
        let id = |n: usize| sha256(&n.to_le_bytes())[..16].try_into().unwrap();
        let open = |book: &mut Tickets, n: usize| {
            let ticket = book.issue(id(n), NOW, ADDRESS, &Caller::Anonymous).unwrap();
            book.open(&ticket.text, ADDRESS, NOW)
        };
        let passes: Vec<Pass> = (0..Tickets::OPENED_MAX).map(|n| open(&mut book, n).unwrap().pass).collect();
        assert_eq!(open(&mut book, Tickets::OPENED_MAX), Err(TicketError::TooMany));
        book.closed(passes[7]);
        book.closed(passes[3]);
        assert!(open(&mut book, Tickets::OPENED_MAX).is_ok());
        assert_eq!(book.opened.len(), Tickets::OPENED_MAX);
        assert!(!book.opened.contains_key(&passes[7].id) && book.opened.contains_key(&passes[3].id));
    }

    #[test]
    fn the_ticket_is_split_off_wherever_it_stands() {
        let check = |text: &str, want: Option<(&str, &str)>| {
            assert_eq!(split(text).as_ref().map(|(address, ticket)| (address.as_ref(), *ticket)), want, "{text}");
        };
        check("/db/a?ticket=T", Some(("/db/a", "T")));
        check("/db/a?limit=5&ticket=T", Some(("/db/a?limit=5", "T")));
        check("/db/a?ticket=T&limit=5&where=a+eq+1", Some(("/db/a?limit=5&where=a+eq+1", "T")));
        check("/db/a?ticket=T&ticket=U", None);
        check("/db/a?tickets=T", None);
        check("/db/a", None);
    }

    proptest! {
        #[test]
        fn no_text_makes_opening_panic(text in "[A-Za-z0-9_-]{0,200}|.{0,50}") {
            prop_assert_eq!(book(1).open(&text, ADDRESS, NOW), Err(TicketError::Unknown));
        }

        #[test]
        fn what_is_sealed_reads_back_the_same(uid in ".{1,20}", issuer in ".{0,20}", n in any::<i64>(), end in 0..u64::MAX) {
            let claims = Map::from([("n".into(), Value::Integer(n)), ("t".into(), Value::text(&uid))]);
            let caller = Caller::user(User { uid: uid.into(), issuer: issuer.into(), claims, expires_seconds: Some(end) });
            let grant = Sealed {
                life: [1; 16], opens_before_seconds: end, expires_seconds: end, address: [2; 32], admin: [3; 32], caller,
            };
            let bytes = grant.encode().unwrap();
            for cut in 0..bytes.len() {
                prop_assert_eq!(Sealed::decode(&bytes[..cut]), None);
            }
            prop_assert_eq!(Sealed::decode(&bytes), Some(grant));
        }
    }
}
