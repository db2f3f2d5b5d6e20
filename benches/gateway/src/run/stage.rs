//! The stage: upstream, nginx and router with their configurations and ports, and the lanes on which the load reaches the upstream through them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use super::Printed;
use super::process::{Program, pause, say, stay_on};
use crate::answers::{Dialect, MARK};
use crate::clock;
use crate::wire::{self, Reader};

const KEY: &str = "a-key-for-the-bench";
const NGINX: &str = include_str!("../../conf/nginx.conf");
const CONFIG: &str = include_str!("../../conf/router.toml");
/// A debug build under valgrind on a busy machine takes its time.
const START: Duration = Duration::from_secs(120);

/// Where things are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The router's program, a release build
    #[arg(long)]
    pub(crate) program: PathBuf,
    /// The core of the gateways
    #[arg(long, default_value_t = 0)]
    gateway_core: usize,
    /// The core of upstream and load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

impl Options {
    /// The same with another program.
    pub(crate) fn with(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
    }
}

/// What stands between load and upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Nothing,
    Nginx,
    Router,
}

/// A way from the load to the upstream.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) through: Through,
    dialect: Dialect,
    model: &'static str,
    /// Whether it is measured in a closed loop alone.
    pub(crate) closed_only: bool,
}

pub(crate) const DIRECT: &str = "direct";
pub(crate) const BESIDE: &str = "nginx";
pub(crate) const ROUTER: &str = "router";
pub(crate) const TRANSLATED: &str = "router, anthropic to openai_chat";

/// All lanes. The upstream's dialect follows from the model.
pub(crate) const LANES: &[Lane] = &[
    Lane {
        name: DIRECT,
        through: Through::Nothing,
        dialect: Dialect::OpenaiChat,
        model: "scripted-chat",
        closed_only: false,
    },
    Lane {
        name: BESIDE,
        through: Through::Nginx,
        dialect: Dialect::OpenaiChat,
        model: "scripted-chat",
        closed_only: false,
    },
    Lane {
        name: ROUTER,
        through: Through::Router,
        dialect: Dialect::OpenaiChat,
        model: "scripted-chat",
        closed_only: false,
    },
    Lane {
        name: TRANSLATED,
        through: Through::Router,
        dialect: Dialect::Anthropic,
        model: "scripted-chat",
        closed_only: true,
    },
    Lane {
        name: "router, anthropic to anthropic",
        through: Through::Router,
        dialect: Dialect::Anthropic,
        model: "scripted-messages",
        closed_only: true,
    },
];

/// Everything that has been started.
#[derive(Debug)]
pub(crate) struct Stage {
    options: Options,
    folder: TempDir,
    upstream: (Program, SocketAddr),
    nginx: Option<(Program, SocketAddr)>,
    router: Option<(Program, SocketAddr)>,
    admin: SocketAddr,
}

impl Stage {
    /// Starts the upstream; the gateways are started when they are needed.
    ///
    /// # Errors
    /// No router's program there; fewer than two cores.
    pub(crate) fn set(options: &Options) -> Result<Self> {
        ensure!(
            options.program.is_file(),
            "there is no program at {}: build it with cargo build --release -p llm-router-cli",
            options.program.display()
        );
        ensure!(
            options.gateway_core != options.load_core,
            "gateways and load must not share core {}",
            options.load_core
        );
        for core in [options.gateway_core, options.load_core] {
            stay_on(core).with_context(|| format!("this process may not use core {core}; two cores are needed"))?;
        }
        let folder = tempfile::Builder::new().prefix("bench-gateway.").tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("upstream").stdout(Stdio::piped());
        let mut upstream = Program::start("the upstream", &mut command, options.load_core, "")?;
        let address = upstream.first_line()?.parse().context("the upstream named no address")?;
        let admin = free_port()?;
        Ok(Self { options: options.clone(), folder, upstream: (upstream, address), nginx: None, router: None, admin })
    }

