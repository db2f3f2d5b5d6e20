//! The configuration from the outside: files, variables and flags go in, settings or every problem come out.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use llm_router::config::keys::KEYS;
use llm_router::config::variables::{Rule, VARIABLES};
use llm_router::config::{
    Credential, Environment, Flags, Loaded, Origin, Problems, Settings, configuration_md, environment_md,
};
use llm_router::ids::ProviderId;
use llm_router::{Error, ErrorKind};
use tempfile::TempDir;

/// A config file, an environment and flags that read as a sentence.
struct Case {
    folder: TempDir,
    variables: Vec<(String, String)>,
    flags: Flags,
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap().to_owned();
    Case { folder, variables: vec![("HOME".into(), home)], flags: Flags::new() }
}

impl Case {
    fn path(&self) -> PathBuf {
        self.folder.path().join(".config/ipfs-llm-router/config.toml")
    }

    fn file(self, text: impl AsRef<[u8]>) -> Self {
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        std::fs::write(self.path(), text).unwrap();
        self
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn flags(mut self, change: impl FnOnce(Flags) -> Flags) -> Self {
        self.flags = change(self.flags);
        self
    }

    fn environment(&self) -> Environment {
        self.variables.iter().map(|(name, value)| (name, value)).collect()
    }

    fn load(&self) -> Result<Loaded, Problems> {
        Settings::load(&self.environment(), &self.flags)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(&self) -> String {
        self.tidy(&self.load().unwrap_err().to_string())
    }

    /// The text with the file and the home under names that are the same everywhere.
    fn tidy(&self, text: &str) -> String {
        text.replace(self.path().to_str().unwrap(), "config.toml").replace(self.folder.path().to_str().unwrap(), "~")
    }
}

fn id(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn nothing_set_is_the_defaults() {
    let loaded = case().loaded();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty() && loaded.file.is_none());
    assert_eq!(loaded.origin("server.port"), Some(&Origin::Default));
}

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
fn the_example_sets_every_key() {
    let text = std::fs::read_to_string(repository("docs/config.example.toml")).unwrap();
    let case = case().file(text).var("LAB_KEY", "k1").var("LAB_KEY_2", "k2").var("ROUTER_KEY", "k3");
    let loaded = case.loaded();
    for key in KEYS {
        let pattern: Vec<_> = key.path.split('.').filter(|part| *part != "[]").collect();
        let set = loaded.entries.iter().filter(|entry| entry.origin != Origin::Default).any(|entry| {
            let parts: Vec<_> = entry.key.split('.').map(|part| part.split('[').next().unwrap()).collect();
            let listed = entry.key.contains('[') == key.path.contains('[');
            listed
                && parts.len() == pattern.len()
                && parts.iter().zip(&pattern).all(|(part, name)| *name == "*" || part == name)
        });
        assert!(set, "docs/config.example.toml does not set {}", key.path);
    }
    let lab = &loaded.settings.providers["lab"];
    assert_eq!(lab.credentials.len(), 5);
    assert_eq!(lab.timeouts.whole, Some(Duration::from_secs(300)));
    assert_eq!(lab.max_in_flight, Some(64));
    let has = |name: &str| loaded.settings.providers.contains_key(name);
    assert!(lab.configured && has("codex_cli") && !has("codex"));
    assert_eq!(loaded.settings.server.api_keys.len(), 3);
    assert_eq!(loaded.settings.routes["fast"].groups.len(), 2);
    assert_eq!(loaded.settings.cache.ttl, Some(Duration::from_secs(86_400)));
    insta::assert_snapshot!("show", case.tidy(&loaded.show(true)));
    let warnings: Vec<_> =
        loaded.warnings.iter().filter(|w| !w.message.contains("chmod")).map(ToString::to_string).collect();
    insta::assert_snapshot!("warnings", case.tidy(&warnings.join("\n")));
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
fn a_file_with_a_key_that_others_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let case = case().file("[providers.openai]\napi_key = 'k'");
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(case.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let found = case.loaded().warnings.iter().any(|warning| warning.message.contains("chmod 600"));
        assert_eq!(found, warned, "{mode:o}");
    }
}

#[test]
fn a_key_in_the_clear_over_the_network_is_warned_about() {
    let warned = |url: &str| {
        let loaded = case().file(format!("[providers.lab]\nbase_url = '{url}'\napi_key = 'k'")).loaded();
        loaded.warnings.iter().any(|warning| warning.message.contains("unencrypted"))
    };
    for url in ["http://api.example.org/v1", "http://8.8.8.8"] {
        assert!(warned(url), "{url}");
    }
    for url in ["https://api.example.org", "http://192.168.1.9:80", "http://[::1]:80", "http://gpu:80"] {
        assert!(!warned(url), "{url}");
    }
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

#[test]
fn routes_may_name_registered_providers_and_other_routes() {
    let case = case().file("[routes.a]\ngroups = [['mine/x', 'b'], ['Codex']]\n[routes.b]\ngroups = [['local']]");
    assert!(case.problems().contains(r#""mine/x" names no provider and no route"#), "{}", case.problems());
    let case = case.flags(|flags| flags.registered(id("mine")));
    assert_eq!(case.loaded().settings.routes.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn the_provider_that_heads_every_plan_must_be_one() {
    let case = case().file("[router]\nprovider = 'opnrouter'");
    assert_eq!(
        case.problems(),
        "config.toml:2:1: router.provider: no provider is called `opnrouter`; did you mean `openrouter`?"
    );
    let case = case.var("IPFS_KIT_LLM_PROVIDER", "mine");
    assert_eq!(case.problems(), "IPFS_KIT_LLM_PROVIDER: router.provider: no provider is called `mine`");
    let case = case.flags(|flags| flags.registered(id("mine")));
    assert_eq!(case.loaded().settings.router.provider, Some(id("mine")));
    let own = "[router]\nprovider = 'lab'\n[providers.lab]\nbase_url = 'http://127.0.0.1:1/v1'";
    assert_eq!(self::case().file(own).loaded().settings.router.provider, Some(id("lab")));
    assert_eq!(
        self::case().file("[router]\nprovider = 'codex'").loaded().settings.router.provider,
        Some(id("codex_cli"))
    );
}

#[test]
fn what_has_no_effect_beside_other_keys_is_said() {
    let warnings = |text: &str| {
        let case = case().file(text);
        let warnings: Vec<_> = case.loaded().warnings.iter().map(|warning| case.tidy(&warning.to_string())).collect();
        warnings
    };
    let idle = warnings("[router]\nfallback = false");
    assert!(
        matches!(idle.as_slice(), [one] if one.starts_with("config.toml:2:1: router.fallback: it has no effect")),
        "{idle:?}"
    );
    assert_eq!(warnings("[router]\nfallback = false\nprovider = 'openai'"), [""; 0]);
    let idle = warnings("[router]\nmodel_fallback = true\nsubstitute = 'same_model'");
    assert!(
        matches!(idle.as_slice(), [one] if one.starts_with("config.toml:2:1: router.model_fallback: it has no effect")),
        "{idle:?}"
    );
    assert_eq!(warnings("[router]\nmodel_fallback = true\nsubstitute = 'any'"), [""; 0]);
    assert_eq!(warnings("[router]\nsubstitute = 'never'"), [""; 0]);
}

#[test]
fn a_long_chain_of_routes_is_no_circle_and_no_overflow() {
    let chain: String = (0..5000).map(|n| format!("[routes.r{n}]\ngroups = [['r{}']]\n", n + 1)).collect();
    let last = "[routes.r5000]\ngroups = [['local']]\n";
    assert_eq!(case().file(format!("{chain}{last}")).loaded().settings.routes.len(), 5001);
    let problems = case().file(format!("{chain}[routes.r5000]\ngroups = [['r4999']]")).problems();
    assert!(problems.contains("routes lead in a circle: r4999 → r5000 → r4999"), "{problems}");
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
fn flags_name_keys_as_the_file_does() {
    let set = |key: &str, value: &str| case().flags(|flags| flags.set("--set", key, value));
    let settings = set("providers.Codex.default_model", "gpt-5").loaded().settings;
    assert!(settings.providers["codex_cli"].configured);
    assert_eq!(set("providers.lab.base_url", "http://127.0.0.1:1").loaded().settings.providers.len(), 1);
    assert_eq!(set("server.prot", "1").problems(), "--set: unknown key \"server.prot\"; did you mean `server.port`?");
    assert!(set("providers.a b.command", "x").problems().contains("is not a provider id"));
}

#[test]
fn an_alias_is_its_provider_unless_the_section_makes_one() {
    let settings = case().file("[router]\nprovider = 'codex'\n[providers.codex]\nenabled = true").loaded().settings;
    assert_eq!(settings.head(), Some(&id("codex_cli")));
    let settings =
        case().file("[router]\nprovider = 'claude'\n[providers.claude]\npreset = 'anthropic'").loaded().settings;
    assert_eq!(settings.head(), Some(&id("claude")));
    assert!(case().file("[providers.codex]\n[providers.codex_cli]").problems().contains("is here twice"));
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

/// A canary in every place that takes a secret, and in places that do not: nothing that is shown holds it.
#[test]
fn a_secret_is_shown_nowhere() {
    const CANARY: &str = "sk-canary0123456789abcdefABCDEF";
    let sound = case()
        .file(format!(
            "[providers.lab]\nbase_url = 'http://127.0.0.1:1'\napi_key = '{CANARY}'\nheaders = {{ Authorization = 'Bearer {CANARY}' }}\n\
             [[providers.lab.credentials]]\napi_key = '{CANARY}'\n[local]\nhub_token = '{CANARY}'\n[proxy]\nhttps = 'http://u:{CANARY}@p:1'\n\
             [server]\napi_keys = [{{ name = 'a', key = '{CANARY}' }}]"
        ))
        .var("OPENAI_API_KEY", CANARY)
        .var("HTTP_PROXY", &format!("http://u:{CANARY}@p:1"));
    let loaded = sound.loaded();
    let mut texts = vec![
        loaded.show(true),
        loaded.to_json().to_string(),
        format!("{loaded:?}"),
        format!("{:?}", sound.environment()),
    ];
    texts.extend(loaded.warnings.iter().map(ToString::to_string));
    let agent = case().file(format!("[providers.agent]\ncommand = 'agent --token {CANARY} {{prompt}}'")).loaded();
    texts.extend([agent.show(true), agent.to_json().to_string()]);

    for broken in [
        format!("[providers.lab]\napi_key_env = '{CANARY}'"),
        format!("[providers.lab]\nbase_url = 'https://u:{CANARY}@host'"),
        format!("[providers.lab]\nbase_url = 'https://host/?key={CANARY}'"),
        format!("[providers.lab]\nbase_url = '{CANARY}'\nupstream = '{CANARY}'\nmax_in_flight = '{CANARY}'"),
        format!("[providers.lab]\ncommand = \"x '{CANARY}\""),
        format!("[providers.lab]\napi_ky = '{CANARY}'\n'{CANARY}' = 1"),
        format!("[server]\napi_keys = ['{CANARY}']\nadmin = '{CANARY}'\nport = '{CANARY}'"),
        format!("[providers.lab]\napi_key = '{CANARY}"),
        format!("[providers.lab]\napi_key = ['{CANARY}']\nheaders = '{CANARY}'\ntimeouts = {{ idle = '{CANARY}' }}"),
        format!("[providers.lab]\napi_key = {CANARY}"),
        format!("[providers.'{CANARY}']\n[routes.'{CANARY}']\n"),
        format!("[routes.a]\ngroups = [['{CANARY}/x']]"),
    ] {
        let problems = case().file(&broken).load().unwrap_err();
        texts.push(format!("{problems:?}\n{problems}\n{}", serde_json::to_string(&problems).unwrap()));
        let error = Error::from(problems);
        texts.push(format!("{error:?} {error}"));
    }
    let slips = case().var("IPFS_KIT_ROUTER_CACHE_KEY", CANARY).var("IPFS_KIT_OPENROUTER_BASE_URL", CANARY);
    texts.push(slips.var("IPFS_KIT_LLM_PROVIDER", &format!("{CANARY}/")).problems());
    for text in texts {
        assert!(!text.contains("canary0123456789"), "{text}");
    }
}

#[test]
fn the_documents_are_those_of_the_tables() {
    for (path, text) in [("docs/environment.md", environment_md()), ("docs/configuration.md", configuration_md())] {
        let kept = std::fs::read_to_string(repository(path)).unwrap_or_default();
        assert!(kept == text, "{path} is stale: its first lines say how to write it anew");
    }
}
