//! Opening a data directory, and what the program itself keeps in one.
//!
//! ```text
//! ticket-key      seals tickets, so that they outlive a restart; readable by the owner alone
//! SERVED          says that `hearth serve` has used the directory: what is in it is no toy
//! IMPORTING       the project into which an import has begun and not ended: what is in it is a part
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use hearth_engine::{Access, Backing, Engine, Options, Projects, SystemClock, ids};
use hearth_store::{Home, HomeError, HomeOptions};

use crate::config::Settings;
use crate::exit::Exit;

const TICKET_KEY: &str = "ticket-key";
const SERVED: &str = "SERVED";
const IMPORTING: &str = "IMPORTING";
/// What names this boot of the machine on Linux.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Takes a data directory, of which every database must be there.
pub(crate) fn home(folder: &Path) -> Result<Home, Exit> {
    let options = HomeOptions { id_if_new: ids::random(), boot_id: boot_id() };
    let home = Home::open(folder, options).map_err(|error| match error {
        HomeError::InUse { .. } => {
            Exit::start(format!("{error} (import and export reach a running server with --server)"))
        }
        error => Exit::start(error),
    })?;
    // Now rather than when somebody asks for the one that is gone.
    home.expect_all().map_err(Exit::start)?;
    Ok(home)
}

/// What names this boot of the machine, where something does.
pub(crate) fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_string())
}

/// Whether there is a data directory, or something else that is not to be taken for none.
pub(crate) fn is_there(folder: &Path) -> bool {
    folder.join("CREATED").try_exists().unwrap_or(true)
}

/// Refuses a folder without data where some are expected.
pub(crate) fn expect_existing(folder: &Path) -> Result<(), Exit> {
    if is_there(folder) {
        return Ok(());
    }
    let folder = folder.display();
    Err(Exit::start(format!(
        "there are no data in {folder}, and --existing says that there are; nothing was changed: \
         see whether its disk is mounted and the path is right, or bring a backup back with \
         `hearth restore BACKUP --data {folder}`; to begin with an empty directory, start once without --existing"
    )))
}

/// An engine on a data directory, for commands that need no server.
pub(crate) fn for_tools(folder: &Path, settings: &Settings) -> Result<Engine, Exit> {
    let options = Options {
        limits: settings.limits.clone(),
        access: Access::Open,
        projects: Projects::Any,
        default_project: settings.project.clone(),
    };
    start(Backing::Disk(Box::new(home(folder)?)), options)
}

/// Starts an engine and tells what starting found.
pub(crate) fn start(backing: Backing, options: Options) -> Result<Engine, Exit> {
    let started = Engine::start(backing, options, Arc::new(SystemClock::default()));
    let (engine, started) = started.map_err(Exit::start)?;
    for notice in started.notices {
        tracing::warn!("{notice}");
    }
    Ok(engine)
}

/// Whether `hearth serve` has used the directory.
pub(crate) fn was_served(folder: &Path) -> bool {
    // What cannot be read is better taken for served.
    folder.join(SERVED).try_exists().unwrap_or(true)
}

/// Notes that `hearth serve` uses the directory.
pub(crate) fn mark_served(folder: &Path) -> Result<(), Exit> {
    let path = folder.join(SERVED);
    let written = fs::write(&path, "hearth serve has used this directory; `hearth dev --expose=unsafe` refuses it\n");
    written.map_err(|error| Exit::start(format!("{}: {error}", path.display())))
}

/// The project into which an import has begun that did not come to its end. Of one that cannot be read the name is empty.
pub(crate) fn importing(folder: &Path) -> Option<String> {
    let path = folder.join(IMPORTING);
    path.exists().then(|| fs::read_to_string(path).unwrap_or_default().trim_end().into())
}

/// Notes that an import into a project begins, or with none that it has ended.
pub(crate) fn mark_importing(folder: &Path, project: Option<&str>) -> Result<(), Exit> {
    let path = folder.join(IMPORTING);
    let noted = match project {
        Some(project) => fs::File::create(&path).and_then(|mut file| {
            writeln!(file, "{project}")?;
            file.sync_all()
        }),
        None => fs::remove_file(&path),
    };
    // On disk before the documents are.
    let noted = noted.and_then(|()| fs::File::open(folder)?.sync_all());
    noted.map_err(|error| Exit::start(format!("{}: {error}", path.display())))
}

/// The key that seals tickets, made when there is none.
pub(crate) fn ticket_key(folder: &Path) -> Result<[u8; 32], Exit> {
    let path = folder.join(TICKET_KEY);
    let failed = |error: &dyn std::fmt::Display| Exit::start(format!("{}: {error}", path.display()));
    match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| failed(&"this is not a key of 32 bytes; delete it, and all tickets that were issued end")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = ids::random();
            write_private(&path, &key).map_err(|error| failed(&error))?;
            Ok(key)
        }
        Err(error) => Err(failed(&error)),
    }
}

/// Writes a file that only its owner may read; it is there whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_key_is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = ticket_key(folder.path()).unwrap();
        assert_eq!(ticket_key(folder.path()).unwrap(), key);
        let path = folder.path().join(TICKET_KEY);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(ticket_key(folder.path()).unwrap_err().message.contains("not a key of 32 bytes"));
    }
}
