//! The folders under `tests/fixtures/<dialect>/`: what each holds and where it is from. Adding one needs no code; one that is empty, says nothing of its
//! source, or holds a file that no test reads, fails.
//!
//! What must hold of them is in `requests.rs`, `answers.rs`, `cuts.rs` and `sources.rs`; in what the dialects differ, in `customs.rs`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use http::{HeaderName, HeaderValue};
use llm_router::Result;
use llm_router::delta::Event;
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};
use llm_router::dialect::{self, Codec, Dialect, Frame, Framing, RequestHead};
use llm_router::request::{Message, Request};

use crate::customs::{Customs, customs};
use crate::support;

/// The dialects that others define.
pub(crate) const DIALECTS: [Dialect; 4] =
    [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini];

/// What a folder may hold.
const FILES: &[&str] = &[
    "origin.txt",
    "head.txt",
    "quirks.txt",
    "request.json",
    "request.snap",
    "answer.json",
    "answer.sse",
    "deltas.snap",
    "deltas_whole.snap",
];

/// What may stand beside a dialect's folders.
const BESIDE: &[&str] = &["README.md", "errors.json"];

/// A recorded or made-up exchange, or one side of it.
pub(crate) struct Fixture {
    pub(crate) dialect: Dialect,
    /// Dialect and folder: what a failure names.
    pub(crate) name: String,
    /// The codec of the server that it was recorded from.
    pub(crate) codec: Arc<dyn Codec>,
    /// Path, query and headers of the dialect.
    pub(crate) head: RequestHead,
    pub(crate) request: Option<Vec<u8>>,
    /// The first line of `origin.txt`: `recorded: …` or `made: …`.
    pub(crate) origin: String,
    folder: PathBuf,
}

/// An answer of a fixture: the same may stand there whole and streamed.
pub(crate) struct Answer {
    fixture: Arc<Fixture>,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
}

impl Deref for Answer {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.fixture
    }
}

static ALL: LazyLock<Vec<Arc<Fixture>>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for dialect in DIALECTS {
        let before = all.len();
        for path in entries(&root().join(dialect.as_str())) {
            match path.is_dir() {
                true => all.push(Arc::new(Fixture::of(dialect, path))),
                false => assert!(BESIDE.contains(&file_name(&path)), "{}: no test reads this", path.display()),
            }
        }
        assert!(all.len() - before > 30, "{dialect}: the fixtures are missing");
    }
    all
});

/// Every folder.
pub(crate) fn all() -> &'static [Arc<Fixture>] {
    &ALL
}

/// Those with a client's request.
pub(crate) fn requests() -> impl Iterator<Item = &'static Arc<Fixture>> {
    all().iter().filter(|fixture| fixture.request.is_some())
}

/// Every answer.
pub(crate) fn answers() -> &'static [Answer] {
    static ANSWERS: LazyLock<Vec<Answer>> = LazyLock::new(|| all().iter().flat_map(Fixture::answers).collect());
    &ANSWERS
}

/// The bodies of a dialect's requests.
pub(crate) fn request_bodies(dialect: Dialect) -> Vec<&'static [u8]> {
    requests().filter(|fixture| fixture.dialect == dialect).filter_map(|fixture| fixture.request.as_deref()).collect()
}

/// The bodies of a dialect's answers.
pub(crate) fn answer_bodies(dialect: Dialect, framing: Framing) -> Vec<&'static [u8]> {
    let of = |answer: &&Answer| answer.dialect == dialect && answer.framing == framing;
    answers().iter().filter(of).map(|answer| answer.body.as_slice()).collect()
}

