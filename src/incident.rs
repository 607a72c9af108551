//! PURE. Incidents: what burned together, since when, what changed before it, what helped.
//!
//! Burns of all SLOs and series of a service that overlap are one incident. It is a value that each evaluation updates
//! from alerts, onsets and changes; people add what only they know: cause, mitigation, whether it helped, a ticket.
//!
//! Deliberately absent: decisions, permits, approvals and verdicts. They stand in the audit log, and whoever shows an
//! incident lays them beside it; and causes: a change before an onset is a suspect, never more.

pub mod book;
pub mod change;
pub mod similar;
pub mod story;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::severity::Sev;
use crate::engine::{AlertKind, Labels, Onset, Seconds};

pub use book::Book;
pub use change::Suspect;

/// Something that went wrong with a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, from the service and the minute of its first alert: the same on every replica.
    pub id: String,
    /// The service.
    pub service: String,
    /// Owning team.
    pub owner: String,
    /// The worst severity it had.
    pub sev: Sev,
    /// When the errors began to rise; where that is not known, its first alert.
    pub started_at: Seconds,
    /// Its first alert.
    pub detected_at: Seconds,
    /// When nothing burned any more; `None` while something does.
    pub ended_at: Option<Seconds>,
    /// Owner, severity, and the series labels that all of its burns share.
    pub tags: BTreeMap<String, String>,
    /// What burned, in the order of SLO and series.
    pub burns: Vec<Burn>,
    /// What changed before it, the most suspect first; empty where no change was found.
    pub changes: Vec<Suspect>,
    /// What people say of it, oldest first.
    pub notes: Vec<Note>,
}

/// One series of one SLO that burned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    /// The SLO.
    pub slo_id: String,
    /// Its series.
    pub series: Labels,
    /// The strongest alert.
    pub kind: AlertKind,
    /// Its first alert.
    pub alert_at: Seconds,
    /// When its last one ended; `None` while one fires.
    pub resolved_at: Option<Seconds>,
    /// When its errors rose, and by how much, as it was known last.
    pub onset: Option<Onset>,
    /// `onset` in words.
    pub said: Option<String>,
    /// The highest burn rate over its shortest window.
    pub worst_burn: Option<f64>,
}

/// What a person says of an incident. Each adds to those before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Seconds,
    /// Who.
    pub by: String,
    /// What was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigation: Option<String>,
    /// Whether that helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helped: Option<bool>,
    /// What it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Where it is talked about: a number or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

impl Incident {
    /// The burn whose errors rose first, or alerted first where no onset is known.
    pub fn first(&self) -> Option<&Burn> {
        self.burns.iter().min_by_key(|burn| (burn.onset.map_or(burn.alert_at, |onset| onset.at), burn.alert_at))
    }

    /// The last mitigation that somebody named, and whether it helped.
    pub fn mitigation(&self) -> Option<(&str, Option<bool>)> {
        self.notes.iter().rev().find_map(|note| Some((note.mitigation.as_deref()?, note.helped)))
    }
}

#[cfg(test)]
mod tests;
