//! What the `show_*` tests share: a home folder of its own for the real program, with nothing of this machine's environment in it.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A home folder that nothing else uses.
pub(crate) struct Home(TempDir);

impl Default for Home {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("cache/ipfs-llm-router")
    }

    /// The program, with this home and a bare environment.
    pub(crate) fn command(&self) -> Command {
        self.around(Command::new(env!("CARGO_BIN_EXE_llm-router")))
    }

    /// The program in a network namespace that has no route to anywhere, and no loopback either.
    pub(crate) fn command_without_network(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", env!("CARGO_BIN_EXE_llm-router")]);
        self.around(command)
    }

    fn around(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_DATA_HOME", self.path().join("data"))
            .stdin(std::process::Stdio::null());
        command
    }

    pub(crate) fn config(&self, text: &str) {
        let folder = self.path().join("config/ipfs-llm-router");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), text).unwrap();
    }

    /// Lends this home the models of whoever runs the tests, and says whether the default one is among them.
    pub(crate) fn lend_model(&self) -> bool {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let Some(models) = cache.map(|cache| cache.join("ipfs-llm-router/models")) else { return false };
        let Ok(folders) = fs::read_dir(&models) else { return false };
        let folder = folders.flatten().find(|folder| {
            let file = folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
            file.is_file() && file.with_extension("gguf.manifest.json").is_file()
        });
        let Some(folder) = folder else { return false };
        fs::create_dir_all(self.cache().join("models")).unwrap();
        std::os::unix::fs::symlink(folder.path(), self.cache().join("models").join(folder.file_name())).unwrap();
        true
    }
}

/// Whether this test may make network namespaces.
pub(crate) fn may_leave_the_network() -> bool {
    Command::new("unshare").args(["--net", "--", "true"]).output().is_ok_and(|output| output.status.success())
}

/// A loopback port where nobody listens.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
