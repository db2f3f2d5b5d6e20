//! Chat templates held against `transformers`: every template of `golden/templates`, over every conversation of
//! `golden/conversations.json`, must give the text that library gave (`golden/make.py` asked it), or fail where it failed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use llm_router_local::template::{Input, Limits, Template, TemplateError};
use serde_json::Value;

/// The moment `golden/make.py` stopped its clock at.
const NOW: i64 = 1_772_366_400;

#[test]
fn prompts_are_those_of_transformers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let golden = std::env::var("LLM_ROUTER_GOLDEN").unwrap_or_else(|_| format!("{folder}/golden.json"));
    let read = |path: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let conversations = read(&format!("{folder}/conversations.json"));
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for row in read(&golden).as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let template = match Template::new(row["source"].as_str().unwrap(), Limits::default()) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (case, wanted) in row["cases"].as_object().unwrap() {
            let conversation = &conversations[case];
            let list = |key: &str| conversation[key].as_array().cloned().unwrap_or_default();
            let got = template.apply(&Input {
                messages: &list("messages"),
                tools: &list("tools"),
                add_generation_prompt: conversation["add_generation_prompt"].as_bool().unwrap_or(true),
                bos_token: row["bos"].as_str().unwrap(),
                eos_token: row["eos"].as_str().unwrap(),
                now: NOW,
                extra: conversation["extra"].as_object(),
            });
            checked += 1;
            if let Some(difference) = difference(&got, wanted) {
                wrong.push(format!("{name}, {case}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 100, "only {checked} prompts were compared");
}

fn difference(got: &Result<String, TemplateError>, wanted: &Value) -> Option<String> {
    match (got, wanted["text"].as_str(), wanted["error"].as_str()) {
        (Ok(got), Some(wanted), _) if got == wanted => None,
        (Ok(got), Some(wanted), _) => {
            let same = got.bytes().zip(wanted.bytes()).take_while(|(left, right)| left == right).count();
            let from = |text: &str| {
                String::from_utf8_lossy(text.as_bytes().get(same.saturating_sub(20)..).unwrap_or_default())
                    .chars()
                    .take(90)
                    .collect::<String>()
            };
            Some(format!("at byte {same}\n    got    {:?}\n    wanted {:?}", from(got), from(wanted)))
        }
        (Err(error), Some(_), _) => Some(format!("failed: {error}")),
        (Ok(_), None, error) => Some(format!("should have failed: {error:?}")),
        // What a template raises itself reaches the caller in its words; a Python error need only fail.
        (Err(TemplateError::Refused(words)), None, Some(error)) => {
            (!error.ends_with(words.as_str())).then(|| format!("raised {words:?}, not {error:?}"))
        }
        (Err(_), None, _) => None,
    }
}
