//! The graph: who may know whom, read from the sources, the manifests and the lock file. `ARCHITECTURE.md` says why.
//!
//! The rules are the tables of this file; the reading of Rust is in `rooms/scan.rs`. A new module at the top of `src/` has to be given a room
//! here. An exception is one name, with its reason; a room that needs many of them is the wrong room.

#[path = "rooms/scan.rs"]
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use scan::Source;

/// Modules of `src/` and the modules they may name besides each other.
struct Room {
    modules: &'static [&'static str],
    knows: &'static [&'static str],
}

/// From the words to the router; a room knows only rooms above it.
const ROOMS: &[Room] = &[
    Room { modules: &["ids", "error", "secret"], knows: &[] },
    Room { modules: &["telemetry"], knows: &[] },
    Room { modules: DOMAIN, knows: WORDS },
    Room { modules: &["dialect"], knows: &["ids", "error", "secret", "request", "response", "delta", "usage"] },
    Room {
        modules: &["config"],
        knows: &["ids", "error", "secret", "request", "response", "delta", "usage", "pricing", "dialect"],
    },
    Room {
        modules: &["provider"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "dialect",
            "config",
            "telemetry",
        ],
    },
    Room { modules: &["store"], knows: &["ids", "error", "secret", "telemetry"] },
    Room {
        modules: &["limits"],
        knows: &["ids", "error", "secret", "request", "usage", "pricing", "store", "telemetry"],
    },
    Room {
        modules: &["cache"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "trace",
            "dialect",
            "provider",
            "store",
            "telemetry",
        ],
    },
    Room {
        modules: &["deps"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "cache",
            "telemetry",
        ],
    },
    Room {
        modules: &["router"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "cache",
            "deps",
            "telemetry",
        ],
    },
    // Helpers for tests stand outside the order: they may name everything, and nothing names them.
    Room {
        modules: &["testing"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "cache",
            "deps",
            "router",
            "telemetry",
        ],
    },
];

const WORDS: &[&str] = &["ids", "error", "secret"];
const DOMAIN: &[&str] = &["request", "response", "delta", "usage", "pricing", "trace"];

/// One name that a room may use against the order.
struct Exception {
    module: &'static str,
    name: &'static str,
    /// Why: printed nowhere, read by whoever adds the next one.
    #[expect(dead_code, reason = "it is for the reader of this table")]
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        module: "request",
        name: "dialect::Dialect",
        reason: "a request remembers which wire format it came in",
    },
    Exception { module: "request", name: "dialect::RequestHead", reason: "and the head it came with" },
    Exception { module: "delta", name: "dialect::Dialect", reason: "an unknown event says whose it is" },
    Exception { module: "response", name: "dialect::Dialect", reason: "as the deltas it is folded from" },
    Exception { module: "trace", name: "dialect::FieldPath", reason: "the trace names the fields that were dropped" },
    Exception {
        module: "dialect",
        name: "provider::Call",
        reason: "the trait Codec writes and reads the answer to a call",
    },
    Exception { module: "provider", name: "deps::Clock", reason: "the trait of the clock in every call's context" },
    Exception { module: "cache", name: "deps::Clock", reason: "entries grow old by the clock tests can set" },
    Exception { module: "limits", name: "deps::Clock", reason: "rates are per time, by the clock tests can set" },
    Exception { module: "store", name: "deps::Clock", reason: "entries expire by the clock tests can set" },
];

