//! How much speed the engine costs over calling llama.cpp in a bare loop: ratios, medians over interleaved rounds.
//!
//! `cargo bench -p llm-router-local`, on a machine with nothing else to do. Rounds alternate between what is compared,
//! so that a slow minute slows both. Nothing is asserted: times belong to the machine. The numbers are tokens of
//! answer a second, the prompt's time included.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods
)]

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use llama_cpp_sys_2 as sys;
use llm_router_local::engine::{Engine, EngineOptions, Job, Output, Prompt, Sampling};

const ROUNDS: usize = 7;
const TOKENS: usize = 96;
const WINDOW: usize = 1024;
const PROMPTS: [&str; 4] = [
    "Write a long story about a lighthouse keeper and the sea.",
    "Explain in detail how a bicycle stays upright.",
    "Describe a walk through a forest in autumn.",
    "Tell the history of bread, from the first fields on.",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("child") {
        child();
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let usual = cores.saturating_sub(1).max(1);
    println!("{cores} cores, the engine's own choice is {usual} thread(s)\n");
    alone(cores, usual);
    four(usual);
    two_processes();
}

/// One answer: the engine against bare loops.
fn alone(cores: usize, usual: usize) {
    let engine = load(1);
    let mut engine_speed = Vec::new();
    let mut bare: Vec<_> = (1..=cores).map(|threads| (threads, Bare::new(threads, 1), Vec::new())).collect();
    for round in 0..ROUNDS {
        let prompt = PROMPTS[round % PROMPTS.len()];
        engine_speed.push(run_engine(&engine, &[prompt]));
        for (_, bare, speed) in &mut bare {
            speed.push(bare.run(&[prompt]));
        }
    }
    let engine = median(engine_speed);
    println!("one answer: engine {engine:.1} tokens/s");
    let bare: Vec<_> = bare.into_iter().map(|(threads, _, speed)| (threads, median(speed))).collect();
    for (threads, speed) in &bare {
        println!("  bare loop, {threads} thread(s): {speed:.1} tokens/s");
    }
    let same = bare.iter().find(|(threads, _)| *threads == usual).unwrap().1;
    let best = bare.iter().map(|(_, speed)| *speed).fold(0.0, f64::max);
    println!("  engine / same setting   {:.3}   (goal 0.97)", engine / same);
    println!("  engine / fastest        {:.3}   (goal 0.65)\n", engine / best);
}

/// Four answers at once against a bare loop that decodes four together.
fn four(usual: usize) {
    let engine = load(4);
    let mut bare = Bare::new(usual, 4);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(run_engine(&engine, &PROMPTS));
        theirs.push(bare.run(&PROMPTS));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("four answers: engine {ours:.1}, bare batched loop {theirs:.1} tokens/s");
    println!("  engine / bare           {:.3}   (goal 0.95)\n", ours / theirs);
}

/// Two programs with an engine each against one.
fn two_processes() {
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .arg("child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let speed = |child: std::process::Child| -> f64 {
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    let (mut one, mut each) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(speed(spawn()));
        let (left, right) = (spawn(), spawn());
        each.push(speed(left));
        each.push(speed(right));
    }
    let worst = each.iter().copied().fold(f64::INFINITY, f64::min);
    let (one, each) = (median(one), median(each));
    println!("two programs: {each:.1} tokens/s each (worst {worst:.1}), {one:.1} alone");
    println!("  each / alone            {:.3}   (goal 0.70)", each / one);
}

/// What a second program does: answers a few prompts and prints its speed.
fn child() {
    let engine = load(1);
    run_engine(&engine, &PROMPTS[..1]);
    let speeds = PROMPTS.iter().map(|prompt| run_engine(&engine, &[prompt])).collect();
    println!("{}", median(speeds));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn model() -> PathBuf {
    if let Some(path) = std::env::var_os("LLM_ROUTER_TEST_MODEL") {
        return PathBuf::from(path);
    }
    let models = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/ipfs-llm-router/models");
    let found = llm_router_local::source::present(&llm_router_local::source::Source::Default, &models);
    found.expect("the default model: `llm-router pull` fetches it").path
}

fn wrap(user: &str) -> String {
    format!("<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n")
}

fn load(parallel: usize) -> Engine {
    let mut options = EngineOptions::default();
    options.window = WINDOW;
    options.parallel = parallel;
    Engine::load(&model(), &options).unwrap()
}

/// Tokens a second over all `prompts`, answered at the same time. End markers are biased away, so that every run
/// makes the same number of tokens.
fn run_engine(engine: &Engine, prompts: &[&str]) -> f64 {
    let started = Instant::now();
    let answers: Vec<_> = prompts
        .iter()
        .enumerate()
        .map(|(at, prompt)| {
            // A first word of its own, so that nothing is kept from the round before.
            let text = format!("{at}{}", wrap(&format!("{:?} {prompt}", started)));
            let mut job = Job::new(Prompt::Template(text));
            job.sampling = Sampling::greedy();
            job.sampling.logit_bias = vec![(0, -1000.0), (2, -1000.0)];
            job.max_tokens = Some(TOKENS);
            let mut answer = engine.generate(job).unwrap();
            std::thread::spawn(move || {
                let mut tokens = 0;
                while let Some(item) = answer.wait() {
                    if let Output::Done { usage, .. } = item.unwrap() {
                        tokens = usage.completion_tokens;
                    }
                }
                tokens
            })
        })
        .collect();
    let tokens: usize = answers.into_iter().map(|answer| answer.join().unwrap()).sum();
    assert_eq!(tokens, TOKENS * prompts.len());
    tokens as f64 / started.elapsed().as_secs_f64()
}

/// llama.cpp with nothing around it: greedy, prompts in one batch, then a token of each per step.
struct Bare {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    pool: *mut sys::ggml_threadpool,
    batch: sys::llama_batch,
}

impl Bare {
    fn new(threads: usize, sequences: usize) -> Self {
        unsafe {
            let path = CString::new(model().to_str().unwrap()).unwrap();
            let mut parameters = sys::llama_model_default_params();
            parameters.use_extra_bufts = false;
            let model = sys::llama_model_load_from_file(path.as_ptr(), parameters);
            let mut parameters = sys::llama_context_default_params();
            parameters.n_ctx = u32::try_from(WINDOW * sequences).unwrap();
            parameters.n_batch = 512;
            parameters.n_ubatch = 512;
            parameters.n_seq_max = u32::try_from(sequences).unwrap();
            parameters.n_threads = i32::try_from(threads).unwrap();
            parameters.n_threads_batch = parameters.n_threads;
            parameters.kv_unified = false;
            parameters.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            let context = sys::llama_init_from_model(model, parameters);
            assert!(!context.is_null());
            let mut pool = sys::ggml_threadpool_params_default(parameters.n_threads);
            let pool = sys::ggml_threadpool_new(&raw mut pool);
            sys::llama_attach_threadpool(context, pool, pool);
            Self { model, context, pool, batch: sys::llama_batch_init(512, 0, 1) }
        }
    }

    fn add(&mut self, token: i32, position: usize, sequence: usize, logits: bool) {
        let at = usize::try_from(self.batch.n_tokens).unwrap();
        unsafe {
            *self.batch.token.add(at) = token;
            *self.batch.pos.add(at) = i32::try_from(position).unwrap();
            *self.batch.n_seq_id.add(at) = 1;
            **self.batch.seq_id.add(at) = i32::try_from(sequence).unwrap();
            *self.batch.logits.add(at) = i8::from(logits);
        }
        self.batch.n_tokens += 1;
    }

    fn run(&mut self, prompts: &[&str]) -> f64 {
        unsafe {
            let vocab = sys::llama_model_get_vocab(self.model);
            let size = usize::try_from(sys::llama_vocab_n_tokens(vocab)).unwrap();
            let started = Instant::now();
            sys::llama_memory_clear(sys::llama_get_memory(self.context), false);
            self.batch.n_tokens = 0;
            let mut rows = Vec::new();
            let mut lengths = Vec::new();
            for (sequence, prompt) in prompts.iter().enumerate() {
                let text = format!("{sequence}{}", wrap(&format!("{:?} {prompt}", started)));
                let mut tokens = vec![0; 256];
                let count = sys::llama_tokenize(
                    vocab,
                    text.as_ptr().cast(),
                    i32::try_from(text.len()).unwrap(),
                    tokens.as_mut_ptr(),
                    256,
                    false,
                    true,
                );
                tokens.truncate(usize::try_from(count).unwrap());
                for (position, token) in tokens.iter().enumerate() {
                    self.add(*token, position, sequence, position + 1 == tokens.len());
                }
                rows.push(self.batch.n_tokens - 1);
                lengths.push(tokens.len());
            }
            let mut made = 0;
            for step in 0..TOKENS {
                assert_eq!(sys::llama_decode(self.context, self.batch), 0);
                self.batch.n_tokens = 0;
                for (sequence, row) in rows.iter_mut().enumerate() {
                    let logits = std::slice::from_raw_parts_mut(sys::llama_get_logits_ith(self.context, *row), size);
                    logits[0] = f32::NEG_INFINITY;
                    logits[2] = f32::NEG_INFINITY;
                    let best = (0..size).reduce(|best, next| if logits[next] > logits[best] { next } else { best });
                    *row = self.batch.n_tokens;
                    self.add(i32::try_from(best.unwrap()).unwrap(), lengths[sequence] + step, sequence, true);
                    made += 1;
                }
            }
            made as f64 / started.elapsed().as_secs_f64()
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        unsafe {
            sys::llama_batch_free(self.batch);
            sys::llama_free(self.context);
            sys::ggml_threadpool_free(self.pool);
            sys::llama_model_free(self.model);
        }
    }
}
