#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]
fn main() {
    use llm_router::config::*;
    let file = std::env::args().nth(1);
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let e = Environment::from_process();
        let t1 = t.elapsed();
        let mut f = Flags::new();
        if let Some(x) = &file {
            f = f.config(x);
        }
        let l = Settings::load(&e, &f).unwrap();
        println!("env {t1:?} load {:?} entries {}", t.elapsed() - t1, l.entries.len());
    }
}
