//! After the act: did it help? Judged from the ledger, never from what the caller reports.

use serde::{Deserialize, Serialize};

use super::action::{ActionClass, ActionKind};
use super::observed::Change;
use super::permit::{Baseline, BaselineSlo, Permit, PermitState};
use super::view::{SloView, View};
use crate::engine::{DataState, Seconds};

/// What became of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What burned burns less than half as much, or within its budget.
    Improved,
    /// Nothing to speak of changed.
    NoEffect,
    /// It burns more than before.
    Worse,
    /// The data does not say.
    Inconclusive,
    /// What was promised is not what runs: the act was undone, or never done.
    NotApplied,
}

impl Outcome {
    /// As in answers, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Improved => "improved",
            Outcome::NoEffect => "no_effect",
            Outcome::Worse => "worse",
            Outcome::Inconclusive => "inconclusive",
            Outcome::NotApplied => "not_applied",
        }
    }
}

/// The verdict on one act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Of which permit.
    pub permit: String,
    /// The service.
    pub service: String,
    /// The action.
    pub action: ActionKind,
    /// Its class.
    pub class: ActionClass,
    /// Who acted.
    pub sub: String,
    /// The actor it is recorded under.
    pub actor: String,
    /// When it was judged.
    pub at: Seconds,
    /// The verdict.
    pub outcome: Outcome,
    /// The SLO that decided it.
    pub slo: Option<String>,
    /// Its burn rate before, shortest window.
    pub before: Option<f64>,
    /// And after.
    pub after: Option<f64>,
    /// Median burn rate of untouched services before.
    pub peers_before: Option<f64>,
    /// And after.
    pub peers_after: Option<f64>,
    /// A sentence for people.
    pub message: String,
    /// Whether somebody should be told at once: it became worse.
    pub alert: bool,
    /// The caller said that it was not done, and it was.
    #[serde(default)]
    pub contradicted: bool,
}

/// What one actor's acts came to, for one action on one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRecord {
    /// Decisions: allowed.
    pub allowed: u64,
    /// Decisions: a person was asked.
    pub asked: u64,
    /// Decisions: denied.
    pub denied: u64,
    /// Permits redeemed.
    pub acted: u64,
    /// Verdicts.
    pub improved: u64,
    /// Verdicts.
    pub no_effect: u64,
    /// Verdicts.
    pub worse: u64,
    /// Verdicts.
    pub inconclusive: u64,
    /// Verdicts.
    pub not_applied: u64,
    /// Last time it asked.
    pub last_at: Seconds,
}

/// A burn under this is within its budget.
const WITHIN: f64 = 1.0;
/// A burn that changed by less than this factor did not change.
const CHANGED: f64 = 2.0;
/// What was redeemed and not reported is judged so long after it was redeemed, beyond the time to settle. Seconds.
const UNREPORTED_S: i64 = 120;
/// Data that does not come back makes a verdict inconclusive after this, beyond the time to settle. Seconds.
const PATIENCE_S: i64 = 900;

impl Baseline {
    /// How things stand in this view.
    pub fn of(view: &View, resource: &str) -> Self {
        let slo = |slo: &SloView| BaselineSlo {
            id: slo.id.clone(),
            burn: slo.shortest().and_then(|window| window.burn),
            burning: slo.burns(),
        };
        Baseline {
            slos: view.slos.iter().map(slo).collect(),
            peers: view.peers,
            generation: view.observed.workload(resource).and_then(|workload| workload.generation),
            version: view.observed.workload(resource).and_then(|workload| workload.version.clone()),
            replicas: view.observed.workload(resource).and_then(|workload| workload.replicas),
        }
    }
}

impl Verdict {
    /// A verdict that no burn rate decided.
    pub(super) fn without(permit: &Permit, outcome: Outcome, message: impl Into<String>, now: Seconds) -> Self {
        Verdict {
            permit: permit.id.clone(),
            service: permit.request.service.clone(),
            action: permit.request.action,
            class: permit.class,
            sub: permit.sub.clone(),
            actor: permit.actor.clone(),
            at: now,
            outcome,
            slo: None,
            before: None,
            after: None,
            peers_before: None,
            peers_after: None,
            message: message.into(),
            alert: outcome == Outcome::Worse,
            contradicted: false,
        }
    }
}

