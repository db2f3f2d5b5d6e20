//! `keys`, and what `explain` is told of a request's id: slips are said, and nothing is taken for something else. With a server beside them keys are `../serve/keys.rs`.

use crate::support::Home;

#[test]
fn a_limit_is_set_or_taken_away() {
    let home = Home::new();
    home.run(["keys", "create", "alice", "--rpm", "9"]).succeeds();
    for (option, value) in
        [("rpm", "5"), ("max-tokens", "5"), ("budget-per-day", "1"), ("model", "x"), ("tag", "a"), ("ttl", "1h")]
    {
        let set = format!("--{option}");
        let refused = home.run(["keys", "update", "alice", &set, value, "--no", option]).fails(2);
        assert!(refused.contains(&format!("--{option} and --no {option}")), "{refused}");
    }
    home.run(["keys", "update", "alice", "--no", "rpm", "--tpm", "7"]).succeeds();
}

#[test]
fn a_pattern_that_fits_nothing_is_warned_of() {
    let home = Home::new();
    let create = |name: &str, model: &str| home.run(["keys", "create", name, "--model", model]).succeeds().stderr;
    let slip = create("a", "opnai/*");
    assert!(slip.contains(r#"--model "opnai/*" fits no provider, route or model"#), "{slip}");
    assert!(slip.contains("did you mean openai/*?"), "{slip}");
    for (name, model) in [("b", "openai/whatever-comes"), ("c", "*"), ("d", "gpt-4o*")] {
        let said = create(name, model);
        assert!(!said.contains("fits no"), "{model}: {said}");
    }
    let changed = home.run(["keys", "update", "b", "--model", "antropic/*"]).succeeds().stderr;
    assert!(changed.contains("did you mean anthropic/*?"), "{changed}");
}

#[test]
fn what_is_forgotten_is_printed_and_an_end_has_its_date() {
    let home = Home::new();
    home.run(["keys", "create", "carol"]).succeeds();
    home.run(["keys", "create", "dave", "--ttl", "90d"]).succeeds();
    let listed = home.run(["keys", "ls"]).succeeds().stdout;
    let dave = listed.lines().find(|line| line.contains("dave")).unwrap();
    assert!(dave.contains("until 20") && dave.contains("2160 more hours"), "{listed}");
    assert_eq!(home.run(["keys", "prune"]).succeeds().stdout, "");
    home.run(["keys", "revoke", "carol"]).succeeds();
    let forgotten = home.run(["keys", "prune"]).succeeds().stdout;
    assert!(forgotten.starts_with("forgot carol#") && forgotten.lines().count() == 1, "{forgotten}");
}

#[test]
fn an_id_that_is_none_is_no_prompt_and_a_server_is_asked_about_an_id_alone() {
    let home = Home::new();
    for id in ["req_01m843", "req_01m843hshfnj0fnadm16tgw3ef0"] {
        let said = home.run(["explain", id, "--server", "http://127.0.0.1:9"]).fails(2);
        assert!(said.contains(id) && said.contains("no id of a request"), "{said}");
    }
    home.run(["explain", "--prompt", "req_01m843"]).succeeds();
    for (option, value) in [("--server", "http://127.0.0.1:9"), ("--key-file", "nofile")] {
        let said = home.run(["explain", "hi", option, value]).fails(2);
        assert!(said.contains(&format!("{option}: no id of a request")), "{said}");
    }
    let missing = home.run(["explain", "req_01m843hshfnj0fnadm16tgw3ef", "--key-file", "nofile"]).fails(2);
    assert!(missing.contains("--key-file nofile"), "{missing}");
}

#[test]
fn a_configuration_comes_from_standard_input_by_that_name_and_overwrites_none() {
    let home = Home::new();
    let from = "general_settings:\n  database_url: x\n";
    let import = |words: &[&str]| {
        words.iter().fold(home.run(["config", "import", "litellm", "-"]).input(from), |run, word| run.word(word))
    };
    let ended = import(&[]).succeeds();
    assert!(ended.stderr.contains("standard input:2: general_settings.database_url"), "{}", ended.stderr);
    assert!(ended.stderr.contains("llm-router keys create"), "{}", ended.stderr);
    assert!(ended.stdout.contains("LiteLLM's standard input"), "{}", ended.stdout);
    import(&["-o", "router.toml"]).succeeds();
    let refused = import(&["-o", "router.toml"]).fails(1);
    assert!(refused.contains("router.toml") && refused.contains("hint: name another one with -o"), "{refused}");
}
