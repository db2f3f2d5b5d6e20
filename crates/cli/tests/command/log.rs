//! What is said on standard error of the program's own work: warnings always, more where it was asked for, and never a secret.

use llm_router::testing::upstream::Answer;

use crate::support::{Home, Server};

const WHOLE: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}"#;

/// A home whose cache folder cannot be made.
fn without_a_cache(home: &Home) -> crate::support::Run<'_> {
    home.file("work/file", "");
    let run = home.run(["generate", "hi", "--provider", "echo"]).env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1");
    run.env("XDG_CACHE_HOME", home.path("work/file/below"))
}

#[test]
fn a_warning_is_one_plain_line_and_the_answer_stands_alone() {
    let home = Home::new();
    for words in [&[][..], &["--json"], &["--debug"]] {
        let run = words.iter().fold(without_a_cache(&home), |run, word| run.word(word));
        let ended = run.succeeds();
        let warnings: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{ended:?}");
        assert!(warnings[0].contains("the disk cache does not work") && !ended.stderr.contains('\u{1b}'), "{ended:?}");
        assert!(ended.stdout == "hi\n" || ended.json()["text"] == "hi\n" || ended.json()["text"] == "hi", "{ended:?}");
    }
}

#[test]
fn a_variable_says_how_much_is_said() {
    let home = Home::new();
    let quiet = without_a_cache(&home).env("IPFS_LLM_ROUTER_LOG", "off").succeeds();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("hi\n", ""));
    let bad = home.run(["providers"]).env("IPFS_LLM_ROUTER_LOG", "llm_router=loud").fails(2);
    assert!(bad.contains("IPFS_LLM_ROUTER_LOG is \"llm_router=loud\"") && bad.contains("hint: write off,"), "{bad}");
}

#[test]
fn debug_shows_our_own_crates_at_work_and_no_key() {
    let server = Server::answering([Answer::json(200, WHOLE)]);
    let key = "a key without a shape, canary";
    let lab = |words: &[&str]| {
        let run = words.iter().fold(server.generate(["--no-stream"]), |run, word| run.word(word));
        run.env("LAB_KEY", key).succeeds()
    };
    let config = std::fs::read_to_string(server.home.path("config/ipfs-llm-router/config.toml")).unwrap();
    server.home.file("config/ipfs-llm-router/config.toml", format!("{config}api_key_env = \"LAB_KEY\"\n"));
    assert_eq!(lab(&[]).stderr, "");
    let debug = lab(&["--debug"]);
    assert_eq!(debug.stdout, "Hello\n");
    assert!(debug.stderr.contains("debug llm_router::provider::http"), "{debug:?}");
    assert!(debug.stderr.contains("status=200"), "{debug:?}");
    assert!(!debug.stderr.contains("canary"), "{debug:?}");
}