/// The verdict on a redeemed permit, once its act has settled; `None` before. `changes` are those of its resource since.
pub fn judge<'c>(
    permit: &Permit,
    view: &View,
    changes: impl Iterator<Item = &'c Change>,
    now: Seconds,
) -> Option<Verdict> {
    let PermitState::Redeemed { at, baseline, reported_at, denied } = &permit.state else { return None };
    let acted = match (reported_at, denied) {
        (Some(reported), _) => *reported,
        (None, true) => *at,
        // Nobody said that it is done. A new generation says when something was; else time does.
        (None, false) => at + UNREPORTED_S,
    };
    let settled = acted + permit.settle_s;
    if now < settled || view.at < settled {
        return None;
    }
    let mut changes = changes.peekable();
    // Somebody else told of a change since: what runs may be theirs.
    let others = changes.peek().is_some_and(|change| change.by.as_ref().is_some_and(|by| *by != permit.sub));
    let seen = if *denied { done_after_all(permit, baseline, view, changes) } else { None };
    if seen.is_none()
        && let Some(what) = not_applied(permit, baseline, view, acted)
    {
        // A permit for one act covers no other one: what was done in its place and made things worse is not called nothing.
        let another = !denied && !others && runs_another(permit, baseline, view);
        let mut came = baseline.slos.iter().filter_map(|before| compare(permit, before, baseline, view, now));
        let harm = came.find(|verdict| another && verdict.outcome == Outcome::Worse);
        return Some(match harm {
            Some(verdict) => {
                let message = format!("{}; {what}, nor what ran before", verdict.message);
                Verdict { message, contradicted: true, ..verdict }
            }
            None => Verdict::without(permit, Outcome::NotApplied, what, now),
        });
    }
    let mut rows: Vec<Verdict> =
        baseline.slos.iter().filter_map(|before| compare(permit, before, baseline, view, now)).collect();
    // What burned before says whether it helped; any of them whether it harmed.
    rows.sort_by_key(|verdict| weight(verdict.outcome));
    let verdict = match rows.pop() {
        Some(verdict) => verdict,
        None if now < settled + PATIENCE_S => return None,
        None => Verdict::without(permit, Outcome::Inconclusive, "no data says what became of it", now),
    };
    match (denied, seen) {
        (false, _) => Some(verdict),
        (true, Some(seen)) => {
            let message = format!("{}; the caller said that it was not done, and {seen}", verdict.message);
            Some(Verdict { message, contradicted: true, ..verdict })
        }
        // Nothing shows whether it was done. That it became worse is not talked away; the rest is taken at its word.
        (true, None) if verdict.outcome == Outcome::Worse => Some(verdict),
        (true, None) => {
            let what = "the caller says that it was not done, and nothing shows that it was";
            Some(Verdict::without(permit, Outcome::NotApplied, what, now))
        }
    }
}

/// What shows that an act was done of which the caller says that it was not.
fn done_after_all<'c>(
    permit: &Permit,
    baseline: &Baseline,
    view: &View,
    mut changes: impl Iterator<Item = &'c Change>,
) -> Option<String> {
    let resource = &permit.request.resource;
    if let Some(change) = changes.next() {
        let to = change.version.as_deref().map_or(String::new(), |version| format!(" to {version}"));
        return Some(format!("{resource} was seen to change{to}"));
    }
    let runs = view.observed.workload(resource)?;
    let moved = |was: Option<String>, is: Option<String>| {
        was.zip(is).filter(|(was, is)| was != is).map(|(was, is)| format!("{was} became {is}"))
    };
    let text = |n: u64| format!("generation {n}");
    let count = |n: u32| format!("{n} replicas");
    moved(baseline.generation.map(text), runs.generation.map(text))
        .or_else(|| moved(baseline.version.clone(), runs.version.clone()))
        .or_else(|| moved(baseline.replicas.map(count), runs.replicas.map(count)))
        .map(|what| format!("of {resource} {what}"))
}

