//! One SLO: what every entry under `slo:` can say (`keyed` and `custom` read the rest), and the SLO it makes.

pub(crate) mod custom;
pub(crate) mod keyed;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::alert::AlertKind;
use crate::engine::ledger::RESOLUTIONS_S;
use crate::engine::severity::SeverityRule;
use crate::engine::{self, AlertExtras, EVERY_LABEL, Period, Slo, Terms, Unit, Weigh};

use super::alerting::{self, PlacedClause};
use super::burn::shown;
use super::defaults::Defaults;
use super::duration::TimeSpan;
use super::model::{Origin, SliSource, SloSpec};
use super::origin;
use super::problem::{Code, Place};
use super::reader::{At, Fields, Report};
use super::sli;
use super::telemetry::Telemetry;
use super::tree::Value;
use super::window;

/// What the service says for all its SLOs.
pub(crate) struct Service<'a> {
    pub name: String,
    pub owner: String,
    pub telemetry: Option<Telemetry<'a>>,
    /// `None`: the default policy.
    pub clauses: Option<Vec<PlacedClause<'a>>>,
    pub severity: Vec<SeverityRule>,
    pub annotations: BTreeMap<String, String>,
    /// Labels that name one scraped target, where the service says so.
    pub target_labels: Option<Vec<String>>,
    pub resolution: TimeSpan,
    pub defaults: &'static Defaults,
}

/// An SLO and the place of its key.
pub(crate) struct PlacedSlo {
    pub spec: SloSpec,
    pub place: Place,
}

/// Labels of an alert's own identity: a series label of that name would be lost.
pub(crate) const RESERVED_LABELS: [&str; 10] =
    ["alertname", "service", "slo", "slo_id", "owner", "severity", "sev", "kind", "le", "quantile"];

/// Largest `series_max`: each child costs as much memory and evaluation as an SLO.
const SERIES_MAX: u64 = 1_000;

/// The parts of the long form that every SLO has.
struct Common<'a> {
    objective: Option<At<'a>>,
    /// The main one first; empty for the default.
    windows: Vec<Period>,
    /// Where it differs from the daemon's.
    resolution: Option<(TimeSpan, At<'a>)>,
    confidence: WrittenConfidence,
    weigh: Weigh,
    by: Vec<String>,
    series_max: Option<u32>,
    clauses: Option<Vec<PlacedClause<'a>>>,
    /// Rows of its own, above those of the service.
    severity: Vec<SeverityRule>,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// What alerts of one kind carry beside.
    alerts: BTreeMap<AlertKind, AlertExtras>,
    mute: Vec<AlertKind>,
    target_labels: Option<Vec<String>>,
    origin: Option<Origin>,
}

#[derive(Clone, Copy)]
enum WrittenConfidence {
    Default,
    Off,
    /// Of pages and of tickets, where they are said.
    At(Option<f64>, Option<f64>),
}

fn common<'a>(fields: &mut Fields<'a>, service: &Service<'_>, report: &mut Report<'_>) -> Common<'a> {
    let objective = fields.get("objective");
    let windows = window::windows(fields, report);
    let resolution = fields.get("resolution").and_then(|at| Some((resolution(&at, service.resolution, report)?, at)));
    let confidence = fields.get("confidence").map_or(WrittenConfidence::Default, |at| confidence(&at, report));
    let weigh = fields.get("weigh").and_then(|at| weigh(&at, report)).unwrap_or_default();
    let by = fields.get("by").and_then(|at| by(&at, report)).unwrap_or_default();
    let series_max = fields.get("series_max").and_then(|at| series_max(&at, &by, report));
    let clauses = fields.get("alert_policies").map(|at| alerting::policies(&at, report));
    let severity = fields.get("severity_mapping").map(|at| alerting::severities(&at, report)).unwrap_or_default();
    let mut annotations = service.annotations.clone();
    for key in ["description", "runbook"] {
        if let Some(text) = fields.get(key).and_then(|at| at.text(report)) {
            annotations.insert(key.into(), text.into());
        }
    }
    if let Some(at) = fields.get("annotations") {
        annotations.extend(alerting::labels(&at, report));
    }
    let labels = fields.get("labels").map(|at| own_labels(&at, &by, &[], report)).unwrap_or_default();
    let alerts = fields.get("alerts").map(|at| extras(&at, &by, report)).unwrap_or_default();
    let mute = fields.get("mute").map(|at| alerting::mute(&at, report)).unwrap_or_default();
    let target_labels = fields.get("target_labels").and_then(|at| sli::target_labels(&at, report));
    let origin = fields.get("origin").and_then(|at| origin::read(&at, report));
    Common {
        objective,
        windows,
        resolution: resolution.filter(|(own, _)| *own != service.resolution),
        confidence,
        weigh,
        by,
        series_max,
        clauses,
        severity,
        annotations,
        labels,
        alerts,
        mute,
        target_labels,
        origin,
    }
}

