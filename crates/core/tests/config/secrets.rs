//! A secret is shown nowhere.

use llm_router::Error;

use crate::support::case;

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
