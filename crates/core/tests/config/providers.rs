//! Which providers and routes the settings name.

use crate::support::{case, id};

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
fn a_long_chain_of_routes_is_no_circle_and_no_overflow() {
    let chain: String = (0..5000).map(|n| format!("[routes.r{n}]\ngroups = [['r{}']]\n", n + 1)).collect();
    let last = "[routes.r5000]\ngroups = [['local']]\n";
    assert_eq!(case().file(format!("{chain}{last}")).loaded().settings.routes.len(), 5001);
    let problems = case().file(format!("{chain}[routes.r5000]\ngroups = [['r4999']]")).problems();
    assert!(problems.contains("routes lead in a circle: r4999 → r5000 → r4999"), "{problems}");
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