/// Harm counts more than help, help more than nothing, and what is known more than what is not.
fn weight(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Worse => 4,
        Outcome::Improved => 3,
        Outcome::NoEffect => 2,
        Outcome::NotApplied => 1,
        Outcome::Inconclusive => 0,
    }
}

/// What runs is not what was promised.
fn not_applied(permit: &Permit, baseline: &Baseline, view: &View, acted: Seconds) -> Option<String> {
    let request = &permit.request;
    let workload = view.observed.workload(&request.resource).filter(|workload| workload.seen_at >= acted)?;
    match request.action {
        ActionKind::Scale => {
            let (has, wants) = (workload.replicas?, request.replicas?);
            (has != wants).then(|| format!("{} has {has} replicas, not {wants}", request.resource))
        }
        ActionKind::Restart | ActionKind::Config => {
            let (was, is) = (baseline.generation?, workload.generation?);
            (was == is).then(|| format!("{} is the same as before", request.resource))
        }
        // Whether a node was emptied, or a cache, nobody watches: what it came to is in the SLOs.
        ActionKind::Cordon | ActionKind::Drain | ActionKind::Custom(_) => None,
        ActionKind::Rollback | ActionKind::Deploy => {
            let (runs, to) = (workload.version.as_deref()?, request.to_version.as_deref()?);
            (runs != to).then(|| format!("{} runs {runs}, not {to}", request.resource))
        }
    }
}

/// What runs is neither what was permitted nor what ran before.
fn runs_another(permit: &Permit, baseline: &Baseline, view: &View) -> bool {
    let Some(runs) = view.observed.workload(&permit.request.resource) else { return false };
    match permit.request.action {
        ActionKind::Scale => baseline.replicas.zip(runs.replicas).is_some_and(|(was, is)| was != is),
        _ => baseline.version.as_ref().zip(runs.version.as_ref()).is_some_and(|(was, is)| was != is),
    }
}

/// One SLO before and after, beside the services that nobody touched. `None` where its data is not there.
fn compare(permit: &Permit, before: &BaselineSlo, baseline: &Baseline, view: &View, now: Seconds) -> Option<Verdict> {
    let slo = view.slo(&before.id).filter(|slo| matches!(slo.data, DataState::Fresh | DataState::Partial))?;
    let (was, is) = (before.burn?, slo.shortest()?.burn?);
    // The same happened to those whom nobody touched: it was not this act.
    let common = |rose: bool| {
        baseline.peers.zip(view.peers).is_some_and(|(was, is)| match rose {
            true => is > WITHIN && is > was * CHANGED,
            false => was > WITHIN && is * CHANGED < was,
        })
    };
    let rose = is > WITHIN && is > was * CHANGED;
    let fell = was > WITHIN && (is <= WITHIN || is * CHANGED < was);
    let outcome = match (rose, fell) {
        (true, _) if common(true) => Outcome::Inconclusive,
        (true, _) => Outcome::Worse,
        (_, true) if common(false) => Outcome::Inconclusive,
        (_, true) => Outcome::Improved,
        // What did not burn and does not burn says nothing of a cure.
        _ if !before.burning && was <= WITHIN && permit.class == ActionClass::Mitigate => return None,
        _ => Outcome::NoEffect,
    };
    let peers = match outcome {
        Outcome::Inconclusive => ", and so do services that nobody touched",
        _ => "",
    };
    let message = format!("{} burned {was:.2} before and burns {is:.2} now{peers}", before.id);
    Some(Verdict {
        slo: Some(before.id.clone()),
        before: Some(was),
        after: Some(is),
        peers_before: baseline.peers,
        peers_after: view.peers,
        ..Verdict::without(permit, outcome, message, now)
    })
}
