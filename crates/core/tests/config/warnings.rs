//! What is allowed and said to be unwise or without effect.

use crate::support::case;

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
fn whom_an_agent_lets_in_in_vain_is_said() {
    let warnings = |text: &str| {
        let case = case().file(text);
        let warnings: Vec<_> = case.loaded().warnings.iter().map(|warning| case.tidy(&warning.to_string())).collect();
        warnings.into_iter().filter(|warning| warning.contains("remote")).collect::<Vec<_>>()
    };
    let agent = "[providers.claude_code]\nagent = true\nfolder = '/srv'\nremote = ['3f29b1c07a5d4e68', 'desk']\n";
    let keys = "[server]\nvirtual_keys = true\napi_keys = [{ name = 'desk', key = 'k' }]\n";
    assert_eq!(warnings(&format!("{agent}{keys}")), [""; 0]);
    let said = warnings(agent);
    assert!(matches!(said.as_slice(), [one] if one.contains("no key is called 3f29b1c07a5d4e68, desk")), "{said:?}");
    let said = warnings(&format!("{agent}{}", keys.replace("virtual_keys = true\n", "")));
    assert!(matches!(said.as_slice(), [one] if one.contains("no key is called 3f29b1c07a5d4e68:")), "{said:?}");
    let said = warnings(&format!("{}{keys}", agent.replace("agent = true\nfolder = '/srv'\n", "")));
    assert!(matches!(said.as_slice(), [one] if one.contains("it has no effect")), "{said:?}");
}
