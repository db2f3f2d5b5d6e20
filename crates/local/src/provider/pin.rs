//! Names with a digest behind them, as `name@b179c9523d0e6a0f`: a caller who writes one gets that very file or an error. The router itself
//! writes one behind every name, so that answers of two files are never taken for each other's; that one costs nothing to check.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::ModelName;
use llm_router::provider::Call;

use super::{ModelFile, aside};
use crate::fetch;
use crate::manifest::{Manifest, mark};

/// Fewer digits could belong to another file by chance.
const FEWEST_DIGITS: usize = 8;

/// A model's name and the digest behind it. An `@` with anything else behind it belongs to the name.
fn split(asked: &str) -> (&str, Option<&str>) {
    match asked.rsplit_once('@') {
        Some((name, digest))
            if !name.is_empty() && !digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            (name, Some(digest))
        }
        _ => (asked, None),
    }
}

/// Tells whether a call may have the model in a file.
#[derive(Default)]
pub(super) struct Pinned(Arc<Digest>);

impl Pinned {
    /// The model's name, if the call may have it: where a digest stands behind the name asked for, only if it is the file's.
    ///
    /// # Errors
    /// `caller_model_unknown` naming what is there.
    pub(super) async fn serve<'a>(&self, file: &'a ModelFile, call: &Call) -> Result<&'a ModelName> {
        let Some(asked) = &call.target.model else { return Ok(&file.name) };
        let (name, digest) = split(asked.as_str());
        let fits = match digest {
            _ if asked == &file.name => true,
            _ if name != file.name.as_str() => false,
            None => true,
            Some(digest) => {
                let by_caller =
                    call.request.model.as_deref().is_some_and(|model| model.ends_with(&format!("@{digest}")));
                let (known, path, digest) = (Arc::clone(&self.0), file.path.clone(), digest.to_owned());
                aside(move || Ok(known.fits(&path, &digest, by_caller))).await?
            }
        };
        if fits {
            return Ok(&file.name);
        }
        let has = match mark(&file.path) {
            Some(mark) => format!("{}@{}", file.name, mark.get(..16).unwrap_or(&mark)),
            None => file.name.to_string(),
        };
        Err(Error::new(ErrorKind::CallerModelUnknown, format!("the embedded engine has no model {asked}"))
            .with_hint(format!("it has {has}")))
    }
}

/// What a file looked like when its digest was computed: of the same length, written at the same time.
type Look = (u64, Option<SystemTime>);

/// The digest of a file, computed when it is first asked for and again when the file changed.
#[derive(Default)]
struct Digest(Mutex<Option<(Look, String)>>);

impl Digest {
    /// Whether a file has this digest. `by_caller` says that a caller wrote it, for whom a record or a mark is not enough. Reads the whole file at most
    /// once; blocks meanwhile.
    fn fits(&self, path: &Path, digest: &str, by_caller: bool) -> bool {
        let digest = digest.to_ascii_lowercase();
        if digest.len() < FEWEST_DIGITS {
            return false;
        }
        let marked = mark(path).is_some_and(|mark| mark.starts_with(&digest));
        if marked && !by_caller {
            return true;
        }
        // The mark of a file of the user's own is no digest, and is what answers name it by.
        let own = marked && Manifest::read(path).is_none();
        own || self.of(path).is_some_and(|whole| whole.starts_with(&digest))
    }

    fn of(&self, path: &Path) -> Option<String> {
        let about = std::fs::metadata(path).ok()?;
        let look = (about.len(), about.modified().ok());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, digest)) = &*known
            && *then == look
        {
            return Some(digest.clone());
        }
        let digest = fetch::hash(path).ok()?;
        *known = Some((look, digest.clone()));
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_is_told_from_a_name() {
        assert_eq!(split("m@b179c952"), ("m", Some("b179c952")));
        assert_eq!(split("m@latest"), ("m@latest", None));
        assert_eq!(split("m@"), ("m@", None));
        assert_eq!(split("@b179c952"), ("@b179c952", None));
    }

    #[test]
    fn only_the_files_own_digest_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, "abc").unwrap();
        let digest = Digest::default();
        let fits = |asked: &str| digest.fits(&path, asked, true);
        // FIPS 180-4's own example.
        let whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(fits(whole) && fits(&whole[..16]) && fits(&whole[..8].to_uppercase()));
        assert!(!fits(&whole[..7]) && !fits("0000000000000000") && !fits(&format!("{whole}00")));
        let mark = mark(&path).unwrap();
        assert!(fits(&mark[..16]), "the name that answers give it");
        std::fs::write(&path, "abcd").unwrap();
        assert!(!fits(whole) && !fits(&mark[..16]), "another file now");
    }

    /// A record that no longer tells the truth is enough for the router's own mark and not for a caller.
    #[test]
    fn a_caller_is_not_told_what_a_record_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, "abc").unwrap();
        let recorded = "12".repeat(32);
        Manifest::new("hf:a/b/m.gguf", recorded.as_str(), 3, 0).write(&path).unwrap();
        let digest = Digest::default();
        assert!(digest.fits(&path, &recorded, false));
        assert!(!digest.fits(&path, &recorded, true));
        assert!(digest.fits(&path, "ba7816bf8f01cfea", true));
    }
}
