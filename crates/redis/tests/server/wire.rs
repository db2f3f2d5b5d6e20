//! A wire between a program and its server that loses what it is told to lose.
//!
//! It listens on a socket of its own. A loss happens once: then the program's connection is closed, as a network that goes away would, and the next one is whole again.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// What a wire loses next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    /// The next answer.
    Answer,
    /// The next words of the program, which arrive when the wire lets go of them.
    Delay,
}

struct State {
    loss: Loss,
    delayed: Vec<(Vec<u8>, UnixStream)>,
}

/// A wire under way. What it carries ends with its two sides.
pub(crate) struct Wire {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

impl Wire {
    /// To the server that listens there.
    pub(crate) fn to(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("wire.sock")).unwrap();
        let state = Arc::new(Mutex::new(State { loss: Loss::Nothing, delayed: Vec::new() }));
        let carrying = Arc::clone(&state);
        std::thread::spawn(move || {
            for program in listener.incoming() {
                let (Ok(program), Ok(server)) = (program, UnixStream::connect(&server)) else { return };
                let (here, there) = (program.try_clone().unwrap(), server.try_clone().unwrap());
                let state = Arc::clone(&carrying);
                std::thread::spawn(move || words(here, there, &state));
                let state = Arc::clone(&carrying);
                std::thread::spawn(move || answers(server, program, &state));
            }
        });
        Self { folder, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("wire.sock").display())
    }

    /// Has it lose something.
    pub(crate) fn lose(&self, loss: Loss) {
        self.state.lock().unwrap().loss = loss;
    }

    /// Lets what was delayed arrive, on the connection that it was sent over.
    pub(crate) fn let_go(&self) {
        for (words, mut server) in self.state.lock().unwrap().delayed.drain(..) {
            server.write_all(&words).unwrap();
        }
    }
}

fn words(mut program: UnixStream, mut server: UnixStream, state: &Mutex<State>) {
    let mut some = vec![0; 1 << 16];
    while let Ok(length @ 1..) = program.read(&mut some) {
        let mut state = state.lock().unwrap();
        if state.loss == Loss::Delay {
            state.loss = Loss::Nothing;
            state.delayed.push((some[..length].to_vec(), server.try_clone().unwrap()));
            let _ = program.shutdown(Shutdown::Both);
            return;
        }
        drop(state);
        if server.write_all(&some[..length]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn answers(mut server: UnixStream, mut program: UnixStream, state: &Mutex<State>) {
    let mut some = vec![0; 1 << 16];
    while let Ok(length @ 1..) = server.read(&mut some) {
        let mut state = state.lock().unwrap();
        if state.loss == Loss::Answer {
            state.loss = Loss::Nothing;
            break;
        }
        drop(state);
        if program.write_all(&some[..length]).is_err() {
            break;
        }
    }
    let _ = program.shutdown(Shutdown::Both);
}
