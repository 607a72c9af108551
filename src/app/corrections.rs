//! What a reload changed of exclusions and budget resets: the trace that a decision about the past leaves in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use crate::engine::Slo;

/// A decision by what it is called: who made it, why, and whether it was taken back.
type NamedDecisions = BTreeMap<String, String>;

/// Logs every exclusion and every reset that came, went or is another one now.
pub fn log(before: &[Arc<Slo>], after: &[Arc<Slo>]) {
    for change in changes(&decisions(before), &decisions(after)) {
        info!("{change}; numbers of the past follow at the next evaluation");
    }
}

fn decisions(slos: &[Arc<Slo>]) -> NamedDecisions {
    let mut decisions = NamedDecisions::new();
    for slo in slos {
        for one in &slo.terms.exclusions {
            let text = serde_json::to_string(&**one).expect("an exclusion has text keys only");
            decisions.insert(format!("exclusion {:?}", one.name), text);
        }
        for one in &slo.terms.resets {
            let text = serde_json::to_string(&**one).expect("a reset has text keys only");
            decisions.insert(format!("budget reset of {} at {}", slo.id, one.at), text);
        }
    }
    decisions
}

fn changes(before: &NamedDecisions, after: &NamedDecisions) -> Vec<String> {
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let gone = gone.map(|(name, was)| format!("{name} is gone from the rules: it was {was}"));
    let come = after.iter().filter_map(|(name, is)| match before.get(name) {
        None => Some(format!("{name} came: {is}")),
        Some(was) if was != is => Some(format!("{name} is another one: {is}, it was {was}")),
        Some(_) => None,
    });
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Exclusion;
    use crate::engine::burn::tests::slo;
    use crate::engine::exclusion::Span;

    #[test]
    fn every_change_of_a_decision_is_said_with_its_author_and_reason() {
        let with = |names: &[(&str, i64)]| {
            let mut slo = slo(99.9);
            let exclusion = |&(name, to): &(&str, i64)| {
                Arc::new(Exclusion {
                    name: name.to_owned(),
                    span: Span::Once { from: 0, to },
                    when: BTreeMap::new(),
                    author: "alice".into(),
                    reason: "announced".into(),
                    withdrawn: None,
                })
            };
            slo.terms.exclusions = names.iter().map(exclusion).collect();
            decisions(&[Arc::new(slo)])
        };
        let said = changes(&with(&[("a", 1), ("b", 1), ("c", 1)]), &with(&[("b", 2), ("c", 1), ("d", 1)]));
        assert_eq!(said.len(), 3, "{said:?}");
        for (line, start) in
            said.iter().zip(["exclusion \"a\" is gone", "exclusion \"b\" is another", "exclusion \"d\" came"])
        {
            assert!(line.starts_with(start) && line.contains("alice") && line.contains("announced"), "{line}");
        }
    }
}
