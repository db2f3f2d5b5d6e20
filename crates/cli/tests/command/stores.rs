//! `cache`, `auth`, `config`, `pull`: what is kept, where it comes from, and what is never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Home, Run};

const CANARY: &str = "sk-canary-0123456789abcdef";

fn cached(run: Run<'_>) -> Run<'_> {
    run.env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1")
}

#[test]
fn stored_answers_make_a_round_trip() {
    let home = Home::new();
    for prompt in ["one", "two"] {
        cached(home.run(["generate", prompt, "--provider", "echo"])).answers(&format!("{prompt}\n"));
    }
    let stat = home.run(["cache", "stat", "--json"]).succeeds().json();
    assert_eq!(stat["entries"], 2);
    let listed = home.run(["cache", "ls", "--json"]).succeeds().json();
    let key = listed["entries"][0]["key"].as_str().unwrap().to_owned();
    let value = home.run(["cache", "get", &key]).succeeds().json();
    assert_eq!((&value["v"], &value["provenance"]["provider"]), (&1.into(), &"echo".into()));
    home.run(["cache", "export", "all.jsonl"]).answers("");
    home.run(["clear-cache"]).answers("cleared 2 stored answers\n");
    assert_eq!(
        home.run(["cache", "get", &key]).fails(1).lines().next(),
        Some("error: no answer is stored under this key")
    );
    home.run(["cache", "import", "all.jsonl"]).answers("stored 2 answers\n");
    let again = cached(home.run(["generate", "two", "--provider", "echo", "--json"])).succeeds().json();
    assert_eq!((&again["cached"], &again["text"]), (&true.into(), &"two".into()));
    let one = fs::read_to_string(home.path("work/all.jsonl")).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(home.run(["clear", "--json"]).succeeds().json()["cleared"], 2);
    home.run(["cache", "put", "-"]).input(one).answers("stored 1 answer\n");
}

#[test]
fn an_import_believes_nothing_that_was_changed() {
    let home = Home::new();
    cached(home.run(["generate", "true words", "--provider", "echo"])).succeeds();
    let export = home.run(["cache", "export"]).succeeds().stdout;
    home.run(["clear-cache"]).succeeds();
    let said = home.run(["cache", "import"]).input(export.replace("true words", "false words")).fails(2);
    assert!(said.contains("its value is not what its identifier says"), "{said}");
    assert_eq!(home.run(["cache", "stat", "--json"]).succeeds().json()["entries"], 0);
    insta::assert_snapshot!(home.run(["cache", "import"]).input("{}").fails(2));
    insta::assert_snapshot!(home.run(["cache", "get", "nonsense"]).fails(2));
}

#[test]
fn a_content_identifier() {
    let home = Home::new();
    let cid = |text: &str, words: [&str; 4]| {
        home.run(["cache", "cid", "-"])
            .word(words[0])
            .word(words[1])
            .word(words[2])
            .word(words[3])
            .input(text)
            .succeeds()
            .stdout
    };
    let plain = ["--base", "base32", "--codec", "raw"];
    assert_eq!(cid(r#"{"b":1, "a":2}"#, plain), cid(r#"{"a":2,"b":1}"#, plain));
    assert!(
        cid("{}", plain).starts_with("bafkrei")
            && cid("{}", ["--base", "base58btc", "--codec", "dag-json"]).starts_with('z')
    );
    insta::assert_snapshot!(home.run(["cache", "cid", "-"]).input("{").fails(2));
}

#[test]
fn a_kept_key_is_private_and_makes_its_provider_available() {
    let home = Home::new();
    let ready = || home.run(["providers"]).succeeds().stdout.contains("groq              ready");
    assert!(!ready());
    home.run(["auth", "set", "groq"]).input(format!("{CANARY}\n")).answers("");
    assert!(ready());
    home.run(["auth", "ls"]).answers("groq\n");
    let file = home.path("data/ipfs-llm-router/provider-keys.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(fs::read_to_string(&file).unwrap().contains(CANARY));
    assert_eq!(
        home.run(["auth", "rm", "groq", "--json"]).succeeds().json(),
        serde_json::json!({"provider": "groq", "removed": true})
    );
    assert!(!ready() && !fs::read_to_string(&file).unwrap().contains(CANARY));
    insta::assert_snapshot!(home.run(["auth", "set", "groq"]).fails(2));
    insta::assert_snapshot!(home.run(["auth", "set", "grok"]).input("x").fails(2));
}

#[test]
fn no_key_is_ever_shown() {
    let home =
        Home::with(&format!("[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key = \"{CANARY}-file\"\n"));
    home.run(["auth", "set", "groq"]).input(format!("{CANARY}-kept")).succeeds();
    let lines: [&[&str]; 10] = [
        &["providers", "-v"],
        &["providers", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["config", "show", "--origin"],
        &["config", "show", "--json"],
        &["config", "check"],
        &["explain", "hi", "--json"],
        &["auth", "ls"],
        &["generate", "hi", "-m", "lab/m", "--debug"],
    ];
    for words in lines {
        let run = words.iter().fold(home.run([]), |run, word| run.word(word));
        let ended = run.env("OPENAI_API_KEY", format!("{CANARY}-env")).env("HF_TOKEN", format!("hf_{CANARY}")).ends();
        assert!(!format!("{ended:?}").contains("canary"), "{words:?}: {ended:?}");
    }
}

#[test]
fn every_setting_with_its_origin() {
    let home = Home::new();
    let shown = home.run(["config", "show", "--origin"]).env("IPFS_KIT_LLM_PROVIDER", "echo").succeeds().stdout;
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("router.provider = ").ends_with("# IPFS_KIT_LLM_PROVIDER"), "{shown}");
    assert!(line("providers.echo.command = ").ends_with("# <home>/config/ipfs-llm-router/config.toml:2:1"), "{shown}");
    assert!(line("cache.key = ").ends_with("# default"), "{shown}");
    home.run(["config", "check"]).answers("ok: <home>/config/ipfs-llm-router/config.toml\n");
}

#[test]
fn a_model_of_ones_own_is_not_fetched() {
    let home = Home::new();
    let path = crate::support::model();
    let pulled = home.run(["pull", "--json"]).word(&path).succeeds().json();
    assert_eq!((pulled["path"].as_str(), pulled["fetched"].as_bool()), (path.to_str(), Some(false)));
    let said = home.run(["pull", "missing.gguf"]).fails(1);
    assert!(said.contains("missing.gguf"), "{said}");
}
