//! Commands as providers, with real programs: what they are given, what becomes of what they print, and that nothing of them is left behind.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use llm_router::config::ProviderSettings;
use llm_router::delta::{Delta, DeltaStream, FinishReason, Part};
use llm_router::deps::SystemClock;
use llm_router::error::ErrorKind;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::{
    ClaudeCli, CommandProvider, CommandSettings, Environment, Folder, GeminiCli, Limits, Runner, Template,
    command_provider,
};
use llm_router::provider::{Availability, Call, Context, Describe, Provider, Target};
use llm_router::request::Request;
use llm_router::{Error, Result, response::collect};

/// The folders that hold `sh` and its friends everywhere.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn environment() -> Environment {
    Environment::from_vars([("PATH".to_owned(), PATH.to_owned())])
}

fn settings(command: &str) -> CommandSettings {
    let describe = Describe::new(ProviderId::new("lab").unwrap());
    CommandSettings::new(describe, Some(Template::parse(command).unwrap()), &environment(), &[""; 0])
}

fn provider(command: &str) -> CommandProvider {
    CommandProvider::new(settings(command), Runner::default())
}

/// A shell script as a command; the prompt goes to its standard input.
fn script(text: &str) -> CommandSettings {
    settings(&format!("sh -c '{text}'"))
}

fn call(prompt: &str) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(1, 2));
    let mut request = Request::new(prompt);
    request.stream = true;
    Call::new(Arc::new(request), Target::new(ProviderId::new("lab").unwrap(), None), cx)
}

async fn text_of(provider: &CommandProvider, call: Call) -> Result<String> {
    Ok(collect(Provider::generate(provider, Arc::new(call)).await?).await?.text())
}

async fn ask(command: &str, prompt: &str) -> Result<String> {
    text_of(&provider(command), call(prompt)).await
}

async fn next_text(stream: &mut DeltaStream) -> Result<String> {
    let event = stream.next().await.unwrap()?;
    Ok(event
        .deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::BlockDelta { part: Part::Text(text), .. } => Some(text.as_str()),
            _ => None,
        })
        .collect())
}

/// A pipe in the file system that every process of a test's group holds open: it ends when the last of them is gone.
struct Witness(tempfile::TempDir);

impl Witness {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
        Self(folder)
    }

    /// A script that holds the pipe, has a grandchild that does too, says `ready` and then does nothing for long.
    fn script(&self, first: &str) -> CommandSettings {
        let fifo = self.0.path().join("fifo");
        script(&format!("{first} exec 3>{}; (sleep 1000; :) & echo ready; sleep 1000; :", fifo.display()))
    }
}

/// Blocks until nobody holds the pipe.
fn all_gone(mut pipe: File) {
    pipe.read_to_end(&mut Vec::new()).unwrap();
}

async fn ready(provider: &CommandProvider, witness: &Witness, call: Call) -> (DeltaStream, File) {
    let mut stream = Provider::generate(provider, Arc::new(call)).await.unwrap();
    // Opening a named pipe waits for the other side, so both must go on at once.
    let folder = witness.0.path().to_owned();
    let pipe = std::thread::spawn(move || File::open(folder.join("fifo")).unwrap());
    assert_eq!(next_text(&mut stream).await.unwrap(), "ready");
    (stream, pipe.join().unwrap())
}

#[tokio::test]
async fn the_prompt_arrives_unchanged_by_argument_and_by_standard_input() {
    let nasty = "a 'b' \"c\" $HOME `id` ; | \\ \n{model} é 日本";
    assert_eq!(ask("printf %s {prompt}", nasty).await.unwrap(), nasty);
    assert_eq!(ask("cat", nasty).await.unwrap(), nasty);
    assert_eq!(ask("printf %s {prompt}", "--help").await.unwrap(), "\n--help");
    assert_eq!(ask("printf -- {prompt}", "-x").await.unwrap(), "-x");
}

