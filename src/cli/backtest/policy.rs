//! What a range is lived through with: the rules as they are written, those of another folder, the clauses of a peer, or the
//! alerts of the rules that Sloth or Pyrra would have had of these files.
//!
//! Peers are their clauses, factors and `for:`, on the counts of our ledger: without guard, and a page lasts as long as its
//! clauses fire. Sloth and Pyrra are taken with their 28 days, as they come.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::engine::{BurnClause, Slo, Speed};
use crate::gate;
use crate::inspect::compare::replay::Fired;

/// One policy.
pub struct Policy {
    pub name: String,
    /// In the order of the model.
    pub slos: Vec<Arc<Slo>>,
    /// How long each clause must hold before it fires, seconds; `None` of our own, whose engine decides.
    pub held_s: Option<Vec<i64>>,
    /// What another tool's own rules would have sent, by the place of the SLO: nothing here is judged by us.
    pub theirs: Option<Vec<(usize, Fired)>>,
    /// Policies of the gate in its files, by service; what was in force is for all others.
    pub gate: BTreeMap<String, gate::Policy>,
}

/// What files of rules hold.
pub struct Rules {
    pub slos: Vec<Arc<Slo>>,
    pub gate: BTreeMap<String, gate::Policy>,
}

/// What the alerts of another tool's own rules are called.
pub const THEIRS: &str = "theirs";

/// A clause of a peer: long and short window, factor, `for:` (seconds).
type Row = (i64, i64, f64, i64);

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// The names of peers, with their clauses; the first two page.
const PEERS: [(&str, [Row; 4]); 3] = [
    (
        "workbook",
        [(HOUR, 300, 14.4, 0), (6 * HOUR, 1800, 6.0, 0), (DAY, 2 * HOUR, 3.0, 0), (3 * DAY, 6 * HOUR, 1.0, 0)],
    ),
    (
        "sloth",
        [(HOUR, 300, 13.44, 0), (6 * HOUR, 1800, 5.6, 0), (DAY, 2 * HOUR, 2.8, 0), (3 * DAY, 6 * HOUR, 28.0 / 30.0, 0)],
    ),
    (
        "pyrra",
        [
            (HOUR, 300, 14.0, 120),
            (6 * HOUR, 1800, 7.0, 900),
            (DAY, 2 * HOUR, 2.0, HOUR),
            (4 * DAY, 6 * HOUR, 1.0, 3 * HOUR),
        ],
    ),
];

impl Policy {
    /// The rules as they are written.
    pub fn own(name: &str, slos: &[Arc<Slo>], gate: BTreeMap<String, gate::Policy>) -> Self {
        Policy { name: name.to_owned(), slos: slos.to_vec(), held_s: None, theirs: None, gate }
    }

    /// The peer of this name, on these SLOs.
    pub fn peer(name: &str, slos: &[Arc<Slo>]) -> Option<Self> {
        let (_, rows) = PEERS.iter().find(|(peer, _)| *peer == name)?;
        let clause = |(nth, &(long_s, short_s, factor, _)): (usize, &Row)| BurnClause {
            speed: if nth < 2 { Speed::Fast } else { Speed::Slow },
            long_s,
            short_s,
            factor,
            text: format!("{}h > {factor:.2}x", long_s / HOUR).into(),
        };
        let burn: Vec<BurnClause> = rows.iter().enumerate().map(clause).collect();
        let with = |slo: &Arc<Slo>| {
            Arc::new(Slo { burn: burn.clone(), confidence: None, weigh: Default::default(), ..Slo::clone(slo) })
        };
        let held_s = rows.iter().map(|row| row.3).collect();
        let slos = slos.iter().map(with).collect();
        Some(Policy { name: name.to_owned(), slos, held_s: Some(held_s), theirs: None, gate: BTreeMap::new() })
    }

    /// The SLOs of other files in place of these: what is counted must be the same.
    pub fn of_files(path: &Path, slos: &[Arc<Slo>], found: Rules) -> Result<Self, String> {
        let name = path.display().to_string();
        let with = |slo: &Arc<Slo>| {
            let other = found.slos.iter().find(|other| other.id == slo.id);
            // A file of a single SLO may stand for a series of events that has no other name.
            let other = other.or_else(|| found.slos.first().filter(|_| slos.len() == 1 && found.slos.len() == 1));
            let other = other.ok_or_else(|| format!("{name} has no SLO {}", slo.id))?;
            if (other.unit, other.resolution_s, &other.by) != (slo.unit, slo.resolution_s, &slo.by) {
                return Err(format!("{} counts something else in {name}: a policy says when, not what", slo.id));
            }
            Ok(Arc::new(Slo { id: slo.id.clone(), ..Slo::clone(other) }))
        };
        let slos = slos.iter().map(with).collect::<Result<Vec<_>, String>>()?;
        Ok(Policy { name, slos, held_s: None, theirs: None, gate: found.gate })
    }

    /// What the other tool would have sent of these SLOs.
    pub fn theirs(slos: &[Arc<Slo>], fired: Vec<(usize, Fired)>) -> Self {
        let name = THEIRS.to_owned();
        Policy { name, slos: slos.to_vec(), held_s: None, theirs: Some(fired), gate: BTreeMap::new() }
    }

    /// Whether it is somebody else's.
    pub fn is_peer(&self) -> bool {
        self.held_s.is_some() || self.theirs.is_some()
    }

    /// The longest window of any of its SLOs, seconds.
    pub fn longest_s(&self) -> i64 {
        self.slos.iter().map(|slo| slo.longest_s()).max().unwrap_or(0)
    }
}
