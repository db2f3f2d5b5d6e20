//! `chat` at a terminal: editing, history, Ctrl-C and Ctrl-D.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Home, Run};

/// A terminal with a program at it.
struct Terminal {
    controller: File,
    child: Child,
    /// What it shows and nobody looked at yet.
    shown: String,
}

impl Terminal {
    fn of(run: Run<'_>) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let child = run.start_at(&terminal);
        Self { controller: controller.into(), child, shown: String::new() }
    }

    /// Waits until it shows this, and forgets what came before.
    fn until(&mut self, text: &str) {
        let mut piece = [0; 1024];
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let read = self.controller.read(&mut piece).unwrap_or(0);
            assert!(read > 0, "the program ended and did not show {text:?}: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }

    fn types(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).unwrap();
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_conversation_at_a_terminal() {
    let home = Home::with("[providers.last]\ncommand = \"tail -n 1\"\n");
    let mut terminal = Terminal::of(home.run(["chat", "--provider", "last"]));
    terminal.until("Ctrl-D ends the conversation");
    terminal.until("> ");
    terminal.types("hello\r");
    terminal.until("\r\nhello\r\n");
    terminal.until("> ");
    terminal.types("/undo\r");
    terminal.until("0 messages");
    terminal.until("> ");
    // Ctrl-C ends a line, not the conversation.
    terminal.types("half a lin\x03");
    terminal.until("> ");
    terminal.types("/exit\r");
    assert_eq!(terminal.ends(), Some(0));
    let history = home.path("data/ipfs-llm-router/chat-history");
    assert_eq!(fs::read_to_string(&history).unwrap(), "hello\n/undo\n/exit\n");
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);

    let mut again = Terminal::of(home.run(["chat", "--provider", "last"]));
    again.until("> ");
    // Three lines up in the history is the first question.
    again.types("\x1b[A\x1b[A\x1b[A\r");
    again.until("\r\nhello\r\n");
    again.until("> ");
    again.types("\x04");
    assert_eq!(again.ends(), Some(0));
}
