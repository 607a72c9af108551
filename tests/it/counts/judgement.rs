//! What the readings are held against, and the table that says how they did.

use std::fmt::Write as _;

use serde_json::Value;
use slowburn::demo::scenarios::counts::{Case, Expected};

use super::Reading;

/// How far a count may be from what happened, as a share; and one event, for what is on its way to a whole one.
const TOLERANCE: f64 = 0.001;

/// Who reads.
const WAYS: [&str; 4] = ["eval", "daemon", "restarted", "cold start"];

/// One window of one case.
pub struct Row<'a> {
    pub window_s: i64,
    /// `(total, bad)` that the scrapes show.
    pub truth: (u64, u64),
    /// `eval`, the daemon that lived through it, the one that was started again and again, the one that started in the middle.
    pub readings: [&'a Reading; WAYS.len()],
    /// `(total, bad)` by `increase()`.
    pub increase: (f64, f64),
}

pub struct Judgement {
    table: String,
    /// By case.
    wrong: Vec<(&'static str, String)>,
}

impl Judgement {
    /// `build` is what the server says of its build.
    pub fn new(build: &Value) -> Self {
        let version = build["data"]["version"].as_str().expect("a version");
        let mut table = format!("Prometheus {version}; counts against the truth, total / bad\n");
        write!(table, "{:<17} {:>3} {:>17}", "case", "", "truth").expect("a String grows");
        for name in WAYS.into_iter().chain(["increase()"]) {
            write!(table, " | {name:>19}").expect("a String grows");
        }
        table.push('\n');
        Judgement { table, wrong: Vec::new() }
    }

    pub fn judge(&mut self, case: &Case, row: Row<'_>) {
        let window = if row.window_s == 3600 { "1h" } else { "1d" };
        let (total, bad) = row.truth;
        write!(self.table, "{:<17} {window:>3} {:>17}", case.name, format!("{total} / {bad}")).expect("a String grows");
        let counts = row.readings.map(|reading| reading.window(row.window_s));
        let ours = counts.map(|(total, bad)| (total as f64, bad as f64));
        for (total, bad) in ours.into_iter().chain([row.increase]) {
            let cell = format!("{} / {}", off(total, row.truth.0), off(bad, row.truth.1));
            write!(self.table, " | {cell:>19}").expect("a String grows");
        }
        let faults = row.readings.map(|reading| reading.data().unwrap_or_else(|| "fresh".into()));
        let (state, notes) = (row.readings[0].state(), row.readings[0].notes().chars().take(60).collect::<String>());
        writeln!(self.table, " | {state}; {}; {notes}", one_or_all(&faults)).expect("a String grows");

        let windows = row.readings.map(Reading::windows);
        if windows[1..].iter().any(|other| *other != windows[0]) {
            self.wrong.push((case.name, format!("{window}: the ways differ: {windows:?}")));
        }
        let complaints = row.readings.map(|reading| complaints(case, &row, reading).join(", "));
        if complaints.iter().any(|what| !what.is_empty()) {
            self.wrong.push((case.name, format!("{window}: {}", one_or_all(&complaints))));
        }
    }

    /// # Panics
    /// When anything is wrong.
    pub fn end(self) {
        println!("{}", self.table);
        let listed: Vec<String> = self.wrong.iter().map(|(name, what)| format!("{name} {what}")).collect();
        assert!(listed.is_empty(), "{} wrong:\n{}\n{}", listed.len(), listed.join("\n"), self.table);
    }
}

/// What is wrong with one way of reading.
fn complaints(case: &Case, row: &Row<'_>, reading: &Reading) -> Vec<String> {
    let (total, bad) = reading.window(row.window_s);
    let counts =
        [("total", total as f64, row.increase.0, row.truth.0), ("bad", bad as f64, row.increase.1, row.truth.1)];
    let mut found = Vec::new();
    let named = reading.fault().is_some();
    if case.expected == Expected::Named {
        if !named {
            found.push("no fault is named".into());
        }
        if ["fast_burn", "slow_burn", "exhausted"].contains(&reading.state()) {
            found.push(format!("{} on counts that cannot be trusted", reading.state()));
        }
    } else if case.expected == Expected::Counted || !named {
        let off = counts.iter().filter(|(_, ours, _, truth)| wrong(*ours, *truth) > 0.0);
        found.extend(off.map(|(what, ours, _, truth)| format!("{what} {ours}, truth {truth}")));
    }
    // What is named as doubted is no number to compare.
    let worse = counts
        .iter()
        .filter(|(_, ours, theirs, truth)| !named && wrong(*ours, *truth) > (theirs - *truth as f64).abs());
    found.extend(
        worse.map(|(what, ours, theirs, _)| format!("{what} {ours} is further off than increase(), {theirs:.0}")),
    );
    found
}

/// What all of them say, or what each of them says.
fn one_or_all(said: &[String; WAYS.len()]) -> String {
    if said[1..].iter().all(|other| *other == said[0]) {
        return said[0].clone();
    }
    WAYS.iter().zip(said).map(|(way, said)| format!("{way}: {said}")).collect::<Vec<_>>().join("; ")
}

/// By how many events a count is off beyond what is tolerated.
fn wrong(count: f64, truth: u64) -> f64 {
    let truth = truth as f64;
    ((count - truth).abs() - (truth * TOLERANCE).max(1.0)).max(0.0)
}

fn off(count: f64, truth: u64) -> String {
    match truth {
        _ if count == truth as f64 => "0".into(),
        0 => format!("{count:+.0}"),
        truth => format!("{:+.2} %", (count / truth as f64 - 1.0) * 100.0),
    }
}
