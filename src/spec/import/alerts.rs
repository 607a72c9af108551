//! Foreign alerts as burn clauses and severities.
//!
//! Other tools have alerts of any number of windows and words for how urgent they are; Slowburn has two speeds, fast
//! (somebody is paged) and slow (a ticket), with a severity for each.

use crate::engine::Speed;
use crate::engine::severity::{Condition, Sev};
use crate::spec::burn::shown;
use crate::spec::duration::TimeSpan;
use crate::spec::problem::Place;
use crate::spec::tree::Node;

/// The alerts of one SLO.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Policy {
    /// The file says nothing of alerts: the default policy.
    #[default]
    Default,
    /// No burn is an alert.
    Off,
    /// Clauses, each with its speed, and severities that differ from the default.
    Clauses { clauses: Vec<(Speed, String)>, severity: Vec<(Condition, Sev)> },
}

impl Policy {
    /// The entries of an SLO that say it.
    pub fn entries(&self, place: Place) -> Vec<(&'static str, Node)> {
        let (clauses, severity) = match self {
            Policy::Default => return Vec::new(),
            Policy::Off => return vec![("alert_policies", Node::text("off", place))],
            Policy::Clauses { clauses, severity } => (clauses, severity),
        };
        let mut policy = vec![("type", Node::text("burn_rate", place))];
        for (key, speed) in [("fast_burn", Speed::Fast), ("slow_burn", Speed::Slow)] {
            let own = clauses.iter().filter(|(own, _)| *own == speed);
            let own: Vec<Node> = own.map(|(_, clause)| Node::text(clause, place)).collect();
            if !own.is_empty() {
                policy.push((key, Node::list(own, place)));
            }
        }
        let mut entries = vec![("alert_policies", Node::list([Node::map(policy, place)], place))];
        if !severity.is_empty() {
            let row = |(condition, sev): &(Condition, Sev)| {
                let word = match condition {
                    Condition::FastBurn => "fast_burn",
                    Condition::SlowBurn => "slow_burn",
                    Condition::DataMissing => "data_missing",
                    Condition::SloBreach | Condition::BudgetBelow(_) => "slo_breach",
                };
                Node::map(
                    [("condition", Node::text(word, place)), ("severity", Node::text(&sev.to_string(), place))],
                    place,
                )
            };
            entries.push(("severity_mapping", Node::list(severity.iter().map(row), place)));
        }
        entries
    }
}

/// One foreign alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlertTier {
    pub long_s: i64,
    /// `None`: a twelfth of `long_s`.
    pub short_s: Option<i64>,
    /// `14.4x` or `2%`.
    pub threshold: String,
    pub factor: f64,
    pub speed: Speed,
    pub sev: Option<Sev>,
}

/// What becomes of the tiers of one SLO.
pub(crate) struct Resolved {
    pub policy: Policy,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// Clauses of tiers; those that could never fire are left out, and said. `resolution` is the length of a slice.
pub(crate) fn resolve(tiers: &[AlertTier], budget: f64, window_s: i64, resolution: TimeSpan) -> Resolved {
    let (mut clauses, mut warnings) = (Vec::new(), Vec::new());
    if !(budget > 0.0 && budget < 0.99) {
        // The objective is refused where it stands; of its alerts there is nothing to say.
        return Resolved { policy: Policy::Default, warnings };
    }
    for tier in tiers {
        let span = |seconds| TimeSpan::from_seconds(seconds).map(|span| span.to_string()).unwrap_or_default();
        let short_s = tier.short_s.unwrap_or(tier.long_s / 12).max(resolution.seconds());
        let (long, short) = (span(tier.long_s), span(short_s));
        let clause = match tier.short_s == Some(short_s) || short_s != tier.long_s / 12 {
            true => format!("{long}/{short} > {}", tier.threshold),
            false => format!("{long} > {}", tier.threshold),
        };
        if short_s >= tier.long_s {
            warnings.push(format!("the alert over {long} is left out: its short window would not be shorter"));
        } else if tier.long_s > window_s {
            warnings.push(format!("the alert {clause:?} is left out: it is longer than the window of the SLO"));
        } else if tier.factor * budget >= 1.0 {
            warnings.push(format!(
                "the alert {clause:?} is left out: {}x of a budget of {} % is more errors than there can be",
                shown(tier.factor),
                shown(budget * 100.0)
            ));
        } else {
            clauses.push((tier.speed, clause));
        }
    }
    if clauses.is_empty() {
        return Resolved { policy: Policy::Off, warnings };
    }
    let mut severity = Vec::new();
    for (speed, condition, usual) in [(Speed::Fast, Condition::FastBurn, 2), (Speed::Slow, Condition::SlowBurn, 3)] {
        let said: Vec<Sev> = tiers.iter().filter(|tier| tier.speed == speed).filter_map(|tier| tier.sev).collect();
        let Some(worst) = said.iter().min() else { continue };
        if said.iter().any(|sev| sev != worst) {
            warnings.push(format!("its alerts differ in severity; all of one speed get the worst, {worst}"));
        }
        if worst.number() != usual {
            severity.push((condition, *worst));
        }
    }
    Resolved { policy: Policy::Clauses { clauses, severity }, warnings }
}

/// The label `severity` of alerts whose file says `word`: routes match it as it is.
pub(crate) fn own_word(word: &str) -> Option<(String, String)> {
    (!word.contains("{{")).then(|| ("severity".to_string(), word.to_string()))
}

/// What a word for a severity stands for; `None` where it is not known.
pub(crate) fn urgency(word: &str) -> Option<(Speed, Sev)> {
    let sev = |number| Sev::new(number).expect("1 to 5");
    let folded: String = word.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    Some(match folded.as_str() {
        "sev1" | "p1" | "s1" | "1" | "emergency" | "fatal" | "disaster" => (Speed::Fast, sev(1)),
        "critical" | "page" | "high" | "urgent" | "sev2" | "p2" | "s2" | "2" | "error" => (Speed::Fast, sev(2)),
        "warning" | "warn" | "ticket" | "medium" | "sev3" | "p3" | "s3" | "3" => (Speed::Slow, sev(3)),
        "low" | "minor" | "sev4" | "p4" | "s4" | "4" => (Speed::Slow, sev(4)),
        "info" | "information" | "none" | "notice" | "sev5" | "p5" | "s5" | "5" => (Speed::Slow, sev(5)),
        _ => return None,
    })
}