/// Reads how long the slices of an SLO are: whole slices of the daemon's, and they must tile 5 minutes as those do.
fn resolution(at: &At<'_>, daemon: TimeSpan, report: &mut Report<'_>) -> Option<TimeSpan> {
    let own = at.duration(report)?;
    if own < daemon {
        let what = format!("slices of {own} are shorter than the daemon's {daemon}, in which everything is read");
        let instead = format!("slowburn run --resolution {own}, or resolution: {daemon}");
        report.error(at, Code::InvalidValue, what).write(instead);
        return None;
    }
    let fits = |seconds: &i64| *seconds >= daemon.seconds() && *seconds % daemon.seconds() == 0;
    let possible: Vec<i64> = RESOLUTIONS_S.into_iter().filter(fits).collect();
    if !possible.contains(&own.seconds()) {
        let what = match own.seconds() % daemon.seconds() {
            0 => format!("slices of {own} do not tile 5 minutes"),
            _ => format!("slices of {own} are not made of whole slices of the daemon's {daemon}"),
        };
        let spans = possible.into_iter().filter_map(TimeSpan::from_seconds);
        let instead = spans.map(|span| span.to_string()).collect::<Vec<_>>().join(", ");
        report.error(at, Code::InvalidValue, what).write(format!("resolution: one of {instead}"));
        return None;
    }
    Some(own)
}

/// Reads labels that alerts carry; `said` are those of an alert's own that may be said otherwise.
fn own_labels(at: &At<'_>, by: &[String], said: &[&str], report: &mut Report<'_>) -> BTreeMap<String, String> {
    let labels = alerting::labels(at, report);
    for (name, _) in labels.iter().filter(|(name, _)| !said.contains(&name.as_str())) {
        let what = match (by.contains(name), RESERVED_LABELS.contains(&name.as_str())) {
            (true, _) => {
                format!("`labels` cannot have {name:?}, which is a label of `by`: alerts have it of their series")
            }
            (_, true) => format!("`labels` cannot have {name:?}: alerts have a label of that name of their own"),
            (false, false) => continue,
        };
        let place = at.node.key(name).map_or(at.node.place, |key| key.place);
        report.error_at(place, &at.path, Code::InvalidName, what).write("another name");
    }
    labels.into_iter().collect()
}

/// Reads `alerts`: what alerts of one kind carry beside, by kind.
fn extras(at: &At<'_>, by: &[String], report: &mut Report<'_>) -> BTreeMap<AlertKind, AlertExtras> {
    let mut all = BTreeMap::new();
    let Some(mut fields) = at.map(report) else { return all };
    for kind in AlertKind::ALL {
        let Some(mut own) = fields.get(kind.as_str()).and_then(|at| at.map(report)) else { continue };
        let name = own.get("name").and_then(|at| alert_name(&at, report));
        let labels = own.get("labels").map(|at| own_labels(&at, by, &["severity"], report)).unwrap_or_default();
        let annotations = own.get("annotations").map(|at| alerting::labels(&at, report)).unwrap_or_default();
        own.finish(report);
        all.insert(kind, AlertExtras { name, labels, annotations: annotations.into_iter().collect() });
    }
    fields.finish(report);
    all
}

/// Longest `alertname`.
const ALERT_NAME_MAX: usize = 200;

fn alert_name(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = at.text(report)?;
    if name.chars().count() > ALERT_NAME_MAX {
        report.error(
            at,
            Code::InvalidName,
            format!("the name of an alert is at most {ALERT_NAME_MAX} characters long"),
        );
        return None;
    }
    Some(name.to_string())
}

fn confidence(at: &At<'_>, report: &mut Report<'_>) -> WrittenConfidence {
    match &at.node.value {
        Value::Text(text) if text == "off" => return WrittenConfidence::Off,
        Value::Bool(false) => return WrittenConfidence::Off,
        _ => {}
    }
    if !matches!(at.node.value, Value::Map(_)) {
        return level(at, report).map_or(WrittenConfidence::Default, |page| WrittenConfidence::At(Some(page), None));
    }
    let Some(mut fields) = at.map(report) else { return WrittenConfidence::Default };
    let mut of = |key| fields.get(key).and_then(|at| level(&at, report));
    let (page, ticket) = (of("page"), of("ticket"));
    fields.finish(report);
    WrittenConfidence::At(page, ticket)
}

