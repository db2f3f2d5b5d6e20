//! Whether an agent's first request fits in a model's window, and with how many of its tools. What was measured is in `agents.rs`.

use super::agents::{Agent, Tools};
use crate::output::{Failure, Outcome};

/// Tokens for a question, a look at a file, and an answer: with fewer an agent is of no use.
const ROOM: u64 = 2048;

/// Who will answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// What the agent calls it.
    pub(super) name: String,
    /// The tokens of a prompt and its answer together, where they are known.
    pub(super) window: Option<u64>,
    /// Whether it takes tools.
    pub(super) tools: bool,
}

/// How many of its tools the agent gets, and what is to be said about it.
pub(super) fn choose(agent: &Agent, wanted: Option<&str>, target: &Target) -> Outcome<(Tools, Option<String>)> {
    let Target { name, window, tools: takes } = target;
    let holds = window.unwrap_or(u64::MAX);
    let fits = |tools: Tools| agent.tokens(tools).saturating_add(ROOM) <= holds;
    let wanted = wanted.and_then(Tools::parse);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != Tools::None && !takes) {
        return Err(Failure::usage(
            format!("{name} takes no tools, and --tools {} was asked for", wanted.name()),
            "leave --tools out, or name a model that takes tools",
        ));
    }
    let candidates: &[Tools] = match (&wanted, takes) {
        (Some(wanted), _) => std::slice::from_ref(wanted),
        (None, true) => &Tools::ALL,
        (None, false) => &[Tools::None],
    };
    let Some(chosen) = candidates.iter().copied().find(|tools| fits(*tools)) else {
        let least = candidates.last().copied().unwrap_or(Tools::None);
        let with = if least == Tools::None { "without its tools" } else { "with those tools" };
        return Err(Failure::usage(
            format!(
                "{} {with} takes {} tokens of a request and {ROOM} for a question and its answer, and {name} holds {holds}",
                agent.name,
                agent.tokens(least)
            ),
            "name a model with a larger window: --model; if this one's is larger than that, say so with window under [models.\"PROVIDER/MODEL\"]",
        ));
    };
    let said = (wanted.is_none() && chosen != Tools::ALL[0]).then(|| {
        let why = match (takes, window) {
            (true, Some(window)) => format!(
                "{name} holds {window} tokens, and {} with all of its tools takes {}",
                agent.name,
                agent.tokens(Tools::All)
            ),
            _ => format!("{name} takes no tools"),
        };
        format!("note: {why}: it has {} ({} tokens)", agent.kept(chosen), agent.tokens(chosen))
    });
    Ok((chosen, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::agents::AGENTS;

    fn target(window: Option<u64>, tools: bool) -> Target {
        Target { name: "lab/m".to_owned(), window, tools }
    }

    fn chosen(agent: &Agent, window: Option<u64>, tools: bool) -> Option<Tools> {
        choose(agent, None, &target(window, tools)).ok().map(|(tools, _)| tools)
    }

    #[test]
    fn as_many_tools_as_there_is_room_for() {
        for agent in AGENTS {
            let [all, few, none] = Tools::ALL.map(|tools| agent.tokens(tools));
            assert!(all > few && few > none, "{}", agent.name);
            assert_eq!(chosen(agent, None, true), Some(Tools::All));
            assert_eq!(chosen(agent, Some(all + ROOM), true), Some(Tools::All));
            assert_eq!(chosen(agent, Some(all + ROOM - 1), true), Some(Tools::Few));
            assert_eq!(chosen(agent, Some(few + ROOM - 1), true), Some(Tools::None));
            assert_eq!(chosen(agent, Some(none + ROOM - 1), true), None);
            assert_eq!(chosen(agent, None, false), Some(Tools::None));
            // The embedded model's.
            assert_eq!(chosen(agent, Some(8192), false), Some(Tools::None), "{}", agent.name);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        for agent in AGENTS {
            for wanted in [None, Some("none")] {
                let Err(Failure::Usage(error)) = choose(agent, wanted, &target(Some(1024), true)) else {
                    panic!("{}", agent.name)
                };
                let needs = agent.tokens(Tools::None).to_string();
                assert!(error.message().contains(&needs) && error.message().contains("1024"), "{error}");
            }
            assert!(choose(agent, Some("all"), &target(Some(8192), true)).is_err());
            assert!(choose(agent, Some("few"), &target(None, false)).is_err());
            assert_eq!(choose(agent, Some("few"), &target(None, true)).ok(), Some((Tools::Few, None)));
        }
    }
}
