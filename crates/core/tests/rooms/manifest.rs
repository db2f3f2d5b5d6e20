//! What a manifest and the lock file say about dependencies, without asking cargo.

use std::collections::{BTreeMap, BTreeSet};

/// The package names in every `dependencies` and `build-dependencies` of a manifest, those of single platforms included.
pub(crate) fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let tables = platforms.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table).chain([manifest]);
    let mut names = BTreeSet::new();
    for table in tables {
        for section in ["dependencies", "build-dependencies"] {
            for (key, value) in table.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                // What a feature brings is not there until somebody asks for it.
                if value.get("optional").and_then(toml::Value::as_bool) == Some(true) {
                    continue;
                }
                names.insert(value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned());
            }
        }
    }
    names
}

/// The names of every package below a manifest's dependencies, as locked.
pub(crate) fn closure(manifest: &str, lock: &str) -> BTreeSet<String> {
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