fn level(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    if number > 0.0 && number <= 0.5 {
        return Some(number);
    }
    let what = "confidence is the chance of a false alarm that you accept: over 0, at most 0.5";
    report.error(at, Code::InvalidValue, what).write("confidence: 0.001, or off");
    None
}

fn weigh(at: &At<'_>, report: &mut Report<'_>) -> Option<Weigh> {
    match at.text(report)? {
        "rate" => Some(Weigh::Rate),
        "budget" => Some(Weigh::Budget),
        _ => {
            let what = "weigh says what a burn is measured by: the rate of bad events, or the budget that goes";
            report.error(at, Code::InvalidValue, what).write("weigh: rate, or weigh: budget");
            None
        }
    }
}

/// Labels of a series that no child can have: they tell the parts of one histogram apart.
const NEVER_BY: [&str; 2] = ["le", "quantile"];

fn by(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    if let Value::List(items) = &at.node.value
        && matches!(items.as_slice(), [only] if only.value == Value::Text(EVERY_LABEL.into()))
    {
        return Some(vec![EVERY_LABEL.to_string()]);
    }
    let names = sli::label_names(at, report)?;
    for name in &names {
        if NEVER_BY.contains(&name.as_str()) {
            let what = format!("`by` cannot have {name:?}: it tells the parts of one histogram apart");
            report.error(at, Code::InvalidName, what).write("a label of the series");
        } else if RESERVED_LABELS.contains(&name.as_str()) {
            let what =
                format!("alerts have a label {name:?} of their own: that of the series is series_{name} on them");
            report.warn(at, Code::InvalidName, what).write("routes that match series_ and the name");
        }
    }
    Some(names)
}

/// Reads how many children have rows of their own.
fn series_max(at: &At<'_>, by: &[String], report: &mut Report<'_>) -> Option<u32> {
    let max = at.whole(report, 1..=SERIES_MAX)?;
    if by.is_empty() {
        let what = "`series_max` bounds the children of `by`, and there is no `by`";
        report.error(at, Code::InvalidValue, what).write("by: [model], or leave series_max out");
        return None;
    }
    u32::try_from(max).ok()
}

/// Reads an objective in percent.
pub(crate) fn objective(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    let key = at.key();
    if number == 100.0 {
        report
            .error(at, Code::InvalidObjective, "an objective of 100 has no error budget")
            .write(format!("{key}: 99.9"));
        return None;
    }
    if number > 0.0 && number <= 1.0 {
        let percent = (number * 1e8).round() / 1e6;
        let instead = if percent < 100.0 { shown(percent) } else { "99.9".into() };
        report
            .error(at, Code::InvalidObjective, format!("an objective is in percent, and {number} % is nearly nothing"))
            .write(format!("{instead}, not {number}"));
        return None;
    }
    if number <= 0.0 || number > 100.0 {
        report
            .error(
                at,
                Code::InvalidObjective,
                format!("an objective is a percentage over 0 and under 100, found {number}"),
            )
            .write(format!("{key}: 99.9"));
        return None;
    }
    if number < 50.0 {
        let lets = shown(100.0 - number);
        report.warn(
            at,
            Code::InvalidObjective,
            format!("an objective of {number} % lets {lets} % of all events be bad"),
        );
    }
    Some(number)
}

/// The parts of one SLO, read.
struct Parts<'a> {
    name: String,
    objective: f64,
    unit: Unit,
    source: Result<SliSource, String>,
    target_labels: Option<Vec<String>>,
    said: Common<'a>,
}

