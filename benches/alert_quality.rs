//! Are the pages right? Scenarios of known truth, lived through by our policy and by those of others: what is found and
//! when, how often it pages for one incident, how soon it is over, and how often it pages for nothing.
//!
//! ```text
//! cargo bench --bench alert_quality                  the table, a few minutes
//! cargo bench --bench alert_quality -- --quick       the headline rows, held to their bounds (CI)
//! cargo bench --bench alert_quality -- --write       the table, into docs/alert-quality.md
//!     --seed N     other seeds; runs of one seed are the same for every policy (paired)
//! ```
//!
//! Built with `SLOWBURN_BENCH_STEP_S=15` or `60` it evaluates each so many seconds instead of each 30, over slices as long.

#[path = "alert_quality/cores.rs"]
mod cores;
#[path = "alert_quality/engine.rs"]
mod engine;
#[path = "alert_quality/random.rs"]
mod random;
#[path = "alert_quality/report.rs"]
mod report;
#[path = "alert_quality/scenario.rs"]
mod scenario;
#[path = "alert_quality/score.rs"]
mod score;
#[path = "alert_quality/twin.rs"]
mod twin;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| arguments.iter().position(|argument| argument == name).map(|at| &arguments[at + 1]);
    let seed = value("--seed").and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    let size = if has("--quick") { report::QUICK } else { report::FULL };
    let differ = engine::differences(seed, if has("--quick") { 1 } else { 4 });
    println!("evaluations in which the twin and the engine differ: {differ}");
    let report = report::Report::made(seed, &size);
    print!("{}", report.text());
    if has("--write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alert-quality.md");
        if let Err(error) = report.write(path) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let missed = report.missed_bounds();
    missed.iter().for_each(|bound| println!("MISSED: {bound}"));
    if differ > 0 || has("--quick") && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