/// A fixture's file of a dialect, by folder and name.
pub(crate) fn file(dialect: Dialect, name: &str) -> Vec<u8> {
    std::fs::read(root().join(dialect.as_str()).join(name)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

impl Fixture {
    fn of(dialect: Dialect, folder: PathBuf) -> Self {
        let name = format!("{dialect}/{}", file_name(&folder));
        let files = entries(&folder);
        let names: Vec<&str> = files.iter().map(|path| file_name(path)).collect();
        for file in names.iter().filter(|file| !file.ends_with(".snap.new")) {
            assert!(FILES.contains(file), "{name}/{file}: no test reads this");
        }
        let holds = |file: &str| names.contains(&file);
        assert!(holds("request.json") || holds("answer.json") || holds("answer.sse"), "{name}: it holds nothing");
        for (snapshot, of) in [("request.snap", "request.json"), ("deltas_whole.snap", "answer.json")] {
            assert!(holds(of) || !holds(snapshot), "{name}/{snapshot}: the meaning of nothing");
        }
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let origin = text("origin.txt").lines().next().unwrap_or_default().to_owned();
        assert!(
            ["recorded: ", "made: "].iter().any(|word| origin.starts_with(word)),
            "{name}/origin.txt: where is it from? It begins with \"recorded: \" or \"made: \""
        );
        let mut quirks = Quirks::default();
        for word in text("quirks.txt").split_whitespace() {
            match word {
                "no_done" => quirks.no_done = true,
                other => panic!("{name}: {other} is not a quirk that fixtures name"),
            }
        }
        let codec: Arc<dyn Codec> = match dialect {
            Dialect::OpenaiChat => Arc::new(OpenaiChat::new(quirks)),
            other => dialect::codec(other),
        };
        let head = text("head.txt");
        let mut lines = head.lines();
        let mut head = support::head(lines.next().unwrap_or(customs(dialect).path));
        for line in lines {
            let (header, value) = line.split_once(": ").unwrap();
            Arc::make_mut(&mut head.headers)
                .append(HeaderName::try_from(header).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let request = std::fs::read(folder.join("request.json")).ok();
        Self { dialect, name, codec, head, request, origin, folder }
    }

    /// The request, as the server reads it; where none was recorded, one that asks for the answer's framing.
    pub(crate) fn request(&self) -> Request {
        match &self.request {
            Some(body) => {
                self.codec.decode_request(&self.head, body).unwrap_or_else(|error| panic!("{}: {error}", self.name))
            }
            None => {
                let mut request = Request::default();
                request.messages.push(Message::user("x"));
                request.model = Some("gemini-2.5-flash".into());
                request.stream = self.folder.join("answer.sse").exists();
                request
            }
        }
    }

    /// Its answers, streamed first.
    pub(crate) fn answers(self: &Arc<Self>) -> Vec<Answer> {
        let files = [(Framing::Stream, "answer.sse"), (Framing::Whole, "answer.json")];
        let read = |(framing, file)| {
            let body = std::fs::read(self.folder.join(file)).ok()?;
            Some(Answer { fixture: self.clone(), framing, body })
        };
        files.into_iter().filter_map(read).collect()
    }

    /// In what its dialect differs.
    pub(crate) fn customs(&self) -> &'static Customs {
        customs(self.dialect)
    }

    /// Compares with what a person read and accepted, in the folder itself.
    pub(crate) fn snapshot(&self, name: &str, text: &str) {
        insta::with_settings!({snapshot_path => &self.folder, prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, text);
        });
    }
}

impl Answer {
    /// The frames as they came.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        support::frames(&self.body, self.framing)
    }

    /// What these frames say as the answer to a request.
    pub(crate) fn read(&self, request: &Request, frames: Vec<Frame>) -> Result<Vec<Event>> {
        support::read(&*self.codec, request, self.framing, frames)
    }

    /// What the whole answer says to one who has no bytes to pass on.
    pub(crate) fn events(&self) -> Vec<Event> {
        let request = support::without_origin(self.request());
        self.read(&request, self.frames()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The snapshot of its steps: a folder with both framings has two.
    pub(crate) fn snapshot_name(&self) -> &'static str {
        match self.framing == Framing::Whole && self.folder.join("answer.sse").exists() {
            true => "deltas_whole",
            false => "deltas",
        }
    }
}
