//! The command lines that fetch an agent first: for those who name the provider on this machine, and for nobody else.

use llm_router::Result;
use llm_router::error::ErrorKind;
use llm_router::ids::ProviderId;
use llm_router::request::Request;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};

use crate::support::Machine;

/// A machine where `npx` says how it was called, and no agent is installed.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.script("npx", "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    machine
}

async fn ask(machine: &Machine, id: &str, request: Request, door: Door) -> Result<String> {
    let router = Router::builder().instance(machine.provider(id)?).build()?;
    Ok(router.call(Op::new(request, door)).await?.collect().await?.text())
}

fn naming(id: &str) -> Request {
    let mut request = Request::new("-say it");
    request.provider = Some(ProviderId::new(id).unwrap());
    request
}

const FETCHED: &[(&str, &str)] = &[
    ("copilot_cli", "<--yes><@github/copilot><-p><\n-say it>"),
    ("gemini_cli", "<@google/gemini-cli><\n-say it>"),
    ("gemini_py", "<@google/gemini-cli><\n-say it>"),
];

#[tokio::test]
async fn who_names_the_provider_on_this_machine_has_its_program_fetched() {
    for (id, called) in FETCHED {
        for door in [Door::Library, Door::Command] {
            let said = ask(&machine(), id, naming(id), door).await.unwrap();
            assert_eq!(said.replace(['\n', ' '], ""), called.replace(['\n', ' '], ""), "{id}");
        }
        let mut by_model = Request::new("-say it");
        by_model.model = Some((*id).to_owned());
        assert!(ask(&machine(), id, by_model, Door::Library).await.unwrap().starts_with('<'), "{id}");
    }
}

#[tokio::test]
async fn what_it_does_with_its_tools_is_unknown_so_nobody_reaches_it_from_elsewhere() {
    for (id, _) in FETCHED {
        for door in [Door::NativeApi, Door::CompatibleApi] {
            let error = ask(&machine(), id, naming(id), door).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PolicyForbidden, "{id}: {error}");
        }
    }
}

#[tokio::test]
async fn who_names_nobody_does_not_fetch_it_and_neither_does_one_that_is_broken() {
    for (id, _) in FETCHED {
        let error = ask(&machine(), id, Request::new("say it"), Door::Library).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{id}: {error}");
        let bare = Machine::new().variable("PATH", "/nowhere");
        let error = ask(&bare, id, naming(id), Door::Library).await.unwrap_err();
        assert!(error.hint().unwrap_or_default().contains("npm install"), "{id}: {error}");
    }
}
