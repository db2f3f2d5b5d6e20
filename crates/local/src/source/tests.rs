//! Where a model file comes from, as people write it.
#![allow(clippy::unwrap_used)]

use super::*;

fn hub(repo: &str, revision: &str, pick: Pick) -> Source {
    Source::Hub { repo: repo.into(), revision: revision.into(), pick }
}

#[test]
fn names_are_read() {
    let file = |name: &str| Pick::File(name.into());
    for (name, source) in [
        ("", Source::Default),
        ("default", Source::Default),
        ("smollm2-135m-instruct", Source::Default),
        ("./m.gguf", Source::Path("./m.gguf".into())),
        ("/models/a b.gguf", Source::Path("/models/a b.gguf".into())),
        ("hf:owner/repo/m.gguf", hub("owner/repo", "main", file("m.gguf"))),
        ("hf:owner/repo/sub/m.Q4_0.gguf", hub("owner/repo", "main", file("sub/m.Q4_0.gguf"))),
        ("hf:owner/repo@v1.0/m.gguf", hub("owner/repo", "v1.0", file("m.gguf"))),
        ("hf:owner/repo:Q4_K_M", hub("owner/repo", "main", Pick::Quantisation("Q4_K_M".into()))),
        ("hf:owner/repo@abc:Q8_0", hub("owner/repo", "abc", Pick::Quantisation("Q8_0".into()))),
    ] {
        assert_eq!(Source::parse(name).unwrap(), source, "{name}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "hf:",
        "hf:owner",
        "hf:owner/repo",
        "hf:owner/repo/",
        "hf:owner/repo:",
        "hf:owner/repo/../../etc.gguf",
        "hf:../repo/m.gguf",
        "hf:owner/repo/m.bin",
        "hf:owner/repo/a//b.gguf",
        "hf:owner/repo@/m.gguf",
        "hf:owner/re po:Q4",
        "hf:owner/repo:../x",
        "hf:owner/repo/m.gguf?x=.gguf",
        "hf:owner/repo@a/b:Q4",
    ] {
        let error = Source::parse(name).unwrap_err();
        assert!(error.to_string().contains("hf:owner/repo:Q4_K_M"), "{name}: {error}");
    }
}

#[test]
fn a_quantisation_is_a_word_of_the_name() {
    let files = |names: &[&str]| -> Vec<(String, u64)> { names.iter().map(|name| ((*name).to_owned(), 0)).collect() };
    let list = files(&[
        "m-Q4_K_S.gguf",
        "m-Q4_K_M.gguf",
        "m-Q4_K_M-imatrix.gguf",
        "m-IQ4_XS.gguf",
        "m.Q8_0.gguf",
        "mmproj-Q8_0.gguf",
        "m-F16-00001-of-00002.gguf",
        "Q5_0/m-Q5_0.gguf",
    ]);
    assert_eq!(choose(&list, "Q4_K_M"), Some("m-Q4_K_M.gguf"));
    assert_eq!(choose(&list, "q8_0"), Some("m.Q8_0.gguf"));
    assert_eq!(choose(&list, "Q5_0"), Some("Q5_0/m-Q5_0.gguf"));
    for absent in ["Q4_K", "Q4", "F16", "Q4_XS", "K_M"] {
        assert_eq!(choose(&list, absent), None, "{absent}");
    }
}

#[test]
fn a_path_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    assert_eq!(present(&Source::Path(path.clone()), folder.path()), None);
    std::fs::write(&path, "x").unwrap();
    assert_eq!(present(&Source::Path(path.clone()), folder.path()).unwrap().path, path);
    assert_eq!(present(&Source::Default, folder.path()), None);
}