    fn fill(&self, template: &str, name: &str, listen: SocketAddr) -> Result<PathBuf> {
        let text = template
            .replace("@FOLDER@", &self.folder.path().to_string_lossy())
            .replace("@UPSTREAM@", &self.upstream.1.to_string())
            .replace("@LISTEN@", &listen.to_string())
            .replace("@PORT@", &listen.port().to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@KEY@", KEY);
        let file = self.folder.path().join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Starts nginx and waits for its first answer.
    ///
    /// # Errors
    /// It is not installed, or refuses its configuration.
    pub(crate) fn start_nginx(&mut self) -> Result<()> {
        let listen = free_port()?;
        let config = self.fill(NGINX, "nginx.conf", listen)?;
        // Where Debian has it, which is in the path of root alone.
        let place = if Path::new("/usr/sbin/nginx").is_file() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = Command::new(place);
        command.args(["-e", "stderr", "-p"]).arg(self.folder.path()).arg("-c").arg(config);
        let hint = "on Debian: apt-get install --no-install-recommends nginx-light";
        let mut nginx = Program::start("nginx", &mut command, self.options.gateway_core, hint)?;
        nginx.wait_for(START, || ask(listen, Dialect::OpenaiChat, "scripted-chat").ok())?;
        self.nginx = Some((nginx, listen));
        Ok(())
    }

    /// The command that serves, behind `wrapper` where one is given.
    fn serving(&self, wrapper: &[String], listen: SocketAddr) -> Result<Command> {
        let config = self.fill(CONFIG, "router.toml", listen)?;
        let mut words = wrapper.iter().map(Into::into).chain([self.options.program.clone().into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("serve").arg("--config").arg(config);
        // Nothing of this machine's configuration: no keys, no other folder.
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        Ok(command)
    }

    /// Starts a router in place of the one before, and waits for its first answer.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start_router(&mut self) -> Result<()> {
        self.start_router_under(&[], "")
    }

    /// The same, behind a program that watches it.
    ///
    /// # Errors
    /// That program is not there, for which `hint` says what to do, or the router does not start.
    pub(crate) fn start_router_under(&mut self, wrapper: &[String], hint: &str) -> Result<()> {
        self.router = None;
        let listen = free_port()?;
        let mut command = self.serving(wrapper, listen)?;
        let mut router = Program::start("the router", &mut command, self.options.gateway_core, hint)?;
        router.wait_for(START, || ask(listen, Dialect::OpenaiChat, "scripted-chat").ok())?;
        self.router = Some((router, listen));
        Ok(())
    }

    /// Starts a router, and says after how many milliseconds its first answer was there.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn first_answer(&mut self) -> Result<f64> {
        let began = clock::now();
        self.start_router()?;
        let took = (clock::now() - began) as f64 / 1e6;
        self.end_router()?;
        Ok(took)
    }

    /// Ends the router in order and returns what it said.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn end_router(&mut self) -> Result<String> {
        let (router, _) = self.router.take().context("no router runs")?;
        router.end(Signal::TERM, Duration::from_secs(60))
    }

    /// Whether the router counts what it does, as somebody who runs it would want.
    pub(crate) fn has_metrics(&self) -> bool {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        exchange(self.admin, request.as_bytes()).is_ok_and(|(status, _)| status == 200)
    }

    fn address(&self, lane: &Lane) -> Option<SocketAddr> {
        match lane.through {
            Through::Nothing => Some(self.upstream.1),
            Through::Nginx => self.nginx.as_ref().map(|(_, address)| *address),
            Through::Router => self.router.as_ref().map(|(_, address)| *address),
        }
    }

    /// The gateway's process; none where there is no gateway.
    pub(crate) fn pid(&self, lane: &Lane) -> Option<u32> {
        match lane.through {
            Through::Nothing => None,
            Through::Nginx => self.nginx.as_ref().map(|(nginx, _)| nginx.pid()),
            Through::Router => self.router.as_ref().map(|(router, _)| router.pid()),
        }
    }

    pub(crate) fn upstream_pid(&self) -> u32 {
        self.upstream.0.pid()
    }

    /// Whether a lane gives the upstream's answer; says so if not, as a build may lack a dialect.
    pub(crate) fn answers(&self, lane: &Lane) -> bool {
        let Some(address) = self.address(lane) else { return false };
        match ask(address, lane.dialect, lane.model) {
            Ok(()) => true,
            Err(error) => {
                say(&format!("left out, as it does not answer: {}: {error:#}", lane.name));
                false
            }
        }
    }

    /// Runs the load generator on a lane.
    ///
    /// # Errors
    /// What the load generator says.
    pub(crate) fn load<T: for<'a> Deserialize<'a>>(&self, lane: &Lane, arguments: &[&str]) -> Result<Printed<T>> {
        let address = self.address(lane).context("the gateway has not been started")?;
        let dialect = clap::ValueEnum::to_possible_value(&lane.dialect).context("a dialect without a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).arg(address.to_string()).args(["--dialect", dialect.get_name(), "--model", lane.model]);
        headers().iter().for_each(|header| {
            command.args(["--header", header]);
        });
        // It stays on this thread's core, which is the load's.
        let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            let about = self.router.as_ref().map(|(router, _)| router.said()).unwrap_or_default();
            bail!("{}: {}{about}", lane.name, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("the load generator printed no JSON")
    }
}

/// Every lane gets them all: nginx and the upstream look at none.
fn headers() -> Vec<String> {
    vec![format!("authorization: Bearer {KEY}"), "anthropic-version: 2023-06-01".to_owned()]
}

/// A port that nothing uses at the moment.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Asks once and looks whether the answer is the upstream's.
fn ask(address: SocketAddr, dialect: Dialect, model: &str) -> Result<()> {
    let request = wire::request(&address.to_string(), dialect.path(), &headers(), &dialect.question(model, false));
    let (status, body) = exchange(address, &request)?;
    ensure!(status == 200 && body.contains(MARK), "status {status}: {body}");
    Ok(())
}

fn exchange(address: SocketAddr, request: &[u8]) -> Result<(u16, String)> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(request)?;
    let (mut reader, mut body, mut buffer) = (Reader::default(), Vec::new(), vec![0; 16 << 10]);
    loop {
        let read = socket.read(&mut buffer)?;
        ensure!(read > 0, "the connection ended inside the answer");
        if reader.feed(buffer.get(..read).unwrap_or_default(), &mut |bytes| body.extend_from_slice(bytes))? {
            return Ok((reader.status(), String::from_utf8_lossy(&body).into_owned()));
        }
    }
}

/// Gives what was just asked time to be counted and cleared away.
pub(crate) fn settle() {
    pause(Duration::from_millis(300));
}
