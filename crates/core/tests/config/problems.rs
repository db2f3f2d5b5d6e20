//! Every mistake is told, at once, at its place and in bounded words.

use llm_router::{Error, ErrorKind};

use crate::support::case;

#[test]
fn every_mistake_is_told_at_once() {
    let text = r#"
[server]
prot = 8000
port = 80000
[providers.lab]
base_ulr = "http://127.0.0.1:9100/v1"
timeouts = { connect = "5 parsecs", idle = 30 }
upstream = "strem"
[providers.Lab]
base_url = "https://example.org"
[providers.elsewhere]
base_url = "ftp://example.org"
[providers.nothing]
models = ["a"]
[providers.agent]
command = "my-agent --ask '{prompt}"
[routes.fast]
groups = [["grok/llama"], ["lab"]]
[routes.a]
groups = [["b"]]
[routes.b]
groups = [["a"]]
[routes.openai]
groups = [["local"]]
[cache]
ttl = 24
key = "sha265"
[colours]
x = 1
[local]
threads = = 3
"#;
    let case = case()
        .file(text)
        .var("IPFS_KIT_ROUTER_CACHE_CID_BASE", "base23")
        .flags(|flags| flags.set("--port", "server.port", "many"));
    insta::assert_snapshot!(case.problems());
}

#[test]
fn problems_become_one_error_of_bounded_length() {
    let many: String = (0..300).map(|n| format!("unknown_key_{n} = 1\n")).collect();
    let problems = case().file(many).load().unwrap_err();
    assert_eq!(problems.0.len(), 101);
    let error = Error::from(problems);
    assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
    assert!(error.message().len() < 2000 && error.message().ends_with(" more"), "{error}");
}

#[test]
fn what_cannot_be_a_config_file_is_one_clear_problem() {
    let refused = |bytes: &[u8]| case().file(bytes).problems();
    assert_eq!(refused(&vec![b'#'; (1 << 20) + 1]), "config.toml: the config file is larger than 1048576 bytes");
    assert_eq!(refused(b"a = '\xff'"), "config.toml: the config file is not UTF-8 (byte 5)");
    assert!(refused(b"[server]\nhost = '\0'").starts_with("config.toml:2:"), "{}", refused(b"[server]\nhost = '\0'"));
    let case = case();
    let folder = case.folder.path().to_owned();
    assert_eq!(case.flags(|flags| flags.config(folder)).problems(), "~: the config file is not a file");
}

#[test]
fn a_hostile_file_ends_in_problems() {
    for text in [
        "a\n".repeat(1 << 19),
        format!("a = {}", "[".repeat(1 << 19)),
        format!("[{}a]", "a.".repeat(1 << 18)),
        "[providers.a]\n".repeat(1 << 15),
    ] {
        let problems = case().file(&text).load().unwrap_err();
        assert!((1..=200).contains(&problems.0.len()));
    }
}

#[test]
fn the_wrong_shape_is_told_by_its_name() {
    let text = "providers = 1\n[routes]\nfast = ['x']\n[providers.lab]\ntimeouts = '5s'\n[server.api_keys]\nname = 'x'";
    insta::assert_snapshot!(case().file(text).problems());
    let text = "[routes]\nfast = ['x']\n[providers.lab]\ntimeouts = '5s'\ncredentials = ['x']\n[providers.lab.headers]\n'a b' = 'x'\n[server.api_keys]\nname = 'x'";
    insta::assert_snapshot!(case().file(text).problems());
}

#[test]
fn command_lines_are_refused_where_the_splitter_would_refuse_them() {
    use llm_router::provider::process::Template;
    let lines = [
        "a",
        "a 'b c' {prompt}",
        r#"a "it's""#,
        r"a 'b\'",
        r#"a "\"""#,
        r"a\ b",
        "a '",
        r#"a ""#,
        r"a \",
        r#"a "\""#,
        "'' a",
        r#""""#,
        "{prompt}",
        "{model} a",
        "a {prompt} {model}",
        "a 'b\" c'",
        "",
    ];
    for line in lines {
        let loaded = case().flags(|flags| flags.set("--set", "providers.x.command", line)).load();
        assert_eq!(loaded.is_ok(), Template::parse(line).is_ok(), "{line:?}");
    }
}

#[test]
fn client_keys_and_credentials_need_exactly_what_makes_one() {
    let case = case().file(
        "[[server.api_keys]]\nname = 'a'\nkey = '1'\n[[server.api_keys]]\nname = 'a'\nkey = '2'\n[[server.api_keys]]\nkey = '3'\n\
         [[server.api_keys]]\nname = 'b'\n[[providers.openai.credentials]]\napi_key_lifetime = '1m'",
    );
    insta::assert_snapshot!(case.problems());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    /// Whatever a file, a variable or a flag holds, the answer is settings or problems.
    #[test]
    fn nothing_panics(text in ".{0,200}", value in ".{0,40}") {
        let _ = case().file(&text).load();
        for kind in ["providers.x.timeouts.idle", "cache.memory", "providers.x.command", "server.admin", "providers.x.base_url", "local.model"] {
            let _ = case().flags(|flags| flags.set("--set", kind, value.as_str())).load();
        }
        let _ = case().var("OLLAMA_HOST", &value).var("AZURE_OPENAI_ENDPOINT", &value).load();
        let toml = format!("[providers.x]\ncommand = {value:?}\n[cache]\nttl = {value:?}\nmemory = {value:?}\n[{value}]\n");
        let _ = case().file(toml).load();
    }
}

#[test]
fn a_sign_of_life_that_would_come_too_late_is_named() {
    for text in ["[server]\nping_after = '5m'", "[server]\nidle_timeout = '15s'"] {
        let said = case().file(text).problems();
        assert!(said.starts_with("config.toml:2:") && said.contains("must be shorter than idle_timeout"), "{said}");
    }
    assert!(case().file("[server]\nping_after = '5m'\nidle_timeout = '10m'").load().is_ok());
}
