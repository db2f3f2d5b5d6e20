//! The engine over tiny models of three families, whose tokenizers, layers and number formats share nothing: their
//! text is noise, but it has to be the same noise alone, in company and after a prefix, in whole characters.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::tiny::{self, Family};

fn load(path: &std::path::Path, parallel: usize) -> Engine {
    Engine::load(path, &EngineOptions { parallel, ..EngineOptions::default() }).unwrap()
}

fn job(text: &str) -> Job {
    let mut job = Job::new(Prompt::Plain(text.to_owned()));
    job.sampling = Sampling::greedy();
    job.max_tokens = Some(24);
    job
}

/// The text and how much of the prompt was kept from before.
fn read(mut answer: Answer) -> (String, usize) {
    let mut all = String::new();
    while let Some(item) = answer.wait() {
        match item.unwrap() {
            Output::Reading { .. } => {}
            Output::Text { text, .. } => all.push_str(&text),
            Output::Done { usage, .. } => return (all, usage.cached_tokens),
        }
    }
    panic!("an answer has an end");
}

#[test]
fn three_families_say_the_same_alone_together_and_after_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL {
        let path = tiny::write(folder.path(), family, 7).unwrap();
        let one = load(&path, 1);
        assert!(one.model_info().template.is_some() && one.model_info().window > 200, "{family:?}");
        // Longer than a chunk, so that a kept prefix ends inside one and at its edge.
        let shared = "the quick brown fox jumps over the lazy dog ".repeat(3);
        let prompts: Vec<_> = (0..6).map(|at| format!("{shared}{}", "é🦀 no ".repeat(at))).collect();
        let alone: Vec<_> =
            prompts.iter().map(|prompt| read(load(&path, 1).generate(job(prompt)).unwrap()).0).collect();
        let (after, kept): (Vec<_>, Vec<_>) =
            prompts.iter().map(|prompt| read(one.generate(job(prompt)).unwrap())).unzip();
        assert_eq!(after, alone, "{family:?}");
        assert!(kept.iter().skip(1).all(|&kept| kept >= 64), "{family:?}: {kept:?}");
        let four = load(&path, 4);
        let answers: Vec<_> = prompts.iter().map(|prompt| four.generate(job(prompt)).unwrap()).collect();
        let readers: Vec<_> = answers.into_iter().map(|answer| thread::spawn(|| read(answer).0)).collect();
        let together: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(together, alone, "{family:?}");
    }
}

#[test]
fn every_familys_tokens_spell_the_text_they_came_from() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL {
        let engine = load(&tiny::write(folder.path(), family, 7).unwrap(), 1);
        let text = "naïve 🦀 crab, 12 + 3";
        let tokens = engine.tokenize(&Prompt::Plain(text.to_owned())).unwrap();
        let mut bytes = Vec::new();
        tokens.iter().for_each(|&token| engine.model.piece(token, false, &mut bytes));
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text, "{family:?}");
    }
}