/// Paths that may stand only in some files.
struct Reserved {
    /// Folders and files below `crates/` the rule holds for.
    within: &'static [&'static str],
    /// Where the paths are at home.
    except: &'static [&'static str],
    paths: &'static [&'static str],
    reason: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        within: &["core/src/"],
        except: &["core/src/provider/http.rs", "core/src/provider/http/"],
        paths: &["hyper", "hyper_util", "hyper_rustls", "rustls"],
        reason: "only provider/http.rs knows the HTTP library",
    },
    Reserved {
        within: &["core/src/dialect.rs", "core/src/dialect/"],
        except: &[],
        paths: &["tokio", "std::fs", "std::io", "std::net", "std::process", "SystemTime", "Instant"],
        reason: "a codec is pure: no I/O, no clock",
    },
    Reserved {
        within: &["core/src/router.rs", "core/src/router/"],
        except: &[],
        paths: &[
            "http",
            "dialect::codec",
            "dialect::sse",
            "dialect::native",
            "dialect::openai_chat",
            "dialect::openai_responses",
            "dialect::anthropic",
            "dialect::gemini",
        ],
        reason: "the router knows no wire format and no HTTP",
    },
    Reserved {
        within: &["core/src/", "local/src/", "app/src/", "cli/src/"],
        except: &["core/src/config/env.rs"],
        paths: &["env::var", "env::var_os", "env::vars", "env::vars_os", "env::set_var", "env::remove_var"],
        reason: "only config/env.rs reads the environment",
    },
    Reserved {
        within: &["core/src/"],
        except: &["core/src/config/env.rs"],
        paths: &["std::env"],
        reason: "core is handed its surroundings as values",
    },
];

/// The workspace's packages, each with those it may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("ipfs-llm-router", &[]),
    ("llm-router-local", &["ipfs-llm-router"]),
    ("llm-router-app", &["ipfs-llm-router", "llm-router-local"]),
    ("llm-router-cli", &["ipfs-llm-router", "llm-router-local", "llm-router-app"]),
];

/// What the router alone may cost whoever takes it as a library. The lock file holds every platform's packages, so this is a bound from above.
const MAX_PACKAGES: usize = 150;
const UNWANTED: &[&str] =
    &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "cmake", "bindgen", "clang-sys"];

#[test]
fn modules_know_only_rooms_above_them() {
    assert_none(read_sources(&["core"]).iter().flat_map(room_faults));
}

#[test]
fn reserved_paths_stay_at_home() {
    assert_none(read_sources(&["core", "local", "app", "cli"]).iter().flat_map(reserved_faults));
}

#[test]
fn crates_depend_one_way() {
    let manifests = crate_folders().into_iter().map(|folder| read(&folder.join("Cargo.toml")));
    assert_none(manifests.flat_map(|manifest| crate_faults(&manifest)));
}

#[test]
fn core_stays_small_and_pure_rust() {
    let manifest = read(&crates().join("core/Cargo.toml"));
    let closure = closure(&manifest, &read(&crates().join("../Cargo.lock")));
    assert!(closure.contains("serde_json"), "the lock file was not understood: {closure:?}");
    assert!(closure.len() <= MAX_PACKAGES, "{} packages, {MAX_PACKAGES} allowed: {closure:?}", closure.len());
    assert_none(UNWANTED.iter().filter(|name| closure.contains(**name)).map(|name| format!("core depends on {name}")));
}

#[test]
fn a_wrong_direction_is_found() {
    let faults = |path: &str, text: &str| room_faults(&Source::parse(path, text));
    assert_eq!(
        faults("core/src/provider/bad.rs", "use crate::{error::Result,\n    router::{self, retry::Policy}};\n"),
        [
            "core/src/provider/bad.rs:2: provider names router",
            "core/src/provider/bad.rs:2: provider names router::retry::Policy"
        ]
    );
    assert_eq!(
        faults("core/src/dialect/bad.rs", "fn f(_: crate::provider::Context) {}").len(),
        1,
        "a path outside `use`"
    );
    assert_eq!(faults("core/src/store/bad.rs", "use super::super::cache::Tier;").len(), 1, "a path by `super`");
    assert_eq!(faults("core/src/ids.rs", "use super::request::Request;").len(), 1);
    assert_eq!(faults("core/src/dialect/good.rs", "use crate::provider::Call;"), [""; 0], "an exception");
    assert_eq!(
        faults("core/src/dialect/bad.rs", "use crate::provider::{Call, Context};").len(),
        1,
        "and what stands beside it"
    );
    assert_eq!(faults("core/src/news.rs", ""), ["core/src/news.rs: `news` has no room in tests/rooms.rs"]);
    assert_eq!(
        faults(
            "core/src/cache/good.rs",
            "// crate::router decides\n#[cfg(test)]\nmod tests {\n    use crate::router::X;\n}\n"
        ),
        [""; 0]
    );
}

