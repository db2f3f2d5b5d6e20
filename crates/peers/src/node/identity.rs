//! Under which key a node is known: a file that is made once and that nobody else may read.

use std::io::Write;
use std::path::Path;

pub use libp2p::identity::Keypair;
use llm_router::{Error, Result};

/// The key of this file, which is made where there is none. It blocks: call it where that may be.
///
/// # Errors
/// `caller_invalid_request` for a file that is no key or that others may read, `router_internal` where it cannot be read or made.
pub fn load_or_make(path: &Path) -> Result<Keypair> {
    match std::fs::read(path) {
        Ok(bytes) => read(path, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path),
        Err(error) => Err(failed(path, "cannot be read", error)),
    }
}

fn make(path: &Path) -> Result<Keypair> {
    let key = Keypair::generate_ed25519();
    let bytes = key.to_protobuf_encoding().map_err(|error| Error::internal(format!("no key can be made: {error}")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<Option<()>> {
        std::fs::create_dir_all(folder)?;
        // Readable by its owner only from the beginning, and there whole or not at all: another process may make one at this moment, and then that one is the key.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(Some(())),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error.error),
        }
    };
    match written().map_err(|error| failed(path, "cannot be made", error))? {
        Some(()) => Ok(key),
        None => load_or_make(path),
    }
}

fn read(path: &Path, bytes: &[u8]) -> Result<Keypair> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(|error| failed(path, "cannot be read", error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::invalid(format!("{}: others may read this peer's key", path.display()))
                .with_hint(format!("chmod 600 {}", path.display())));
        }
    }
    Keypair::from_protobuf_encoding(bytes).map_err(|_| {
        Error::invalid(format!("{}: this is no peer's key", path.display()))
            .with_hint("move the file away: a new key, and with it a new peer id, is made then")
    })
}

fn failed(path: &Path, what: &str, error: std::io::Error) -> Error {
    Error::internal(format!("{}: the peer's key {what}: {error}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers/key");
        let made = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap().public(), made.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert!(load_or_make(&path).unwrap_err().hint().unwrap().starts_with("chmod 600"));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(&path, b"no key").unwrap();
        assert_eq!(load_or_make(&path).unwrap_err().kind(), llm_router::ErrorKind::CallerInvalidRequest);
    }

    #[test]
    fn two_who_make_it_at_once_have_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..4).map(|_| scope.spawn(|| load_or_make(&path).unwrap().public())).collect();
            made.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
