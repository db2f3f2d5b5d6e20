//! The seal of clients' keys: 32 secret bytes in a file beside the state, readable by their owner only, made when the first key is.
//!
//! Who has a copy of the database alone can make no key with it. What is sealed is in the core's `limits/key.rs`.

use std::fs;
use std::io::{ErrorKind as Io, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use llm_router::error::{Error, ErrorKind, Result};

/// Its name in the state folder.
pub(crate) const FILE: &str = "key-seal";

/// The seal of a file that somebody put there.
///
/// # Errors
/// `router_unavailable` when the file cannot be read, or holds fewer than 32 bytes.
pub(crate) fn read_given(file: &Path) -> Result<[u8; 32]> {
    open(file).map_err(|error| {
        Error::new(ErrorKind::RouterUnavailable, format!("store.seal_file: {}: {error}", file.display()))
            .with_hint("make one with `head -c 32 /dev/urandom`, and give every replica the same")
    })
}

/// The seal of our own. Of several processes that make it at once, all get the one that was first.
///
/// # Errors
/// `router_unavailable` when the file can be neither read nor made, or is damaged.
pub(crate) fn read(file: &Path) -> Result<[u8; 32]> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = |why: String| {
        Error::new(ErrorKind::RouterUnavailable, format!("{}: {why}", file.display()))
            .with_hint("restore the file from a copy; without it no key that was derived holds any more")
    };
    match open(file) {
        Err(error) if error.kind() == Io::NotFound => {
            make(folder, file).map_err(|error| failed(error.to_string()))?;
            open(file).map_err(|error| failed(error.to_string()))
        }
        outcome => outcome.map_err(|error| failed(error.to_string())),
    }
}

fn open(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut seal = [0; 32];
    fs::File::open(file)?.read_exact(&mut seal)?;
    Ok(seal)
}

fn make(folder: &Path, file: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut seal = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seal)?;
    // A temporary file is born with mode 0600.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(&seal)?;
    temporary.as_file().sync_all()?;
    match temporary.persist_noclobber(file) {
        Err(error) if error.error.kind() != Io::AlreadyExists => Err(error.error),
        // Its name must survive a power cut, too: keys are made with it from now on.
        _ => fs::File::open(folder)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let seals: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| read(&folder.join(FILE)).unwrap())).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(seals.iter().all(|seal| *seal == seals[0] && *seal != [0; 32]));
        assert_eq!(fs::metadata(folder.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::write(folder.join(FILE), "short").unwrap();
        assert!(read(&folder.join(FILE)).unwrap_err().message().contains(FILE));
    }
}
