//! What was like it before: a small distance between incidents, which says nothing where nothing is near.
//!
//! | part | weight | 0 where | 1 where |
//! |---|---|---|---|
//! | service | 0.30 | the same | another |
//! | SLOs, by their name within the service | 0.20 | the same burned | none in common |
//! | what changed | 0.20 | the same resource, or nothing in both | another; half for another resource of the same kind |
//! | height of the burn | 0.15 | equal | ten times apart |
//! | series labels | 0.10 | the same | none in common |
//! | recency | 0.05 | now | long ago: half after 180 days |
//!
//! The weights are a choice, not a fit. Over [`FAR`] nothing is named, so that "no similar incident" is an answer.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Incident;

/// At this distance and beyond, an incident is not similar.
pub const FAR: f64 = 0.4;
/// Similar ones that are named at most.
const NAMED_MAX: usize = 3;
const HALF_LIFE_S: f64 = 180.0 * 86_400.0;

/// An incident that was like another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Similar<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its severity.
    pub sev: crate::engine::severity::Sev,
    /// When it began.
    pub started_at: crate::engine::Seconds,
    /// How far it is from the other one, 0 to 1.
    pub distance: f64,
    /// What they have in common, in words.
    pub shares: Vec<String>,
    /// What was done about it, as people said last.
    pub mitigation: Option<&'a str>,
    /// Whether that helped.
    pub helped: Option<bool>,
    /// What it came from.
    pub cause: Option<&'a str>,
}

/// Incidents of `past` that were like `of`, the nearest first. Only what began before it is past.
pub fn similar<'a>(of: &Incident, past: impl Iterator<Item = &'a Incident>) -> Vec<Similar<'a>> {
    let earlier = past.filter(|other| other.id != of.id && other.started_at < of.started_at);
    let mut near: Vec<Similar<'a>> = earlier
        .filter_map(|other| {
            let (distance, shares) = distance(of, other);
            let (mitigation, helped) = other.mitigation().map_or((None, None), |(text, helped)| (Some(text), helped));
            let cause = other.notes.iter().rev().find_map(|note| note.cause.as_deref());
            let (id, sev, started_at) = (other.id.as_str(), other.sev, other.started_at);
            (distance < FAR).then_some(Similar { id, sev, started_at, distance, shares, mitigation, helped, cause })
        })
        .collect();
    near.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| b.started_at.cmp(&a.started_at)));
    near.truncate(NAMED_MAX);
    near
}

/// How far two incidents are from each other, 0 to 1, and what they share.
pub fn distance(a: &Incident, b: &Incident) -> (f64, Vec<String>) {
    let mut shares = Vec::new();
    let mut sum = 0.0;
    let mut part = |weight: f64, apart: f64, what: Option<String>| {
        sum += weight * apart;
        shares.extend(what.filter(|_| apart < 0.5));
    };
    part(0.30, f64::from(u8::from(a.service != b.service)), Some(format!("service {}", a.service)));
    let slos = |of: &Incident| -> BTreeSet<String> {
        let name = |id: &str| id.strip_prefix(&of.service).unwrap_or(id).trim_start_matches('-').to_owned();
        of.burns.iter().map(|burn| name(&burn.slo_id)).collect()
    };
    let (of_a, of_b) = (slos(a), slos(b));
    let both: Vec<&str> = of_a.intersection(&of_b).map(String::as_str).collect();
    part(0.20, apart(&of_a, &of_b), Some(format!("SLO {}", both.join(", "))));
    let (changed, what) = changed(a, b);
    part(0.20, changed, what);
    let height = |of: &Incident| of.burns.iter().filter_map(|burn| burn.worst_burn).fold(0.0, f64::max).max(0.1);
    part(0.15, (height(a) / height(b)).log10().abs().min(1.0), None);
    let labels = |of: &Incident| -> BTreeSet<String> {
        let pairs = of.burns.iter().flat_map(|burn| burn.series.iter());
        pairs.map(|(name, value)| format!("{name}={value}")).collect()
    };
    let (of_a, of_b) = (labels(a), labels(b));
    let both: Vec<&str> = of_a.intersection(&of_b).map(String::as_str).collect();
    part(0.10, apart(&of_a, &of_b), (!both.is_empty()).then(|| both.join(", ")));
    let years_apart = (a.started_at - b.started_at).abs() as f64 / HALF_LIFE_S;
    part(0.05, 1.0 - 2_f64.powf(-years_apart), None);
    (sum, shares)
}

/// Jaccard's distance.
fn apart(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    match a.union(b).count() {
        0 => 0.0,
        all => 1.0 - a.intersection(b).count() as f64 / all as f64,
    }
}

fn changed(a: &Incident, b: &Incident) -> (f64, Option<String>) {
    let resource = |of: &Incident| of.changes.first().map(|suspect| suspect.change.resource.clone());
    let kind = |resource: &str| resource.split('/').next().unwrap_or_default().to_owned();
    match (resource(a), resource(b)) {
        (None, None) => (0.0, None),
        (Some(a), Some(b)) if a == b => (0.0, Some(format!("a change of {a} before it"))),
        (Some(a), Some(b)) if kind(&a) == kind(&b) => (0.5, None),
        _ => (1.0, None),
    }
}
