//! Where a setting comes from, and which source wins.

use std::path::PathBuf;

use llm_router::ErrorKind;
use llm_router::config::variables::{Rule, VARIABLES};
use llm_router::config::{Credential, Environment, Flags, Origin, Settings};

use crate::support::{Case, case, id};

#[test]
fn nothing_set_is_the_defaults() {
    let loaded = case().loaded();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty() && loaded.file.is_none());
    assert_eq!(loaded.origin("server.port"), Some(&Origin::Default));
}

#[test]
fn every_variable_sets_its_keys_under_each_of_its_names() {
    for variable in VARIABLES.iter().filter(|variable| variable.rule != Rule::Asked) {
        let value = match variable.rule {
            Rule::OllamaHost => "10.0.0.7:9999".to_owned(),
            Rule::OnlyOn => "1".to_owned(),
            _ => variable.key().unwrap().example.trim_matches(['"', '[', ']']).replace(['…', '"'], "x"),
        };
        for name in variable.names() {
            let loaded = case().var(&name, &value).loaded();
            for path in variable.sets {
                assert_eq!(loaded.origin(path), Some(&Origin::Variable(name.clone())), "{name} = {value}");
            }
            let named = loaded.settings.head();
            assert!(loaded.settings.providers.iter().all(|(id, p)| p.configured == (Some(id) == named)), "{name}");
            assert_ne!(loaded.settings, Settings::default(), "{name}");
            assert_eq!(case().var(&name, " ").loaded().settings, Settings::default(), "an empty {name} is unset");
        }
    }
}

#[test]
fn stronger_sources_win_and_say_so() {
    let at = |case: &Case| {
        let loaded = case.loaded();
        let model = loaded.settings.router.model.clone().unwrap();
        (model.to_string(), case.tidy(&loaded.origin("router.model").unwrap().to_string()))
    };
    let case = case().file("[server]\nport = 1\n[router]\nmodel = 'file'");
    assert_eq!(at(&case), ("file".into(), "config.toml:4:1".into()));
    let case = case.var("IPFS_DATASETS_PY_LLM_MODEL", "datasets");
    assert_eq!(at(&case), ("datasets".into(), "IPFS_DATASETS_PY_LLM_MODEL".into()));
    let case = case.var("IPFS_KIT_LLM_MODEL", "kit");
    assert_eq!(at(&case), ("kit".into(), "IPFS_KIT_LLM_MODEL".into()));
    let case = case.flags(|flags| flags.set("--model", "router.model", "flag"));
    assert_eq!(at(&case), ("flag".into(), "--model".into()));
    let case = case.flags(|flags| flags.set_by_request("router.model", "request"));
    assert_eq!(at(&case), ("request".into(), "request".into()));
}

#[test]
fn prefixed_keys_come_before_well_known_ones() {
    let case = case()
        .var("OPENAI_API_KEY", "bare")
        .var("OPENAI_TOKEN", "other")
        .var("IPFS_DATASETS_PY_OPENAI_API_KEY", "prefixed");
    let openai = &case.loaded().settings.providers["openai"];
    let [Credential::Env { name, value }] = &openai.credentials[..] else { panic!("{openai:?}") };
    assert_eq!((name.as_str(), value.expose()), ("IPFS_DATASETS_PY_OPENAI_API_KEY", "prefixed"));
    assert!(!openai.configured);
}

#[test]
fn a_variable_replaces_another_form_of_the_same_key() {
    let file = "[providers.openai]\napi_key_env = 'MINE'\n[[providers.openai.credentials]]\napi_key = 'second'";
    let keys = |case: Case| -> Vec<String> {
        let openai = &case.loaded().settings.providers["openai"];
        openai
            .credentials
            .iter()
            .map(|key| key.at_hand().map_or(String::new(), |key| key.expose().to_owned()))
            .collect()
    };
    assert_eq!(keys(case().file(file).var("MINE", "mine")), ["mine", "second"]);
    assert_eq!(keys(case().file(file).var("MINE", "mine").var("OPENAI_API_KEY", "stronger")), ["stronger", "second"]);
    assert_eq!(keys(case().file(file)), ["", "second"]);
    let missing = case().file(file).loaded();
    assert_eq!(missing.settings.providers["openai"].credentials[0].missing_variable(), Some("MINE"));
    assert!(missing.warnings.iter().any(|warning| warning.message == "MINE is not set"));
    let twice = case().file("[providers.openai]\napi_key = 'a'\napi_key_env = 'B'").problems();
    assert_eq!(
        twice,
        "config.toml:3:1: providers.openai.api_key_env: providers.openai.api_key gives the key already: keep one of them"
    );
}

#[test]
fn switches_are_off_with_four_words_and_on_with_anything_else() {
    let responses = |value| case().var("IPFS_KIT_ROUTER_RESPONSE_CACHE", value).loaded().settings.cache.responses;
    for off in ["0", "false", "No", "OFF"] {
        assert!(!responses(off), "{off}");
    }
    for on in ["1", "yes", "enabled", "2"] {
        assert!(responses(on), "{on}");
    }
    let benchmark = |value| case().var("IPFS_KIT_BENCHMARK", value);
    assert!(benchmark("1").loaded().settings.cache.responses);
    assert!(!benchmark("1").var("IPFS_DATASETS_PY_ROUTER_RESPONSE_CACHE", "0").loaded().settings.cache.responses);
    assert!(benchmark("0").file("[cache]\nresponses = true").loaded().settings.cache.responses);
}

