//! What the demo's daemon remembers of the winter: an incident of checkout in January, and what people said of it then.
//!
//! Deliberately absent: its slices. They are older than the longest window, and no daemon would have them any more.

use std::collections::BTreeMap;

use crate::engine::severity::Sev;
use crate::engine::{AlertKind, Labels, Onset, Seconds};
use crate::gate::observed::Change;
use crate::incident::change::{Relation, Suspect};
use crate::incident::{Burn, Incident, Note};

/// Who changes things.
pub const PIPELINE: &str = "release-pipeline";
/// Who is on call.
pub const PERSON: &str = "@ada";
/// The configuration of checkout's rate limiter.
pub const CONFIG: &str = "configmap/rate-limiter";
/// What helped in January.
pub const MITIGATION: &str = "revert config and flush cache";

/// A SEV-1 of 14 January 2025: the errors rose at 02:55 UTC, a minute after another configuration of the rate limiter.
pub fn incident() -> Incident {
    let at = |text: &str| -> Seconds { text.parse::<jiff::Timestamp>().expect("a constant moment").as_second() };
    let (changed, rose, fired, over) = (
        at("2025-01-14T02:54:00Z"),
        at("2025-01-14T02:55:00Z"),
        at("2025-01-14T03:12:00Z"),
        at("2025-01-14T03:41:00Z"),
    );
    let onset = Onset {
        at: rose,
        earliest: rose,
        latest: rose + 30,
        total_before: 1_200_000,
        bad_before: 840,
        total: 61_200,
        bad: 367,
        evidence: 310.0,
    };
    let change = Change {
        service: "checkout".to_owned(),
        resource: CONFIG.to_owned(),
        at: changed,
        from_version: Some("c6".to_owned()),
        version: Some("c7".to_owned()),
        generation: None,
        replicas: None,
        by: Some(PIPELINE.to_owned()),
    };
    let owner = "team-checkout";
    Incident {
        id: "checkout-20250114T0312Z".to_owned(),
        service: "checkout".to_owned(),
        owner: owner.to_owned(),
        sev: Sev::new(1).expect("1 to 5"),
        started_at: rose,
        detected_at: fired,
        ended_at: Some(over),
        tags: BTreeMap::from([("owner", owner), ("severity", "SEV-1")].map(|(a, b)| (a.to_owned(), b.to_owned()))),
        burns: vec![Burn {
            slo_id: "checkout-availability".to_owned(),
            series: Labels::new(),
            kind: AlertKind::FastBurn,
            alert_at: fired,
            resolved_at: Some(over),
            onset: Some(onset),
            said: Some(onset.spoken(crate::engine::Unit::Events)),
            worst_burn: Some(6.1),
        }],
        changes: vec![Suspect { change, lead_s: rose - changed, relation: Relation::SameService, score: 0.93 }],
        notes: vec![Note {
            at: over + 3600,
            by: PERSON.to_owned(),
            mitigation: Some(MITIGATION.to_owned()),
            helped: Some(true),
            cause: Some("the new config allowed fewer requests than there are".to_owned()),
            ticket: Some("INC-2025-007".to_owned()),
        }],
    }
}
