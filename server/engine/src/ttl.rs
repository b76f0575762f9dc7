//! Time to live: documents that are deleted when the time has come that a field of theirs holds.
//!
//! A policy names a collection group and a field. What is to go is deleted by ordinary commits (`docs/decisions/0013`): nothing is
//! hidden from readers beforehand.

mod schedule;
mod sweeper;

use std::sync::{Arc, Mutex, PoisonError};

use hearth_auth::Caller;
use hearth_core::{DatabaseName, FieldPath, Id};
use hearth_store::HomeError;
use tokio::sync::watch;

use crate::authorize::{Authorized, Denied};
use crate::database::Database;
use crate::engine::Engine;

/// Policies of one database.
pub const TTL_POLICIES_MAX: usize = 100;

/// Which documents go, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// The id of the collections whose documents it is about.
    pub group: Id,
    /// The field: a document that holds a timestamp there is deleted at that time. One that does not, stays.
    pub field: FieldPath,
}

/// A change of a database's policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TtlChange {
    /// Sets the policy of a collection group, in place of one that it has.
    Set(TtlPolicy),
    /// Takes the policy of a collection group away.
    Remove(Id),
}

/// The right to see and change what expires.
#[derive(Clone, Copy, Debug)]
pub struct TtlAccess;

/// Why policies were not changed.
#[derive(Debug, thiserror::Error)]
pub enum TtlError {
    #[error("a database has at most {TTL_POLICIES_MAX} TTL policies, and there are so many; remove one first")]
    TooMany,
    #[error("collections called {group} have no TTL policy")]
    NoPolicy { group: Id },
    #[error("the path of a document holds no time; name a field")]
    Name,
    #[error("the server is stopping")]
    Closed,
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl TtlChange {
    /// The policies after it, by the names of their groups.
    fn of(&self, policies: &[TtlPolicy]) -> Result<Vec<TtlPolicy>, TtlError> {
        let (Self::Set(TtlPolicy { group, .. }) | Self::Remove(group)) = self;
        let mut changed: Vec<TtlPolicy> = policies.iter().filter(|policy| policy.group != *group).cloned().collect();
        match self {
            Self::Set(policy) if policy.field.is_name() => return Err(TtlError::Name),
            Self::Set(_) if changed.len() >= TTL_POLICIES_MAX => return Err(TtlError::TooMany),
            Self::Set(policy) => changed.push(policy.clone()),
            Self::Remove(_) if changed.len() == policies.len() => {
                return Err(TtlError::NoPolicy { group: group.clone() });
            }
            Self::Remove(_) => {}
        }
        changed.sort_by(|a, b| a.group.as_str().cmp(b.group.as_str()));
        Ok(changed)
    }
}

/// The policies of an open database, told to its sweeper.
pub(crate) struct Told {
    // Held while they are changed, on disk too, which is rare. Taken when the database closes: then the sweeper ends.
    policies: Mutex<Option<watch::Sender<Arc<[TtlPolicy]>>>>,
}

impl Default for Told {
    fn default() -> Self {
        Self { policies: Mutex::new(Some(watch::Sender::new(Arc::default()))) }
    }
}

impl Told {
    fn now(&self) -> Arc<[TtlPolicy]> {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.as_ref().map(|policies| policies.borrow().clone()).unwrap_or_default()
    }

    /// Begins with these; what hears of changes.
    fn begin(&self, policies: Vec<TtlPolicy>) -> Option<watch::Receiver<Arc<[TtlPolicy]>>> {
        let told = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.as_ref()?;
        told.send_replace(policies.into());
        Some(told.subscribe())
    }

    /// Changes them once `keep` has kept them.
    fn change(
        &self,
        change: &TtlChange,
        keep: impl FnOnce(&[TtlPolicy]) -> Result<(), TtlError>,
    ) -> Result<Arc<[TtlPolicy]>, TtlError> {
        let told = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.as_ref().ok_or(TtlError::Closed)?;
        let changed: Arc<[TtlPolicy]> = change.of(&told.borrow())?.into();
        keep(&changed)?;
        told.send_replace(changed.clone());
        Ok(changed)
    }