#[test]
fn the_general_model_serves_those_it_is_for() {
    let case = case()
        .var("IPFS_KIT_LLM_MODEL", "general")
        .var("IPFS_KIT_LLM_PROVIDER", "Groq")
        .var("IPFS_KIT_OPENROUTER_MODEL", "own");
    let settings = case.loaded().settings;
    let model = |provider| settings.default_model(&id(provider)).map(ToString::to_string);
    assert_eq!(settings.head(), Some(&id("groq")));
    assert_eq!(model("openrouter").as_deref(), Some("own"));
    assert_eq!(model("local_hf").as_deref(), Some("general"));
    assert_eq!(model("groq").as_deref(), Some("general"));
    assert_eq!(model("openai"), None);
}

#[test]
fn forms_of_ollamas_host() {
    for (given, base) in [
        ("gpu", "http://gpu:11434/v1"),
        (":9999", "http://127.0.0.1:9999/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("https://ollama.example.org", "https://ollama.example.org:443/v1"),
        ("http://gpu:80/proxy/v1/", "http://gpu:80/proxy/v1"),
        ("[::1]:11434", "http://[::1]:11434/v1"),
    ] {
        let settings = case().var("OLLAMA_HOST", given).loaded().settings;
        assert_eq!(settings.providers["ollama"].base_url.as_deref(), Some(base), "{given}");
    }
}

#[test]
fn the_file_is_the_named_one() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("other.toml");
    std::fs::write(&named, "[server]\nport = 7\n[providers.openai]\napi_key_file = 'key.txt'").unwrap();
    let case = case().file("[server]\nport = 5");
    assert_eq!(case.loaded().settings.server.port, 5);
    let case = case.var("IPFS_LLM_ROUTER_CONFIG", named.to_str().unwrap());
    let loaded = case.loaded();
    assert_eq!((loaded.settings.server.port, loaded.file.as_ref()), (7, Some(&named)));
    assert_eq!(loaded.settings.providers["openai"].credentials, [Credential::File(folder.path().join("key.txt"))]);
    let case = case.flags(|flags| flags.config(folder.path().join("absent.toml")));
    assert!(case.problems().contains("absent.toml: the config file cannot be read"), "{}", case.problems());
    assert_eq!(case.flags(Flags::without_file).loaded().settings.server.port, 8000);
}

#[test]
fn flags_name_keys_as_the_file_does() {
    let set = |key: &str, value: &str| case().flags(|flags| flags.set("--set", key, value));
    let settings = set("providers.Codex.default_model", "gpt-5").loaded().settings;
    assert!(settings.providers["codex_cli"].configured);
    assert_eq!(set("providers.lab.base_url", "http://127.0.0.1:1").loaded().settings.providers.len(), 1);
    assert_eq!(set("server.prot", "1").problems(), "--set: unknown key \"server.prot\"; did you mean `server.port`?");
    assert!(set("providers.a b.command", "x").problems().contains("is not a provider id"));
}

#[test]
fn near_misses_are_found_and_strangers_ignored() {
    let environment = Environment::from([
        ("IPFS_KIT_LLM_PROVIDR", "x"),
        ("IPFS_DATASETS_PY_ROUTER_RESPONSE_CACH", "x"),
        ("IPFS_LLM_ROUTER_CONFG", "x"),
        ("IPFS_DATASETS_PY_WAREHOUSE", "x"),
        ("IPFS_KIT_LLM_MODEL", "x"),
        ("LLM_PROVIDR", "x"),
    ]);
    let found: Vec<_> =
        environment.near_misses().into_iter().map(|miss| format!("{} → {}", miss.name, miss.meant)).collect();
    let expected = [
        "IPFS_DATASETS_PY_ROUTER_RESPONSE_CACH → IPFS_DATASETS_PY_ROUTER_RESPONSE_CACHE",
        "IPFS_KIT_LLM_PROVIDR → IPFS_KIT_LLM_PROVIDER",
        "IPFS_LLM_ROUTER_CONFG → IPFS_LLM_ROUTER_CONFIG",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_terminal_and_the_search_path() {
    let color = |term, no_color| Environment::from([("TERM", term), ("NO_COLOR", no_color)]).terminal().color;
    assert!(color("xterm", "") && !color("xterm", "1") && !color("dumb", "") && !color("", ""));
    let path = Environment::from([("PATH", "/usr/bin::.:bin:/bin")]).search_path();
    assert_eq!(path, [PathBuf::from("/usr/bin"), PathBuf::from("/bin")]);
}

#[test]
fn without_a_home_there_are_no_folders_and_no_file() {
    let loaded = Settings::load(&Environment::default(), &Flags::new()).unwrap();
    let error = loaded.answers_dir().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RouterUnavailable);
    assert!(error.message().contains("XDG_CACHE_HOME") && error.hint().unwrap().contains("HOME"));
    let relative = Environment::from([("XDG_CACHE_HOME", "relative"), ("HOME", "/home/x")]);
    assert_eq!(relative.places().cache().unwrap(), PathBuf::from("/home/x/.cache/ipfs-llm-router"));
    let tilde = Settings::load(&Environment::default(), &Flags::new().set("--dir", "cache.dir", "~/x")).unwrap_err();
    assert!(tilde.to_string().contains("$HOME, which is not set"), "{tilde}");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_a_problem_only_where_it_is_read() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let bad = OsString::from_vec(b"/\xff".to_vec());
    let environment = |name: &str| -> Environment { [(OsString::from(name), bad.clone())].into_iter().collect() };
    assert!(Settings::load(&environment("SOMETHING"), &Flags::new()).is_ok());
    assert!(environment("HOME").home().is_some());
    let problems = Settings::load(&environment("OPENAI_API_KEY"), &Flags::new()).unwrap_err();
    assert_eq!(problems.to_string(), "OPENAI_API_KEY: the value is not UTF-8");
}
