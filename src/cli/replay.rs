//! `slowburn replay`: decides history again, as it was and under another policy, and prints the flips. A check for
//! changes of policies before they are merged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::table::{Table, counted};
use super::{Exit, Format, complain, print_out, wiring};
use crate::clock::Clock;
use crate::gate::Policy;
use crate::gate::replay::Flip;
use crate::gate_service::replay::{Recorded, recorded};
use crate::spec::{self, Code, Severity};

/// Flags of `slowburn replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The new policies: files or directories (repeatable). Without it only whether history is decided as it was
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    since: std::time::Duration,
    /// The daemon's data directory; its log is in `audit`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The audit log's own directory
    #[arg(long, value_name = "DIR", conflicts_with = "data_dir")]
    dir: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    decisions: usize,
    same: usize,
    /// Decisions that are decided otherwise under their own policy: this version reads them differently.
    drifted: Vec<String>,
    /// Decisions whose inputs are gone, and why.
    gone: Vec<(String, String)>,
    flips: Vec<(String, Flip)>,
}

/// Replays and prints.
pub fn replay(args: &ReplayArgs) -> Exit {
    match replayed(args) {
        Ok(outcome) => {
            print_out(&match args.format {
                Format::Text => text(&outcome),
                Format::Json => json_text(&outcome),
            });
            if outcome.flips.is_empty() && outcome.drifted.is_empty() { Exit::Ok } else { Exit::Findings }
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

fn replayed(args: &ReplayArgs) -> Result<Outcome, (Exit, String)> {
    let dir = match (&args.dir, &args.data_dir) {
        (Some(dir), _) => dir.clone(),
        (None, Some(data)) => data.join("audit"),
        (None, None) => {
            return Err((Exit::Usage, "which log? Write --data-dir DIR (that of the daemon) or --dir DIR".into()));
        }
    };
    if !dir.is_dir() {
        return Err((Exit::Usage, format!("there is no audit log in {}", dir.display())));
    }
    let policies = policies(&args.policy)?;
    let since_ms = Clock::wall().now_ms() - i64::try_from(args.since.as_millis()).unwrap_or(i64::MAX);
    let bar = progress();
    let mut outcome = Outcome::default();
    let read = recorded(&dir, since_ms, |one| {
        bar.inc(1);
        judge(one, policies.as_ref(), &mut outcome);
    });
    bar.finish_and_clear();
    read.map_err(|error| (Exit::Findings, format!("the audit log in {} cannot be read: {error}", dir.display())))?;
    Ok(outcome)
}

fn judge(one: Recorded, policies: Option<&BTreeMap<String, Policy>>, outcome: &mut Outcome) {
    outcome.decisions += 1;
    let inputs = match one.inputs {
        Ok(inputs) => inputs,
        Err(why) => return outcome.gone.push((one.id, why)),
    };
    if inputs.decide().answer != one.answer {
        outcome.drifted.push(one.id);
        return;
    }
    outcome.same += 1;
    if let Some(policies) = policies
        && let Some(flip) = inputs.flip(policies.get(&inputs.request.service))
    {
        outcome.flips.push((one.id, flip));
    }
}

/// The new policies by service; `None` where none are given. A policy may stand alone, without the service it names.
fn policies(paths: &[PathBuf]) -> Result<Option<BTreeMap<String, Policy>>, (Exit, String)> {
    if paths.is_empty() {
        return Ok(None);
    }
    let settings = wiring::settings(None).map_err(|text| (Exit::BadConfig, text))?;
    let mut loaded = spec::load_with(paths, &spec::Options { resolution: settings.resolution, ..Default::default() });
    loaded.problems.retain(|problem| problem.severity == Severity::Error && problem.code != Code::UnknownReference);
    if !loaded.problems.is_empty() {
        return Err((Exit::BadConfig, loaded.render(super::colour_on(&std::io::stderr()))));
    }
    Ok(Some(loaded.policies.into_iter().map(|policy| (policy.service.clone(), policy)).collect()))
}

fn progress() -> indicatif::ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("deciding again {spinner} {pos}")
        .expect("the template is a constant that indicatif reads");
    indicatif::ProgressBar::no_length().with_style(style)
}

fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    if !outcome.flips.is_empty() {
        let mut table = Table::new(["decision", "service", "asked by", "was", "would be", "no more", "new"]);
        for (id, flip) in &outcome.flips {
            let codes = |codes: &[crate::gate::ReasonCode]| {
                codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ")
            };
            table.push([
                id.clone(),
                flip.service.clone(),
                flip.sub.clone(),
                flip.before.as_str().into(),
                flip.after.as_str().into(),
                codes(&flip.gone),
                codes(&flip.new),
            ]);
        }
        out += &table.print();
    }
    out += &format!(
        "{} decided again: {} as they were, {}\n",
        counted(outcome.decisions, "decision"),
        outcome.same,
        counted(outcome.flips.len(), "flip")
    );
    for (id, why) in &outcome.gone {
        out += &format!("  {id} cannot be decided again: {why}\n");
    }
    for id in &outcome.drifted {
        out += &format!("  {id} is decided otherwise by this version, under its own policy\n");
    }
    out
}

fn json_text(outcome: &Outcome) -> String {
    let flips: Vec<_> = outcome.flips.iter().map(|(id, flip)| json!({"decision_id": id, "flip": flip})).collect();
    let gone: Vec<_> = outcome.gone.iter().map(|(id, why)| json!({"decision_id": id, "why": why})).collect();
    let report = json!({
        "decisions": outcome.decisions, "same": outcome.same, "flips": flips, "drifted": outcome.drifted, "gone": gone,
    });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::replay::{changed, decided_under, history};
    use crate::gate::tests::stage::SERVICE;

    /// What is printed under another policy is what is decided otherwise, worked out apart, and nothing else.
    #[test]
    fn exactly_the_flips_are_printed() {
        let policies = BTreeMap::from([(SERVICE.to_string(), changed())]);
        let (mut outcome, mut expected) = (Outcome::default(), Vec::new());
        for (n, case) in history().take(500).enumerate() {
            let (before, id) = (case.decide().answer, format!("dec_{n}"));
            let after = match policies.get(&case.request.service) {
                Some(policy) => decided_under(&case, policy).answer,
                None => crate::gate::Answer::Deny,
            };
            if before != after {
                let (service, sub) = (&case.request.service, &case.who.sub);
                expected.push(format!("{id} {service} {sub} {} {}", before.as_str(), after.as_str()));
            }
            let one = Recorded { seq: 0, id, time_ms: 0, answer: before, inputs: Ok(Box::new(case.inputs())) };
            judge(one, Some(&policies), &mut outcome);
        }
        let text = text(&outcome);
        let rows = text.lines().filter(|line| line.starts_with("dec_"));
        let printed: Vec<String> =
            rows.map(|row| row.split_whitespace().take(5).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(printed, expected);
        assert!(expected.len() > 20, "only {} flips", expected.len());
        assert!(text.contains(&format!("500 decisions decided again: 500 as they were, {} flips", expected.len())));
    }
}
