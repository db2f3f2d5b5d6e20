//! The graph: who may know whom, read from the sources, the manifests and the lock file. `ARCHITECTURE.md` says why.
//!
//! The rules are the tables of `rooms/rules.rs`: a new module at the top of `src/` has to be given a room there. Rust is read in
//! `rooms/scan.rs`, manifests and the lock file in `rooms/manifest.rs`.

#[path = "rooms/manifest.rs"]
mod manifest;
#[path = "rooms/rules.rs"]
mod rules;
#[path = "rooms/scan.rs"]
mod scan;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use manifest::{closure, dependencies};
use rules::{CRATES, EXCEPTIONS, MAX_PACKAGES, RESERVED, ROOMS, UNWANTED};
use scan::Source;

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
    assert_eq!(faults("core/src/news.rs", ""), ["core/src/news.rs: `news` has no room in tests/rooms/rules.rs"]);
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
    assert_eq!(
        crate_faults("[package]\nname = \"newcomer\"\n"),
        ["newcomer is not in the table of tests/rooms/rules.rs"]
    );
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
        return vec![format!("{}: `{module}` has no room in tests/rooms/rules.rs", source.path)];
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
        return vec![format!("{name} is not in the table of tests/rooms/rules.rs")];
    };
    dependencies(&manifest)
        .into_iter()
        .filter(|used| CRATES.iter().any(|(package, _)| package == used) && !allowed.contains(&used.as_str()))
        .map(|used| format!("{name} depends on {used}"))
        .collect()
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
        // Tests beside the code are compiled for tests only; they may name what they like.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
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
