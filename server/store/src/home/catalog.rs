//! Which databases there are: the catalog of a data directory, as values and as the lines of its note.

use crate::log::DatabaseId;
use crate::note::Line;

/// A database of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRecord {
    /// Names its folder, and its keys in the state. Never given twice in one data directory.
    pub number: u32,
    /// The project it belongs to.
    pub project: String,
    /// Its name within the project.
    pub database: String,
    /// Names it for good; its log is tied to it.
    pub id: DatabaseId,
    /// Changes when its history begins anew: tokens of another epoch mean nothing in this one.
    pub epoch: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    pub(super) default_project: Option<String>,
    /// By rising number.
    pub(super) databases: Vec<DatabaseRecord>,
}

impl Catalog {
    pub(super) fn find(&self, number: u32) -> Option<&DatabaseRecord> {
        self.databases.iter().find(|record| record.number == number)
    }

    pub(super) fn find_named(&self, project: &str, database: &str) -> Option<&DatabaseRecord> {
        self.databases.iter().find(|record| record.project == project && record.database == database)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let default = self.default_project.iter().map(|project| vec!["default_project".into(), project.clone()]);
        let databases = self.databases.iter().map(|record| {
            vec![
                "database".into(),
                record.number.to_string(),
                record.id.to_string(),
                record.epoch.to_string(),
                record.project.clone(),
                record.database.clone(),
            ]
        });
        default.chain(databases).collect()
    }

    /// `None` for lines that [`Catalog::lines`] never makes.
    pub(super) fn parse(lines: &[Line]) -> Option<Self> {
        let mut catalog = Self::default();
        for line in lines {
            let fields: Vec<&str> = line.iter().map(String::as_str).collect();
            match fields[..] {
                ["default_project", project] if catalog.default_project.is_none() => {
                    catalog.default_project = Some(project.into());
                }
                ["database", number, id, epoch, project, database] => {
                    let record = DatabaseRecord {
                        number: number.parse().ok()?,
                        project: project.into(),
                        database: database.into(),
                        id: DatabaseId::parse(id)?,
                        epoch: epoch.parse().ok()?,
                    };
                    let rises = catalog.databases.last().is_none_or(|last| last.number < record.number);
                    let is_new = catalog.find_named(project, database).is_none();
                    if !rises || !is_new {
                        return None;
                    }
                    catalog.databases.push(record);
                }
                _ => return None,
            }
        }
        Some(catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_read_as_it_was_written() {
        let record = |number, project: &str| DatabaseRecord {
            number,
            project: project.into(),
            database: "(default)".into(),
            id: DatabaseId([number as u8; 16]),
            epoch: u64::MAX,
        };
        for default_project in [None, Some("demo".into())] {
            let catalog = Catalog { default_project, databases: vec![record(1, "a"), record(7, "b\tc")] };
            assert_eq!(Catalog::parse(&catalog.lines()), Some(catalog));
        }
        let twice = Catalog { default_project: None, databases: vec![record(1, "a"), record(2, "a")] };
        assert_eq!(Catalog::parse(&twice.lines()), None);
        let falling = Catalog { default_project: None, databases: vec![record(2, "a"), record(1, "b")] };
        assert_eq!(Catalog::parse(&falling.lines()), None);
    }
}
