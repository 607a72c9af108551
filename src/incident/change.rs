//! Which change came before it: changes that were seen or posted, ranked by how near they lie to the onset and whose they
//! are. A suspect is nothing more than that; decisions never read it.
//!
//! `score = relation × 2^(-lead / 10 min)`: 1 for the service itself, 0.7 for one that it depends on, each halved every ten
//! minutes between change and onset; a change of replicas alone counts half. Under [`SCORE_MIN`] nothing is named: a change
//! an hour before is no suspect, and of services that have nothing to do with it none is.

use serde::{Deserialize, Serialize};

use crate::engine::Seconds;
use crate::gate::observed::Change;

/// What scores less is not named: a change of the service itself more than 33 minutes before.
pub const SCORE_MIN: f64 = 0.1;
/// Suspects of one incident at most.
const SUSPECTS_MAX: usize = 5;
/// The score of a change halves each so many seconds that it lies before the onset.
const HALF_S: f64 = 600.0;
/// How much later than the onset a change may seem to be, seconds: slices are half a minute, and clocks differ.
const LATE_S: i64 = 60;

/// Whose change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The service that burns.
    SameService,
    /// A service that it depends on, by its policy.
    Dependency,
}

/// A change before an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// It.
    pub change: Change,
    /// How long before the onset, seconds; negative where it seems later by the edge of a slice.
    pub lead_s: i64,
    /// Whose.
    pub relation: Relation,
    /// How suspect, 0 to 1.
    pub score: f64,
}

/// Changes that may have to do with errors of `service` that began at `onset` (at the latest at `latest`), the most suspect
/// first.
pub fn rank<'a>(
    service: &str,
    dependencies: &[String],
    changes: impl Iterator<Item = &'a Change>,
    onset: Seconds,
    latest: Seconds,
) -> Vec<Suspect> {
    let suspect = |change: &Change| {
        let relation = match &change.service {
            own if own == service => Relation::SameService,
            other if dependencies.contains(other) => Relation::Dependency,
            _ => return None,
        };
        if change.at > latest.max(onset) + LATE_S {
            return None;
        }
        let lead_s = onset - change.at;
        let related = match relation {
            Relation::SameService => 1.0,
            Relation::Dependency => 0.7,
        };
        let only_scaled = change.version.is_none() && change.replicas.is_some();
        let score = related * 2_f64.powf(-(lead_s.max(0) as f64) / HALF_S) * if only_scaled { 0.5 } else { 1.0 };
        (score >= SCORE_MIN).then(|| Suspect { change: change.clone(), lead_s, relation, score })
    };
    let mut suspects: Vec<Suspect> = changes.filter_map(suspect).collect();
    suspects.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.change.resource.cmp(&b.change.resource)));
    suspects.dedup_by(|a, b| a.change == b.change);
    suspects.truncate(SUSPECTS_MAX);
    suspects
}