    /// Ends the sweeper.
    pub(crate) fn close(&self) {
        drop(self.policies.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Database {
    /// Asks whether a caller may see and change what expires.
    pub fn authorize_ttl(&self, caller: &Caller) -> Result<Authorized<TtlAccess>, Denied> {
        self.authorize_administration(caller, TtlAccess)
    }

    /// The policies, by the names of their groups.
    pub fn ttl_policies(&self, _access: &Authorized<TtlAccess>) -> Vec<TtlPolicy> {
        self.ttl().now().to_vec()
    }
}

impl Engine {
    /// Changes what expires in a database, and answers its policies. Durable on return. Blocks on a file.
    pub fn change_ttl(
        &self,
        _access: &Authorized<TtlAccess>,
        database: &Database,
        change: &TtlChange,
    ) -> Result<Vec<TtlPolicy>, TtlError> {
        let changed = database.ttl().change(change, |policies| self.keep_ttl(database.name(), policies))?;
        tracing::info!(name = %database.name(), ?change, "what expires was changed");
        Ok(changed.to_vec())
    }

    /// Has what expires in a database deleted, for as long as it is open.
    pub(crate) fn begin_ttl(&self, database: &Database) -> Result<(), HomeError> {
        let policies = self.kept_ttl(database.name())?;
        if let Some(policies) = database.ttl().begin(policies) {
            // It ends when the database closes, see `Told::close`, and holds nothing open until then.
            self.runtime().spawn(sweeper::Sweeper::new(database, policies).run());
        }
        Ok(())
    }
}

/// The policies as they are kept in a data directory.
pub(crate) fn to_lines(policies: &[TtlPolicy]) -> Vec<(String, String)> {
    policies.iter().map(|policy| (policy.group.to_string(), policy.field.to_string())).collect()
}

/// Reads them back. One that is none is left out, and said.
pub(crate) fn from_lines(name: &DatabaseName, lines: Vec<(String, String)>) -> Vec<TtlPolicy> {
    let policy = |(group, field): (String, String)| match (Id::parse(&group), FieldPath::parse(&field)) {
        (Ok(group), Ok(field)) => Some(TtlPolicy { group, field }),
        (Err(_), _) | (_, Err(_)) => {
            tracing::error!(%name, group, field, "a TTL policy of the data directory is none, and is left out");
            None
        }
    };
    lines.into_iter().filter_map(policy).take(TTL_POLICIES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(group: &str, field: &str) -> TtlPolicy {
        TtlPolicy { group: Id::parse(group).unwrap(), field: FieldPath::parse(field).unwrap() }
    }

    #[test]
    fn a_group_has_one_policy_and_a_database_not_more_than_the_limit() {
        let set = |policies: &[TtlPolicy], group: &str, field: &str| TtlChange::Set(policy(group, field)).of(policies);
        let policies = set(&set(&[], "b", "at").unwrap(), "a", "x.y").unwrap();
        assert_eq!(policies, [policy("a", "x.y"), policy("b", "at")]);
        assert_eq!(set(&policies, "b", "until").unwrap(), [policy("a", "x.y"), policy("b", "until")]);
        let remove = |group: &str| TtlChange::Remove(Id::parse(group).unwrap()).of(&policies);
        assert_eq!(remove("a").unwrap(), [policy("b", "at")]);
        assert!(matches!(remove("c"), Err(TtlError::NoPolicy { .. })));
        assert!(matches!(set(&policies, "c", "__name__"), Err(TtlError::Name)));
        let full: Vec<_> = (0..TTL_POLICIES_MAX).map(|n| policy(&format!("g{n}"), "at")).collect();
        assert!(matches!(set(&full, "one more", "at"), Err(TtlError::TooMany)));
        assert_eq!(set(&full, "g7", "until").unwrap().len(), TTL_POLICIES_MAX);
    }

    #[test]
    fn policies_are_read_as_they_were_kept() {
        let policies = [policy("a\tb", "x.`y z`"), policy("é", "at")];
        let name = DatabaseName::parse("demo", "(default)").unwrap();
        assert_eq!(from_lines(&name, to_lines(&policies)), policies);
        assert_eq!(from_lines(&name, vec![("a/b".into(), "at".into()), ("a".into(), "..".into())]), []);
    }
}
