//! Deciding history again: the inputs of each recorded decision, put together from its record and the bodies beside the
//! log.

use std::path::Path;

use serde_json::Value;

use crate::audit::record::{Entry, Kind};
use crate::audit::{self, Hash};
use crate::gate::answer::Answer;
use crate::gate::replay::Inputs;

/// A decision of the log, with what it rested on.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its record.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// When, milliseconds.
    pub time_ms: i64,
    /// What was answered.
    pub answer: Answer,
    /// What it rested on; `Err` says what of it is gone.
    pub inputs: Result<Box<Inputs>, String>,
}

/// Gives every decision of the log in `dir` since a moment to `take`, oldest first.
///
/// # Errors
/// The log cannot be read.
pub fn recorded(dir: &Path, since_ms: i64, mut take: impl FnMut(Recorded)) -> std::io::Result<()> {
    audit::entries(dir, |entry| {
        let time_ms = entry.time_ms().unwrap_or_default();
        if entry.text("kind") != Some(Kind::Decision.as_str()) || time_ms < since_ms {
            return;
        }
        let Some((id, answer)) = entry.text("decision.id").zip(answer_of(entry)) else { return };
        let inputs = inputs_of(dir, entry).map(Box::new);
        take(Recorded { seq: entry.seq, id: id.to_owned(), time_ms, answer, inputs });
    })
}

fn answer_of(entry: &Entry) -> Option<Answer> {
    [Answer::Allow, Answer::NeedsApproval, Answer::Deny]
        .into_iter()
        .find(|answer| entry.text("decision.result") == Some(answer.as_str()))
}

fn inputs_of(dir: &Path, entry: &Entry) -> Result<Inputs, String> {
    let kept = entry.members.get("inputs").and_then(|inputs| inputs.get("replay"));
    let kept = kept.and_then(Value::as_object).ok_or("it was recorded without its inputs")?;
    let mut inputs = serde_json::Map::new();
    for member in ["request", "principal", "now"] {
        inputs.insert(member.into(), kept.get(member).cloned().unwrap_or(Value::Null));
    }
    for (member, digest) in [("view", "view"), ("policy", "policy_body")] {
        inputs.insert(member.into(), body(dir, kept.get(digest))?);
    }
    if let (Some(observed), Some(Value::Object(view))) =
        (kept.get("observed").filter(|observed| !observed.is_null()), inputs.get_mut("view"))
    {
        view.insert("observed".into(), observed.clone());
    }
    let gate = match kept.get("gate") {
        Some(gate) => gate.clone(),
        None => body(dir, kept.get("gate_body"))?,
    };
    inputs.insert("gate".into(), gate);
    serde_json::from_value(Value::Object(inputs)).map_err(|error| format!("its inputs cannot be read: {error}"))
}

fn body(dir: &Path, digest: Option<&Value>) -> Result<Value, String> {
    let digest = digest.and_then(Value::as_str).ok_or("a digest of its inputs is missing")?;
    let hash: Hash = digest.parse().map_err(|error: String| error)?;
    match audit::bodies::body(dir, &hash) {
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|error| format!("the body {digest} is no JSON: {error}"))
        }
        Ok(None) => Err(format!("the body {digest} is not kept any more")),
        Err(error) => Err(format!("the body {digest} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::audit::key::PublicKey;
    use crate::audit::verify::{Evidence, verify};

    /// Logs as they were written by programs that landed: `tests/fixtures/audit-YEAR-MONTH`.
    fn kept() -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = std::fs::read_dir(folder).expect("the folder of fixtures");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.is_dir() && path.to_string_lossy().contains("/audit-")).collect()
    }

    #[test]
    fn audit_logs_of_every_format_that_landed_are_read() {
        let logs = kept();
        assert!(!logs.is_empty());
        for dir in logs {
            let shown = dir.display();
            let key = PublicKey::load(&dir.join("key.pub")).expect("its key");
            let report = verify(&dir, &key, &Evidence::default(), &mut |_, _| {}).expect("readable");
            assert!(report.faults.is_empty() && report.signed > 10, "{shown}: {report:?}");
            let mut decisions = Vec::new();
            recorded(&dir, 0, |one| decisions.push(one)).expect("readable");
            assert!(decisions.len() >= 3, "{shown}: {} decisions", decisions.len());
            for one in decisions {
                // What a decision rested on can be put together, and decided again: a policy that is newer than the
                // program that wrote the log may say otherwise, but none is unreadable.
                let inputs = one.inputs.unwrap_or_else(|why| panic!("{shown}: {}: {why}", one.id));
                assert_eq!(inputs.decide().answer, one.answer, "{shown}: {}", one.id);
            }
        }
    }
}