#[test]
fn a_reserved_path_is_found() {
    let faults = |path: &str, text: &str| reserved_faults(&Source::parse(path, text)).len();
    assert_eq!(faults("core/src/router/bad.rs", "use http::HeaderMap;"), 1);
    assert_eq!(faults("core/src/router/bad.rs", "use crate::dialect::{Dialect, openai_chat::Codec};"), 1);
    assert_eq!(faults("core/src/router/good.rs", "let http_version = 1; use crate::dialect::Dialect;"), 0);
    assert_eq!(faults("core/src/deps.rs", "use hyper_util::client::legacy::Client;"), 1);
    assert_eq!(faults("core/src/provider/http.rs", "use hyper::Request;"), 0);
    assert_eq!(faults("core/src/dialect/bad.rs", "use std::{fmt, fs};"), 1);
    assert_eq!(faults("cli/src/bad.rs", "let key = std::env::var(\"KEY\");"), 1);
    assert_eq!(faults("cli/src/good.rs", "let words = std::env::args_os();"), 0);
    assert_eq!(faults("core/src/bad.rs", "let words = std::env::args_os();"), 1);
    assert_eq!(faults("core/src/config/env.rs", "std::env::vars_os()"), 0);
    assert_eq!(faults("core/src/good.rs", "const VERSION: &str = env!(\"CARGO_PKG_VERSION\");"), 0);
}

#[test]
fn a_crate_that_points_back_is_found() {
    let core =
        "[package]\nname = \"ipfs-llm-router\"\n[target.'cfg(unix)'.dependencies]\nllm-router-app.workspace = true\n";
    assert_eq!(crate_faults(core), ["ipfs-llm-router depends on llm-router-app"]);
    let renamed = "[package]\nname = \"llm-router-local\"\n[dependencies]\nfront = { package = \"llm-router-cli\", path = \"../cli\" }\n";
    assert_eq!(crate_faults(renamed), ["llm-router-local depends on llm-router-cli"]);
    assert_eq!(crate_faults("[package]\nname = \"newcomer\"\n"), ["newcomer is not in the table of tests/rooms.rs"]);
}

#[test]
fn the_closure_follows_the_lock_file() {
    let manifest =
        "[package]\nname = \"top\"\n[dependencies]\na.workspace = true\n[dev-dependencies]\ntest-only = \"1\"\n";
    let lock = r#"
        [[package]]
        name = "top"
        version = "0.1.0"
        dependencies = ["a", "test-only"]
        [[package]]
        name = "a"
        version = "1.0.0"
        dependencies = ["cmake 1.0.0"]
        [[package]]
        name = "cmake"
        version = "1.0.0"
        [[package]]
        name = "test-only"
        version = "1.0.0"
    "#;
    assert_eq!(closure(manifest, lock), BTreeSet::from(["a".to_owned(), "cmake".to_owned()]));
}

/// What a source of core names that its room may not know.
fn room_faults(source: &Source) -> Vec<String> {
    let Some(module) = source.module.first() else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|room| room.modules.contains(&module.as_str())) else {
        return vec![format!("{}: `{module}` has no room in tests/rooms.rs", source.path)];
    };
    let allowed = |path: &str| {
        let target = path.split("::").next().unwrap_or_default();
        // A capital is an item of the crate's root, re-exported from a room that is named where it is defined.
        target.starts_with(char::is_uppercase)
            || room.modules.contains(&target)
            || room.knows.contains(&target)
            || EXCEPTIONS
                .iter()
                .any(|e| e.module == module && (path == e.name || path.starts_with(&format!("{}::", e.name))))
    };
    let named = source.crate_paths();
    named
        .filter(|(_, path)| !allowed(path))
        .map(|(line, path)| format!("{}:{line}: {module} names {path}", source.path))
        .collect()
}

