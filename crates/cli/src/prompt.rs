//! From what was typed and piped to a request.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use llm_router::ids::ProviderId;
use llm_router::request::{Block, BlockBody, Message, Privacy, Request, Source};

use crate::args::{Generate, RequestArgs};
use crate::output::{Failure, Outcome};

/// The most bytes of a prompt, whatever it comes from.
const LARGEST_PROMPT: u64 = 32 << 20;
/// The most bytes of a picture.
const LARGEST_IMAGE: u64 = 20 << 20;

/// The request of `generate`.
pub(crate) fn of_generate(args: &Generate) -> Outcome<Request> {
    let mut request = Request::new(prompt(args)?);
    for path in &args.image {
        let block = image(path)?;
        if let Some(message) = request.messages.last_mut() {
            message.content.push(block);
        }
    }
    apply(&args.request, &mut request)?;
    Ok(request)
}

/// Sets what the options say.
pub(crate) fn apply(args: &RequestArgs, request: &mut Request) -> Outcome {
    let usage = |error: llm_router::Error| Failure::Usage(error);
    request.provider = args.provider.as_deref().map(ProviderId::new).transpose().map_err(usage)?;
    request.model.clone_from(&args.model);
    if let Some(system) = &args.system {
        request.messages.insert(0, Message::system(checked(system.clone(), "the system prompt")?));
    }
    let sampling = &mut request.sampling;
    sampling.max_tokens = args.max_tokens;
    sampling.temperature = in_range(args.temperature, "--temperature", 0.0..=2.0)?;
    sampling.top_p = in_range(args.top_p, "--top-p", 0.0..=1.0)?;
    sampling.seed = args.seed;
    sampling.stop.clone_from(&args.stop);
    let seconds = |seconds| Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
    if let Some(asked) = args.timeout {
        let timeout = seconds(asked);
        let usage = || Failure::usage(format!("--timeout {asked} is not a time"), "give seconds, more than 0");
        request.timeout = Some(timeout.ok_or_else(usage)?);
    };
    if args.no_cache {
        request.cache.enabled = Some(false);
    }
    if args.offline {
        request.riders.privacy = Privacy::Local;
    }
    Ok(())
}

fn in_range(value: Option<f64>, name: &str, range: std::ops::RangeInclusive<f64>) -> Outcome<Option<f64>> {
    match value {
        Some(value) if !range.contains(&value) => Err(Failure::usage(
            format!("{name} {value} is out of range"),
            &format!("give {} to {}", range.start(), range.end()),
        )),
        other => Ok(other),
    }
}

/// The prompt: argument or file, then standard input behind a blank line.
fn prompt(args: &Generate) -> Outcome<String> {
    let given = match (&args.text, &args.prompt, &args.prompt_file) {
        (Some(word), _, _) | (None, Some(word), _) => Some(
            word.to_str()
                .ok_or_else(|| {
                    Failure::usage("the prompt is not UTF-8", "convert it, or pass a file with --prompt-file")
                })?
                .to_owned(),
        ),
        (None, None, Some(path)) => Some(read_text(path)?),
        (None, None, None) => None,
    };
    let piped = if io::stdin().is_terminal() { None } else { Some(read_stdin("standard input")?) };
    let prompt = match (given, piped.filter(|text| !text.trim().is_empty())) {
        (Some(given), Some(piped)) if !given.trim().is_empty() => format!("{}\n\n{piped}", given.trim_end()),
        (Some(given), None) => given,
        (_, Some(piped)) => piped,
        (None, None) => {
            return Err(Failure::usage(
                "no prompt",
                "give one as an argument, with --prompt-file, or on standard input",
            ));
        }
    };
    if prompt.trim().is_empty() {
        return Err(Failure::usage("the prompt is empty", "give it some text"));
    }
    checked(prompt, "the prompt")
}

fn checked(text: String, what: &str) -> Outcome<String> {
    match text.find('\0') {
        Some(at) => Err(Failure::usage(format!("{what} holds a NUL byte at {at}"), "remove it: no provider takes it")),
        None => Ok(text),
    }
}

/// A text file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Outcome<String> {
    if path == Path::new("-") {
        return read_stdin("standard input");
    }
    let what = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::Usage(cannot_read(&what, &error)))?;
    utf8(read_bounded(file, &what, LARGEST_PROMPT)?, &what)
}

fn read_stdin(what: &str) -> Outcome<String> {
    utf8(read_bounded(io::stdin().lock(), what, LARGEST_PROMPT)?, what)
}

fn read_bounded(from: impl Read, what: &str, limit: u64) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Failure::Usage(cannot_read(what, &error)))?;
    if bytes.len() as u64 > limit {
        let message = format!("{what} is larger than {} MiB", limit >> 20);
        return Err(Failure::Usage(llm_router::Error::new(llm_router::ErrorKind::CallerTooLarge, message)));
    }
    Ok(bytes)
}

fn cannot_read(what: &str, error: &io::Error) -> llm_router::Error {
    llm_router::Error::invalid(format!("cannot read {what}: {error}"))
}

fn utf8(bytes: Vec<u8>, what: &str) -> Outcome<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(
            format!("{what} is not UTF-8: byte {at} begins no character"),
            "convert it, with `iconv` for example",
        )
    })
}

/// A picture as a block. Its kind is told from its first bytes, not from its name.
fn image(path: &Path) -> Outcome<Block> {
    let what = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::Usage(cannot_read(&what, &error)))?;
    let bytes = read_bounded(file, &what, LARGEST_IMAGE)?;
    let Some(mime) = image_type(&bytes) else {
        return Err(Failure::usage(format!("{what} is no picture that models take"), "use PNG, JPEG, GIF or WebP"));
    };
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(BlockBody::Image { source: Source::Base64 { mime: mime.to_owned(), data }, detail: None }.into())
}

fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