impl Parts<'_> {
    /// The SLO they make, with its burn clauses resolved.
    fn finish(self, place: Place, service: &Service<'_>, report: &mut Report<'_>) -> Option<PlacedSlo> {
        let asks = |source: &SliSource| matches!(source, SliSource::Query { .. });
        let queried = match &self.source {
            Ok(SliSource::Generations(all)) => all.iter().any(|one| asks(&one.source)),
            source => source.as_ref().is_ok_and(asks),
        };
        if let (Some((_, at)), true) = (&self.said.resolution, queried) {
            let what = "a query is asked for each slice of the daemon's: an SLO of it cannot have longer ones";
            report.error(at, Code::InvalidValue, what).write("leave resolution out, or slowburn run --resolution");
            return None;
        }
        if let (true, false, Ok(_)) = (self.said.by.iter().any(|name| name == EVERY_LABEL), queried, &self.source) {
            let what = "`by: [\"*\"]` is for queries, whose labels nobody knows beforehand";
            report.error_at(place, "slo", Code::InvalidSli, what).write("by: [instance], the labels by name");
            return None;
        }
        let own = self.said.resolution.map(|(own, _)| own);
        let resolution = own.unwrap_or(service.resolution);
        let mut windows = self.said.windows.into_iter();
        let main = windows.next().unwrap_or(Period::Rolling(service.defaults.window.seconds()));
        let window_s = main.nominal_s();
        let calendar = match main {
            Period::Calendar(calendar) => Some(calendar),
            Period::Rolling(_) => None,
        };
        let mut slo = Slo {
            id: format!("{}-{}", service.name, self.name),
            service: service.name.clone(),
            name: self.name,
            owner: service.owner.clone(),
            objective: self.objective,
            window_s,
            terms: Terms { calendar, more: windows.collect(), ..Terms::default() },
            unit: self.unit,
            resolution_s: own.map(TimeSpan::seconds),
            burn: Vec::new(),
            confidence: match self.said.confidence {
                WrittenConfidence::Default => Some(service.defaults.confidence),
                WrittenConfidence::Off => None,
                WrittenConfidence::At(page, ticket) => {
                    let page = page.unwrap_or(service.defaults.confidence.page);
                    // Who accepts more false pages accepts as many false tickets.
                    let ticket = ticket.unwrap_or(service.defaults.confidence.ticket.max(page));
                    Some(engine::Confidence { page, ticket })
                }
            },
            weigh: self.said.weigh,
            severity: (self.said.severity.iter().chain(&service.severity).chain(&service.defaults.severity))
                .cloned()
                .collect(),
            by: self.said.by,
            series_max: self.said.series_max.unwrap_or(service.defaults.series_max),
            annotations: self.said.annotations,
            labels: self.said.labels,
            alerts: self.said.alerts,
            mute: self.said.mute,
        };
        match self.said.clauses.as_ref().or(service.clauses.as_ref()) {
            Some(clauses) => alerting::resolve(clauses, &mut slo, resolution, report)?,
            None => alerting::resolve_defaults(&service.defaults.clauses, &mut slo, place, resolution, report),
        }
        // The nearest one holds: at the source, the SLO, the service, its telemetry.
        let target_labels = (self.target_labels)
            .or(self.said.target_labels)
            .or_else(|| service.target_labels.clone())
            .or_else(|| service.telemetry.as_ref().and_then(|telemetry| telemetry.target_labels.clone()))
            .unwrap_or_else(|| service.defaults.target_labels.clone());
        let spec = SloSpec { slo: Arc::new(slo), source: self.source, target_labels, origin: self.said.origin };
        Some(PlacedSlo { spec, place })
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Options, explain, load_texts};
    use crate::store::definitions;

    #[test]
    fn slices_of_its_own_are_part_of_what_the_history_of_an_slo_depends_on() {
        let of = |resolution: &str| {
            let text = format!(
                "name: a\nowner: b\nslo:\n  latency_p95_ms: {{max: 100, {resolution}sli: {{histogram: c_seconds}}}}\n"
            );
            load_texts(&[("a.yaml", &text)], &Options::default()).model
        };
        let [plain, same, longer] = ["", "resolution: 30s, ", "resolution: 5m, "].map(of);
        assert_eq!(plain, same, "the daemon's own is no other");
        let slo = &longer.slos[0].slo;
        assert_eq!((plain.slos[0].slo.resolution_s, slo.resolution_s), (None, Some(300)));
        assert_eq!(definitions(&plain, 30), definitions(&same, 30));
        assert_ne!(definitions(&plain, 30)["a-latency-p95"], definitions(&longer, 30)["a-latency-p95"]);
        assert_eq!(explain::explain(&longer.slos[0]).unit, "slices of 5m by p95");
    }

    #[test]
    fn the_nearest_target_labels_hold() {
        let text = "name: a\nowner: b\ntarget_labels: [job, pod]\nslo:\n  availability: {objective: 99, sli: {total: t, bad: 't{x=\"1\"}'}}\n  \
                    latency_p95_ms: {max: 100, target_labels: [node], sli: {histogram: c_seconds}}\n  \
                    ttfb_p95_ms: {max: 100, target_labels: [node], sli: {histogram: d_seconds, target_labels: [ip]}}\n";
        let of = |text: &str| -> Vec<String> {
            let loaded = load_texts(&[("a.yaml", text)], &Options::default());
            assert!(!loaded.is_fatal(), "{}", loaded.render(false));
            loaded.model.slos.iter().map(|spec| spec.target_labels.join(",")).collect()
        };
        assert_eq!(of(text), ["job,pod", "node", "ip"]);
        assert_eq!(of(&text.replace("target_labels: [job, pod]\n", ""))[0], "job,instance");
    }
}