#[tokio::test]
async fn a_large_prompt_passes_through_pipes_that_are_smaller() {
    let large = "0123456789abcde\n".repeat(200_000) + "end";
    assert_eq!(ask("cat", &large).await.unwrap(), large);
    let error = ask("printf %s {prompt}", &large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerTooLarge);
    assert_eq!(ask("true", &large).await.unwrap(), "", "a program need not read its input");
    // Each word fits, all of them together do not.
    let error = ask(&format!("true{}", " {prompt}".repeat(64)), &"x".repeat(120_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerTooLarge, "{error}");
}

#[tokio::test]
async fn text_comes_as_it_is_printed_and_ends_lawfully() {
    // The second word is printed only after the first was received: `read` waits for the named pipe.
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let provider = CommandProvider::new(
        script(&format!("echo one; read go <{}; echo two; echo", fifo.display())),
        Runner::default(),
    );
    let mut stream = Provider::generate(&provider, Arc::new(call("x"))).await.unwrap();
    assert_eq!(next_text(&mut stream).await.unwrap(), "one");
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(next_text(&mut stream).await.unwrap(), "\ntwo");
    let last = stream.next().await.unwrap().unwrap();
    assert!(matches!(
        last.deltas.as_slice(),
        [Delta::BlockEnd { .. }, Delta::Finish { reason: FinishReason::Stop, .. }, Delta::End]
    ));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_whole_answer_is_one_event() {
    let mut whole = call("x");
    whole.request = Arc::new(Request::new("x"));
    let provider = CommandProvider::new(script("echo one; echo two"), Runner::default());
    let events: Vec<_> = Provider::generate(&provider, Arc::new(whole)).await.unwrap().collect().await;
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let key = "sk-proj-0123456789abcdefABCDEF";
    let error = ask(&format!("sh -c 'echo broken {key} >&2; exit 3'"), "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderServerError);
    assert!(error.message().contains("exit status 3") && error.message().contains("broken"), "{error}");
    assert!(!format!("{error:?}").contains(key), "{error:?}");

    let echoed =
        ask("sh -c 'echo asked: >&2; cat >&2; echo broken >&2; exit 3'", "my plan\nmy 401 plan").await.unwrap_err();
    assert!(echoed.message().ends_with("asked:\nbroken"), "prompts are not for error messages: {echoed}");
    assert_eq!(echoed.kind(), ErrorKind::ProviderServerError);

    let killed = ask("sh -c 'kill -9 $$'", "x").await.unwrap_err();
    assert!(killed.message().contains("signal 9 (SIGKILL)"), "{killed}");

    let login = ask("sh -c 'echo Not logged in; exit 1'", "x").await;
    assert_eq!(login.unwrap_err().kind(), ErrorKind::ProviderServerError, "a streamed answer is not searched");
    let mut held = script("echo Not logged in; exit 1");
    held.hold = true;
    let held = CommandProvider::new(held, Runner::default());
    assert_eq!(text_of(&held, call("x")).await.unwrap_err().kind(), ErrorKind::ProviderAuth);

    let bytes = ask(r"printf a\\377b", "x").await.unwrap_err();
    assert!(bytes.kind() == ErrorKind::ProviderProtocol && bytes.message().contains("byte 1"), "{bytes}");

    let absent = ask("no-such-program-here {prompt}", "x").await.unwrap_err();
    assert!(absent.kind() == ErrorKind::ProviderUnavailable && absent.message().contains("no-such-program-here"));
    assert!(absent.hint().is_some());

    assert_eq!(ask("cat", "a\0b").await.unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
}

#[tokio::test]
async fn files_that_cannot_run_say_why() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        // Copied by another program: a file that this process still has open for writing would be busy.
        let (path, draft) = (folder.path().join(name), folder.path().join("draft"));
        std::fs::write(&draft, text).unwrap();
        assert!(std::process::Command::new("cp").arg(&draft).arg(&path).status().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    for (path, said) in [
        (file("plain", "#!/bin/sh\n", 0o644), "may not be executed"),
        (file("odd", "#!/no/such/interpreter\n", 0o755), "interpreter"),
        (file("garbage", "\u{1}\u{2}", 0o755), "not a program for this machine"),
    ] {
        let error = ask(&path, "x").await.unwrap_err();
        assert!(error.kind() == ErrorKind::ProviderUnavailable && error.message().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_failure_after_the_first_words_is_told_in_the_stream() {
    let provider = CommandProvider::new(script("echo half; exit 1"), Runner::default());
    let events: Vec<_> = Provider::generate(&provider, Arc::new(call("x"))).await.unwrap().collect().await;
    assert!(events.first().unwrap().is_ok());
    assert_eq!(events.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::ProviderServerError);
}

#[tokio::test]
async fn endless_output_is_cut_and_its_program_ended() {
    let mut endless = settings("yes");
    endless.limits = limits(1 << 20);
    let runner = Runner::default();
    let provider = CommandProvider::new(endless, runner.clone());
    let error = text_of(&provider, call("x")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::ProviderProtocol && error.message().contains("1048576 bytes"), "{error}");
    runner.shutdown().await;
    assert_eq!(runner.running(), 0);
}

fn limits(total: u64) -> Limits {
    let mut limits = Limits::default();
    limits.total = total;
    limits
}

#[tokio::test]
async fn the_environment_is_what_was_allowed_and_nothing_else() {
    let planted =
        [("OPENAI_API_KEY", "canary-1"), ("LAB_KEY", "mine"), ("LANG", "C"), ("AWS_SECRET_ACCESS_KEY", "canary-2")];
    let all = Environment::from_vars(planted.map(|(k, v)| (k.to_owned(), v.to_owned()))).with("PATH", PATH);
    let describe = Describe::new(ProviderId::new("lab").unwrap());
    let env = CommandSettings::new(describe, Some(Template::parse("env").unwrap()), &all, &["LAB_KEY"]);
    let text = text_of(&CommandProvider::new(env, Runner::default()), call("x")).await.unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["LAB_KEY", "LANG", "PATH"]);
    assert!(!text.contains("canary"));
}

#[tokio::test]
async fn a_private_folder_is_empty_closed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let mut private = script("pwd; ls -A; stat -c %a .; touch left");
    private.folder = Folder::Private;
    private.environment = private.environment.with("TMPDIR", root.path().to_str().unwrap());
    let text = text_of(&CommandProvider::new(private, Runner::default()), call("x")).await.unwrap();
    let (folder, rest) = text.split_once('\n').unwrap();
    assert_eq!(rest, "700");
    assert!(Path::new(folder).starts_with(root.path()));
    // The waiting thread removes the folder right after it has told the exit.
    let gone = tokio::time::timeout(Duration::from_secs(5), async {
        while root.path().read_dir().unwrap().next().is_some() {
            tokio::task::yield_now().await;
        }
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn dropping_the_stream_ends_children_and_grandchildren() {
    let witness = Witness::new();
    let provider = CommandProvider::new(witness.script(""), Runner::default());
    let (stream, pipe) = ready(&provider, &witness, call("x")).await;
    drop(stream);
    all_gone(pipe);
}

#[tokio::test]
async fn who_ignores_the_polite_signal_is_killed_after_the_grace() {
    let witness = Witness::new();
    let provider = CommandProvider::new(witness.script("trap : TERM; trap \"\" TERM;"), Runner::default());
    let (stream, pipe) = ready(&provider, &witness, call("x")).await;
    let began = Instant::now();
    drop(stream);
    all_gone(pipe);
    assert!(began.elapsed() >= Duration::from_secs(2), "it had its grace: {:?}", began.elapsed());
}

#[tokio::test]
async fn the_last_owner_leaves_nothing_behind() {
    let witness = Witness::new();
    let provider = CommandProvider::new(witness.script("trap \"\" TERM;"), Runner::default());
    let (stream, pipe) = ready(&provider, &witness, call("x")).await;
    let began = Instant::now();
    drop((stream, provider));
    all_gone(pipe);
    assert!(began.elapsed() < Duration::from_secs(2), "killed at once: {:?}", began.elapsed());
}

#[test]
fn a_runtime_that_shuts_down_leaves_nothing_behind() {
    let witness = Witness::new();
    let provider = CommandProvider::new(witness.script(""), Runner::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pipe = runtime.block_on(async {
        let (mut stream, pipe) = ready(&provider, &witness, call("x")).await;
        tokio::spawn(async move { stream.next().await });
        pipe
    });
    runtime.shutdown_background();
    all_gone(pipe);
}

#[tokio::test]
async fn deadlines_and_cancelling_end_the_tree() {
    for (set, kind) in [
        (
            Box::new(|call: &mut Call| call.deadlines.whole = Duration::from_millis(900)) as Box<dyn Fn(&mut Call)>,
            ErrorKind::ProviderTimeout,
        ),
        (Box::new(|call: &mut Call| call.deadlines.total = Duration::from_millis(900)), ErrorKind::ProviderTimeout),
        (Box::new(|_| {}), ErrorKind::CallerCancelled),
    ] {
        let witness = Witness::new();
        let provider = CommandProvider::new(witness.script(""), Runner::default());
        let mut call = call("x");
        set(&mut call);
        let cancel = call.cx.cancel.clone();
        let (mut stream, pipe) = ready(&provider, &witness, call).await;
        if kind == ErrorKind::CallerCancelled {
            cancel.cancel();
        }
        let error: Error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        all_gone(pipe);
    }
}

#[tokio::test]
async fn a_program_that_ends_takes_what_it_left_in_the_background_with_it() {
    let witness = Witness::new();
    let provider = CommandProvider::new(
        script(&format!("exec 3>{}; sleep 1000 & echo done", witness.0.path().join("fifo").display())),
        Runner::default(),
    );
    let folder = witness.0.path().to_owned();
    let pipe = std::thread::spawn(move || File::open(folder.join("fifo")).unwrap());
    assert_eq!(text_of(&provider, call("x")).await.unwrap(), "done");
    all_gone(pipe.join().unwrap());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_descendant_that_left_the_group_does_not_hold_up_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo").display().to_string();
    // The leader ends when the other has its own session, which keeps the pipe open for long.
    let other = format!("echo $$; echo >{fifo}; exec sleep 1000");
    let script = format!("mkfifo {fifo}; setsid -f sh -c \"$0\"; read up <{fifo}; echo done");
    let mut settings = settings("sh");
    settings.command = Some(Template::parse(&format!("sh -c '{script}' '{other}'")).unwrap());
    let began = Instant::now();
    let text = text_of(&CommandProvider::new(settings, Runner::default()), call("x")).await.unwrap();
    let (pid, done) = text.split_once('\n').unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
    assert_eq!(done, "done");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_program_runs_so_many_times_at_once() {
    let witness = Witness::new();
    let provider = CommandProvider::new(witness.script(""), Runner::new(1));
    let (stream, pipe) = ready(&provider, &witness, call("x")).await;
    let mut second = call("x");
    second.deadlines.whole = Duration::from_millis(50);
    let error = Provider::generate(&provider, Arc::new(second)).await.unwrap_err();
    assert!(error.message().contains("free place"), "{error}");
    drop(stream);
    all_gone(pipe);
    let (third, pipe) = ready(&provider, &witness, call("x")).await;
    drop(third);
    all_gone(pipe);
}

#[tokio::test]
async fn a_model_is_filled_in_or_refused_by_name() {
    let named = |model: &str| {
        let mut call = call("x");
        call.target.model = Some(ModelName::new(model).unwrap());
        call
    };
    assert_eq!(text_of(&provider("printf %s:%s {model} {prompt}"), named("m")).await.unwrap(), "m:x");
    let error = text_of(&provider("printf %s {prompt}"), named("m")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
}

#[tokio::test]
async fn an_agent_that_says_nothing_has_failed() {
    let mut silent = settings("true");
    silent.describe.agent = true;
    let error = text_of(&CommandProvider::new(silent, Runner::default()), call("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderProtocol);
}

#[tokio::test]
async fn a_provider_of_the_config_is_its_command() {
    let mut config = ProviderSettings::default();
    config.command = Some("printf '%s %s' {model} {prompt}".into());
    config.models = vec!["*".into(), "m1".into()];
    config.default_model = Some(ModelName::new("m1").unwrap());
    let id = ProviderId::new("lab").unwrap();
    let made = command_provider(id.clone(), &config, &environment(), Runner::default()).unwrap();
    assert_eq!(text_of(&made, call("x")).await.unwrap(), "m1 x");
    assert_eq!(Provider::models(&made), ["m1"]);
    config.command = Some("printf 'x".into());
    let error = command_provider(id, &config, &environment(), Runner::default()).unwrap_err();
    assert!(error.message().contains("character 8"), "{error}");
}

#[tokio::test]
async fn the_output_of_a_command_is_read_as_its_config_says() {
    use llm_router::config::{Condition, OutputForm, Pick};
    let id = ProviderId::new("lab").unwrap();
    let mut config = ProviderSettings::default();
    config.command = Some("cat".into());
    let made = |config: &ProviderSettings| command_provider(id.clone(), config, &environment(), Runner::default());
    config.output = OutputForm::parse("/result/text").unwrap();
    let whole = made(&config).unwrap();
    assert_eq!(text_of(&whole, call("{\"result\": {\"text\": \"a\\nb\"}}")).await.unwrap(), "a\nb");
    assert_eq!(text_of(&whole, call("{}")).await.unwrap_err().kind(), ErrorKind::ProviderProtocol);

    config.output = OutputForm::Lines;
    assert!(made(&config).unwrap_err().hint().unwrap().contains("lines.text"));
    let pick = |text: &str| Some(Pick::parse(text).unwrap());
    config.lines.text = pick("/text where /type=text");
    config.lines.error = pick("/error");
    config.lines.output_tokens = pick("/tokens");
    config.lines.end = Some(Condition::parse("/type=done").unwrap());
    let lines = made(&config).unwrap();
    let said =
        "{\"type\":\"text\",\"text\":\"a\"}\n{\"type\":\"text\",\"text\":\"b\"}\n{\"type\":\"done\",\"tokens\":7}\n";
    let answer = collect(Provider::generate(&lines, Arc::new(call(said))).await.unwrap()).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.usage.unwrap().output), ("ab", 7));
    let many = "{\"type\":\"text\",\"text\":\"x\"}\n".repeat(100_000);
    assert!(text_of(&lines, call(&many)).await.unwrap_err().message().contains("ends an answer"));
    for (hostile, said) in [
        ("{\"error\":\"usage limit reached\"}", "usage limit reached"),
        ("garbage", "no JSON"),
        ("{\"type\":", "no JSON"),
        ("", "ends an answer"),
    ] {
        let error = text_of(&lines, call(&format!("{hostile}\n"))).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
}

#[tokio::test]
async fn the_wrapper_types_run_their_program_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (draft, program) = (folder.path().join("draft"), folder.path().join("claude"));
    std::fs::write(&draft, "#!/bin/sh\necho \"$@\"; echo aside >&2; exit 7\n").unwrap();
    assert!(std::process::Command::new("install").arg(&draft).arg(&program).status().unwrap().success());
    let path = format!("{}:{PATH}", folder.path().display());
    let claude = ClaudeCli::new(&environment().with("PATH", path), Runner::default());
    let done = claude.execute(&["chat", "--help"], Duration::from_secs(20)).await.unwrap();
    assert_eq!((done.status, done.stdout.as_str(), done.stderr.as_str()), (Some(7), "chat --help\n", "aside"));
    let absent = GeminiCli::new(&environment(), Runner::default()).execute(&[], Duration::from_secs(20)).await;
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
}

#[test]
fn availability_is_a_stat() {
    assert_eq!(Provider::availability(&provider("cat")), Availability::Ready);
    let Availability::Missing { what, hint } = Provider::availability(&provider("no-such-program {prompt}")) else {
        panic!()
    };
    assert!(what.contains("no-such-program") && !hint.is_empty(), "{what}");
}
