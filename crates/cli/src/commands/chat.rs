//! `chat`: a conversation. Slash commands change it, everything else is said to the model.
//!
//! With `--json` it is a conversation with a program: each question, a line, is answered by one line with one JSON object, the answer's or
//! `{"error":…}`, in their order. The editor runs on a thread of its own while it waits for a line, so that the runtime stays free; the conversation itself is `chat/session.rs`.

mod reader;
mod session;

use std::io::{self, IsTerminal};

use futures_util::StreamExt;
use llm_router::delta::{Delta, Part};
use llm_router::request::{Message, Request};
use llm_router::response::Folder;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use llm_router::{Error, ErrorKind};
use llm_router_app::App;

use self::reader::{Line, Reader};
use self::session::{Session, Step};
use super::generate::result_json;
use crate::args::{Chat, Global};
use crate::output::{self, Failure, Outcome};
use crate::prompt;
use crate::signals::Claim;

pub(crate) async fn run(app: &App, global: &Global, args: &Chat) -> Outcome {
    let mut template = Request::default();
    prompt::apply(&args.request, &mut template)?;
    let mut session = Session::new(template);
    let mut reader = Reader::new(app.history_file(), global.json);
    if io::stdin().is_terminal() && !global.json {
        output::status("type /help for commands; Ctrl-D ends the conversation");
    }
    loop {
        let line = match reader.next().await? {
            Line::Text(line) => line,
            Line::Interrupted => continue,
            Line::End => return Ok(()),
        };
        match session.take(&line) {
            Step::Nothing => {}
            Step::Say(text) => output::note(&text),
            Step::Quit => return Ok(()),
            Step::Ask => {
                if let Err(failure) = answer(app, global, &mut session).await {
                    session.forget_last();
                    let Failure::Failed(error) = &failure else { return Err(failure) };
                    if global.json {
                        output::print_json_line(&output::error_json(error))?;
                        continue;
                    }
                    output::note(&format!("error: {error}"));
                    error.hint().into_iter().for_each(|hint| output::note(&format!("hint: {hint}")));
                }
            }
        }
    }
}

/// One answer, streamed. Ctrl-C ends the answer, not the conversation: what was said so far stays.
async fn answer(app: &App, global: &Global, session: &mut Session) -> Outcome {
    let mut request = session.request();
    request.stream = !global.json;
    let mut interrupt = Claim::new();
    let work = async {
        let mut answer = app.router.call(Op::new(request, Door::Command)).await?;
        if let Some(served) = answer.trace().served.filter(|_| global.debug) {
            output::note(&format!("[{}]", served.provider));
        }
        let (mut folder, mut text) = (Folder::default(), String::new());
        while let Some(event) = answer.next().await {
            for delta in &event?.deltas {
                folder.push(delta);
                if let Delta::BlockDelta { choice: 0, block, part: Part::Text(more) } = delta
                    && folder.is_text(0, *block)
                {
                    if !global.json {
                        output::print_answer(more)?;
                    }
                    text.push_str(more);
                    session.so_far(&text);
                }
            }
        }
        let response = folder.finish()?;
        if global.json {
            output::print_json_line(&result_json(&response, &answer.trace()))?;
        } else if !text.ends_with('\n') {
            output::print("\n")?;
        }
        let content = response.choices.into_iter().next().map(|choice| choice.content).unwrap_or_default();
        session.answered(Message::assistant(content));
        Ok(())
    };
    tokio::select! {
        outcome = work => outcome,
        () = interrupt.pressed() => {
            if global.json {
                return Err(Error::new(ErrorKind::CallerCancelled, "the answer was interrupted").into());
            }
            output::print("\n")?;
            session.keep_so_far();
            Ok(())
        }
    }
}
