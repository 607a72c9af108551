//! Alert policies of OpenSLO: one condition each, over one window.
//!
//! The specification's own example fires at `op: lte`, against its own text. It is refused, not turned round.

use super::objects::{Kind, Objects};
use super::{inline_spec, reference, span};
use crate::engine::Speed;
use crate::engine::alert::AlertKind;
use crate::spec::import::alerts::{self, AlertTier};
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report};

/// What the policies of an SLO come to.
#[derive(Default)]
pub(crate) struct Alerting {
    /// `None` where no policy is named.
    pub tiers: Option<Vec<AlertTier>>,
    pub mute: Vec<AlertKind>,
    pub notes: Vec<String>,
}

/// Reads `alertPolicies`.
pub(crate) fn read(at: &At<'_>, file: usize, objects: &Objects<'_>, reports: &mut [Report<'_>]) -> Option<Alerting> {
    let items = at.list(&mut reports[file])?;
    if items.is_empty() {
        return Some(Alerting::default());
    }
    let (mut tiers, mut notes, mut no_data, mut whole) = (Vec::new(), Vec::new(), Vec::new(), true);
    for item in &items {
        let Some(found) = policy(item, file, objects, reports) else {
            whole = false;
            continue;
        };
        tiers.extend(found.tier);
        no_data.push(found.no_data);
        notes.extend(found.notes);
    }
    let mut mute = Vec::new();
    if tiers.is_empty() {
        mute.extend([AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget]);
    }
    if no_data.iter().all(|said| *said == Some(false)) {
        mute.push(AlertKind::DataMissing);
    }
    notes.dedup();
    whole.then_some(Alerting { tiers: Some(tiers), mute, notes })
}

struct Found {
    tier: Option<AlertTier>,
    /// `alertWhenNoData`.
    no_data: Option<bool>,
    notes: Vec<String>,
}

/// One entry of `alertPolicies`: a reference, or a policy in place.
fn policy(at: &At<'_>, file: usize, objects: &Objects<'_>, reports: &mut [Report<'_>]) -> Option<Found> {
    let mut frame = at.map(&mut reports[file])?;
    let (file, mut spec) = match frame.filled("alertPolicyRef") {
        Some(at) => {
            frame.finish(&mut reports[file]);
            let object = reference(&at, Kind::AlertPolicy, objects, &mut reports[file])?;
            let subject = reports[file].subject.clone();
            reports[object.file].subject = subject;
            (object.file, object.spec(&mut reports[object.file])?)
        }
        None => (file, inline_spec(at, Kind::AlertPolicy, &mut reports[file])?),
    };
    let report = &mut reports[file];
    spec.filled("description");
    let mut flag = |key, spec: &mut Fields<'_>| spec.filled(key).and_then(|at| at.flag(report));
    let (breaching, resolved) = (flag("alertWhenBreaching", &mut spec), flag("alertWhenResolved", &mut spec));
    let no_data = flag("alertWhenNoData", &mut spec);
    let conditions = spec.need(report, "conditions", "[{conditionRef: burn-1h}]");
    let targets = spec.filled("notificationTargets");
    spec.finish(report);
    let mut notes = Vec::new();
    if resolved == Some(false) {
        notes
            .push("alertWhenResolved: false is not kept: Alertmanager decides who hears of the end of an alert".into());
    }
    if let Some(at) = targets {
        check_targets(&at, objects, report)?;
        notes.push("notificationTargets are not kept: Alertmanager routes alerts by their labels".into());
    }
    let conditions = conditions?;
    let items = conditions.list(report)?;
    let [item] = items.as_slice() else {
        let what = format!("a policy has exactly one condition, and this one has {}", items.len());
        report.error(&conditions, Code::InvalidBurn, what).write("one AlertPolicy for each condition");
        return None;
    };
    let tier = condition(item, file, objects, &mut notes, reports)?;
    Some(Found { tier: (breaching != Some(false)).then_some(tier), no_data, notes })
}

fn check_targets(at: &At<'_>, objects: &Objects<'_>, report: &mut Report<'_>) -> Option<()> {
    for item in at.list(report)? {
        let mut fields = item.map(report)?;
        match fields.filled("targetRef") {
            Some(at) => {
                fields.finish(report);
                reference(&at, Kind::AlertNotificationTarget, objects, report)?;
            }
            None => {
                let mut spec = inline_spec(&item, Kind::AlertNotificationTarget, report)?;
                let (_, _) = (spec.filled("target"), spec.filled("description"));
                spec.finish(report);
            }
        }
    }
    Some(())
}

/// One entry of `conditions`: a reference, or a condition in place.
fn condition(
    at: &At<'_>,
    file: usize,
    objects: &Objects<'_>,
    notes: &mut Vec<String>,
    reports: &mut [Report<'_>],
) -> Option<AlertTier> {
    let mut frame = at.map(&mut reports[file])?;
    let (file, mut spec) = match frame.filled("conditionRef") {
        Some(at) => {
            frame.finish(&mut reports[file]);
            let object = reference(&at, Kind::AlertCondition, objects, &mut reports[file])?;
            let subject = reports[file].subject.clone();
            reports[object.file].subject = subject;
            (object.file, object.spec(&mut reports[object.file])?)
        }
        None => (file, inline_spec(at, Kind::AlertCondition, &mut reports[file])?),
    };
    let report = &mut reports[file];
    spec.filled("description");
    let severity = spec.need(report, "severity", "page");
    let condition = spec.need(report, "condition", "{kind: burnrate, op: gte, threshold: 14.4, lookbackWindow: 1h}");
    spec.finish(report);
    let mut fields = condition?.map(report)?;
    if let Some(at) = fields.filled("kind") {
        at.choice(report, &[("burnrate", ())])?;
    }
    let op = fields.need(report, "op", "gte");
    let threshold = fields.need(report, "threshold", "14.4").and_then(|at| Some((at.number(report)?, at)));
    let lookback = fields.need(report, "lookbackWindow", "1h").and_then(|at| span(&at, report));
    let after = fields.filled("alertAfter");
    fields.finish(report);
    if let Some(at) = after
        && !matches!(at.text(report), Some("0m" | "0h" | "0d"))
    {
        span(&at, report)?;
        notes.push("alertAfter is not kept: the short window of a clause is what makes a burn last".into());
    }
    let op = op?;
    match op.choice(report, &[("gte", true), ("gt", true), ("lte", false), ("lt", false)])? {
        true => {}
        false => {
            let what = "this alert fires while the budget burns slower than the threshold, which is nearly always";
            report.error(&op, Code::InvalidBurn, what).write("op: gte");
            return None;
        }
    }
    let (factor, at) = threshold?;
    if factor <= 0.0 {
        report.error(&at, Code::InvalidBurn, "a burn rate is over zero").write("threshold: 14.4");
        return None;
    }
    notes.push("an alert also needs its short window, a twelfth of lookbackWindow: it ends soon after the burn".into());
    let severity = severity?;
    let word = severity.text(report)?;
    let (speed, sev) = match alerts::urgency(word) {
        Some((speed, sev)) => (speed, Some(sev)),
        None => {
            let what = format!("the severity {word:?} is not known here: the alert is taken for one that pages");
            report.warn(&severity, Code::InvalidSeverity, what).write("page, ticket, critical, warning or info");
            (Speed::Fast, None)
        }
    };
    Some(AlertTier { long_s: lookback?.seconds(), short_s: None, threshold: format!("{factor}x"), factor, speed, sev })
}