/// What a source names that is reserved for another.
fn reserved_faults(source: &Source) -> Vec<String> {
    let within = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    let mut faults = Vec::new();
    for rule in RESERVED.iter().filter(|rule| within(rule.within) && !within(rule.except)) {
        for (line, path) in &source.paths {
            if let Some(reserved) = rule.paths.iter().find(|reserved| scan::names(path, reserved)) {
                faults.push(format!("{}:{line}: `{path}` names `{reserved}`, but {}", source.path, rule.reason));
            }
        }
    }
    faults
}

/// The workspace's packages a manifest depends on, at build or run time, against the order.
fn crate_faults(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let name = manifest["package"]["name"].as_str().expect("a package's name");
    let Some((_, allowed)) = CRATES.iter().find(|(package, _)| *package == name) else {
        return vec![format!("{name} is not in the table of tests/rooms.rs")];
    };
    dependencies(&manifest)
        .into_iter()
        .filter(|used| CRATES.iter().any(|(package, _)| package == used) && !allowed.contains(&used.as_str()))
        .map(|used| format!("{name} depends on {used}"))
        .collect()
}

/// The package names in every `dependencies` and `build-dependencies` of a manifest, those of single platforms included.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let tables = platforms.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table).chain([manifest]);
    let mut names = BTreeSet::new();
    for table in tables {
        for section in ["dependencies", "build-dependencies"] {
            for (key, value) in table.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                names.insert(value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned());
            }
        }
    }
    names
}

/// The names of every package below a manifest's dependencies, as locked.
fn closure(manifest: &str, lock: &str) -> BTreeSet<String> {
    let lock: toml::Table = lock.parse().expect("a lock file");
    let packages = lock["package"].as_array().expect("packages");
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    // A dependency is written as its name, and with its version where two of that name are locked.
    let mut needs: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for package in packages {
        let listed = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let listed = listed.filter_map(|d| d.as_str().map(str::to_owned)).collect();
        needs.insert((text(package, "name"), text(package, "version")), listed);
    }
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let own = manifest["package"]["name"].as_str().expect("a package's name");
    let direct = dependencies(&manifest);
    let listed = needs.iter().find(|((name, _), _)| name == own).map(|(_, needs)| needs.clone()).unwrap_or_default();
    let name_of = |dependency: &str| dependency.split(' ').next().unwrap_or_default().to_owned();
    let mut open: Vec<String> = listed.into_iter().filter(|d| direct.contains(&name_of(d))).collect();
    let mut seen = BTreeSet::new();
    while let Some(dependency) = open.pop() {
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        for ((_, locked), needs) in
            needs.iter().filter(|((n, v), _)| n == name && version.is_none_or(|version| v == version))
        {
            if seen.insert((name.to_owned(), locked.clone())) {
                open.extend(needs.iter().cloned());
            }
        }
    }
    seen.into_iter().map(|(name, _)| name).collect()
}

/// `crates/` of this clone.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crate_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(crates()).expect("crates/");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders.sort();
    folders
}

/// The sources below `src/` of the named folders, with paths that begin below `crates/`.
fn read_sources(folders: &[&str]) -> Vec<Source> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| crates().join(folder).join("src")).collect();
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|end| end == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            let relative = path.strip_prefix(crates()).expect("below crates/").to_string_lossy().replace('\\', "/");
            sources.push(Source::parse(&relative, &read(&path)));
        }
    }
    assert!(sources.len() >= folders.len(), "no sources were found in {folders:?}");
    sources
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
