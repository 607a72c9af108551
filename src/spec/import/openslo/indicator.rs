//! SLIs of OpenSLO: ratios of counters, raw ratios, and values that are compared with a threshold.

use promql_parser::parser::{Expr, token};

use super::objects::{Kind, Objects};
use super::{Method, Objective, inline_spec, near, reference};
use crate::spec::import::draft::{At, Source};
use crate::spec::import::shape::{Exact, Reading, le_of};
use crate::spec::import::template::{self, Mark};
use crate::spec::problem::{Code, Place};
use crate::spec::reader::{At as Node, Fields, Report};
use crate::spec::tree::Value;

/// Where an indicator stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    file: usize,
    place: Place,
    /// What names it in the SLO.
    reference: Place,
}

/// An SLI as it was read.
pub(crate) enum ReadIndicator {
    /// A part, good or bad, and the total.
    Ratio { part: Expr, of_good: bool, total: Expr, counter: bool, notes: Vec<String>, origin: Origin },
    /// A ratio that a query makes.
    Raw { expr: Expr, of_good: bool, notes: Vec<String>, origin: Origin },
    /// A value that the objective compares.
    Threshold { expr: Expr, notes: Vec<String>, origin: Origin },
}

/// Metric sources that speak PromQL.
const PROMETHEUS: [&str; 7] =
    ["prometheus", "victoriametrics", "thanos", "mimir", "cortex", "amazonprometheus", "managedprometheus"];

/// Reads `indicatorRef`.
pub(crate) fn by_name(
    at: &Node<'_>,
    file: usize,
    objects: &Objects<'_>,
    reports: &mut [Report<'_>],
) -> Option<ReadIndicator> {
    let object = reference(at, Kind::Sli, objects, &mut reports[file])?;
    let subject = reports[file].subject.clone();
    let report = &mut reports[object.file];
    report.subject = subject;
    let spec = object.spec(report)?;
    let origin = Origin { file: object.file, place: spec.at.node.place, reference: at.node.place };
    read(spec, origin, objects, report)
}

/// Reads `indicator`.
pub(crate) fn inline(
    at: &Node<'_>,
    file: usize,
    objects: &Objects<'_>,
    reports: &mut [Report<'_>],
) -> Option<ReadIndicator> {
    let report = &mut reports[file];
    let spec = inline_spec(at, Kind::Sli, report)?;
    let place = spec.at.node.place;
    read(spec, Origin { file, place, reference: place }, objects, report)
}

fn read(mut spec: Fields<'_>, origin: Origin, objects: &Objects<'_>, report: &mut Report<'_>) -> Option<ReadIndicator> {
    spec.filled("description");
    let (ratio, threshold) = (spec.filled("ratioMetric"), spec.filled("thresholdMetric"));
    let at = spec.at.clone();
    spec.finish(report);
    match (ratio, threshold) {
        (Some(at), None) => read_ratio(&at, origin, objects, report),
        (None, Some(at)) => {
            let mut notes = Vec::new();
            let expr = metric(&at, &mut notes, objects, report)?;
            Some(ReadIndicator::Threshold { expr, notes, origin })
        }
        (None, None) => {
            report.error(&at, Code::InvalidSli, "this SLI names no metric").write("ratioMetric or thresholdMetric");
            None
        }
        (Some(_), Some(at)) => {
            report
                .error(&at, Code::InvalidSli, "`ratioMetric` and `thresholdMetric` are both given")
                .write("one of them");
            None
        }
    }
}

fn read_ratio(at: &Node<'_>, origin: Origin, objects: &Objects<'_>, report: &mut Report<'_>) -> Option<ReadIndicator> {
    let mut fields = at.map(report)?;
    let counter = fields.filled("counter");
    let counter_said = counter.as_ref().and_then(|at| at.flag(report));
    let [good, bad, total, raw] = ["good", "bad", "total", "raw"].map(|key| fields.filled(key));
    let raw_type = fields.filled("rawType");
    fields.finish(report);
    let mut notes = Vec::new();
    if let Some(raw) = raw {
        if let Some(other) = good.or(bad).or(total) {
            report.error(&other, Code::InvalidSli, "a raw ratio has no good, bad or total").write("raw alone");
            return None;
        }
        let Some(raw_type) = raw_type else {
            let what = "rawType is missing: is the ratio one of failures or of successes?";
            report.error(at, Code::MissingKey, what).write("rawType: failure, or success");
            return None;
        };
        let of_good = raw_type.choice(report, &[("failure", false), ("success", true)])?;
        let expr = metric(&raw, &mut notes, objects, report)?;
        return Some(ReadIndicator::Raw { expr, of_good, notes, origin });
    }
    if total.is_none() {
        report.error(at, Code::MissingKey, "\"total\" is missing").write("total: {metricSource: ...}");
    }
    let (part_at, of_good) = match (good, bad) {
        (Some(at), None) => (at, true),
        (None, Some(at)) => (at, false),
        (None, None) => {
            report.error(at, Code::MissingKey, "`good` or `bad` is missing").write("bad: {metricSource: ...}");
            return None;
        }
        (Some(_), Some(at)) => {
            report
                .error(&at, Code::InvalidSli, "`good` and `bad` are both given, and they may disagree")
                .write("one of them");
            return None;
        }
    };
    let part = metric(&part_at, &mut notes, objects, report);
    let total = total.and_then(|at| metric(&at, &mut notes, objects, report));
    let (part, total) = (part?, total?);
    if part == total {
        report
            .error(&part_at, Code::InvalidSli, "the two queries are the same")
            .write("the part of the events, by a label");
        return None;
    }
    let counter = counter_said.unwrap_or_else(|| {
        notes.push("`counter` is not given: the queries are taken for counters".into());
        true
    });
    Some(ReadIndicator::Ratio { part, of_good, total, counter, notes, origin })
}

/// Reads `{metricSource: {...}}`: the query in it.
fn metric(at: &Node<'_>, notes: &mut Vec<String>, objects: &Objects<'_>, report: &mut Report<'_>) -> Option<Expr> {
    let mut fields = at.map(report)?;
    let source = fields.need(report, "metricSource", "{type: Prometheus, spec: {query: ...}}");
    fields.finish(report);
    let mut source = source?.map(report)?;
    let (by_ref, kind, spec) =
        (source.filled("metricSourceRef"), source.filled("type"), source.need(report, "spec", "{query: ...}"));
    let source_at = source.at.clone();
    source.finish(report);
    let kind_text = match (&kind, by_ref) {
        (Some(at), _) => Some(At { it: at.text(report)?.to_string(), place: at.node.place }),
        (None, Some(at)) => {
            let object = reference(&at, Kind::DataSource, objects, report)?;
            let mut own = object.spec(&mut Report::new("", ""))?;
            let found = own.filled("type");
            let text = found.and_then(|at| at.text(&mut Report::new("", "")).map(str::to_string));
            text.map(|it| At { it, place: at.node.place })
        }
        (None, None) => None,
    };
    let Some(kind) = kind_text else {
        let what = "nothing says of which type this metric source is";
        report.error(&source_at, Code::MissingKey, what).write("type: Prometheus, or metricSourceRef");
        return None;
    };
    let folded: String = kind.it.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    if !PROMETHEUS.contains(&folded.as_str()) {
        let what = format!("a metric source of type {:?} is not one that speaks PromQL", kind.it);
        report.error_at(kind.place, "", Code::InvalidSli, what).write("type: Prometheus");
        return None;
    }
    let query = query_in(&spec?, notes, report)?;
    crate::spec::import::query(&query, Mark::Perhaps, report)
}

/// The query in a `spec` whose keys are free: `query` by convention.
fn query_in<'a>(at: &Node<'a>, notes: &mut Vec<String>, report: &mut Report<'_>) -> Option<Node<'a>> {
    let fields = at.map(report)?;
    let entries: Vec<_> = fields.entries().collect();
    for word in ["query", "promql", "expr", "expression"] {
        if let Some((_, found)) = entries.iter().find(|(key, _)| key.name == word) {
            return Some(found.clone());
        }
    }
    let texts: Vec<_> = entries.iter().filter(|(_, at)| matches!(at.node.value, Value::Text(_))).collect();
    if let [(key, only)] = texts.as_slice() {
        notes.push(format!("the key {:?} of a metric source is taken for its query", key.name));
        return Some(only.clone());
    }
    let what = "this metric source has no `query` (its keys are free, but that one is where tools look)";
    report.error(at, Code::MissingKey, what).write("spec: {query: 'sum(http_requests_total)'}");
    None
}

impl ReadIndicator {
    fn origin(&self) -> &Origin {
        match self {
            ReadIndicator::Ratio { origin, .. }
            | ReadIndicator::Raw { origin, .. }
            | ReadIndicator::Threshold { origin, .. } => origin,
        }
    }

    /// Where it stands, as a place of `file`.
    pub fn place(&self, file: usize) -> Place {
        let origin = self.origin();
        near(file, origin.file, origin.place, origin.reference)
    }

    pub fn notes(&self) -> &[String] {
        match self {
            ReadIndicator::Ratio { notes, .. }
            | ReadIndicator::Raw { notes, .. }
            | ReadIndicator::Threshold { notes, .. } => notes,
        }
    }

    /// Whether selectors without a range are counters.
    pub fn is_counter(&self) -> bool {
        matches!(self, ReadIndicator::Ratio { counter: true, .. })
    }

    /// Events, exactly or by its queries; a gauge's values are taken for events.
    pub fn events(&self, reading: &mut Reading) -> Source {
        match self {
            ReadIndicator::Ratio { part, of_good, total, counter: true, .. } => match of_good {
                true => Source::good_events(part, total, reading),
                false => Source::events(part, total, reading),
            },
            ReadIndicator::Ratio { part, of_good, total, counter: false, .. } => {
                let by = template::fan_out(&[part, total]);
                let [part, total] = [part, total].map(|expr| template::foreign(expr, false));
                let bad = if *of_good { format!("({total}) - ({part})") } else { part };
                let why = "`counter: false` makes its values counts of each moment, not of events".to_string();
                Source::Query { bad, total: Some(total), why, by }
            }
            ReadIndicator::Raw { expr, of_good, .. } => Source::ratio(expr, *of_good, reading),
            ReadIndicator::Threshold { expr, .. } => Source::ratio(expr, false, reading),
        }
    }

    /// The ratio of each slice, all slices alike.
    pub fn sliced(&self, source: Source) -> Source {
        let why = "RatioTimeslices counts each slice alike, by its ratio".to_string();
        let by = source.by().to_vec();
        let (bad, total) = match self {
            ReadIndicator::Ratio { part, of_good, total, counter, .. } => {
                let [part, total] = [part, total].map(|expr| template::foreign(expr, *counter));
                match of_good {
                    true => (format!("1 - ({part}) / ({total})"), None),
                    false => (format!("({part}) / ({total})"), None),
                }
            }
            ReadIndicator::Raw { expr, of_good, .. } => {
                let text = template::foreign(expr, false);
                (if *of_good { format!("1 - ({text})") } else { text }, None)
            }
            ReadIndicator::Threshold { expr, .. } => (template::foreign(expr, false), None),
        };
        Source::Query { bad, total, why, by }
    }
}

/// A value that is compared: `histogram_quantile` becomes a count of slow events, everything else a value a slice.
pub(crate) fn compared(
    indicator: &ReadIndicator,
    objective: &Objective,
    method: Method,
    reading: &mut Reading,
    name: &At<String>,
    report: &mut Report<'_>,
) -> Option<Source> {
    let ReadIndicator::Threshold { expr, .. } = indicator else { return None };
    let (Some(op), Some(value)) = (&objective.op, objective.value) else {
        let what = "a thresholdMetric is compared: `op` and `value` say which values are good";
        report.error_at(name.place, "", Code::MissingKey, what).write("op: lte, value: 0.8 in the objective");
        return None;
    };
    if method == Method::RatioTimeslices {
        let what = "RatioTimeslices needs a ratio, and a thresholdMetric has none";
        report.error_at(name.place, "", Code::InvalidSli, what).write("budgetingMethod: Timeslices");
        return None;
    }
    if method == Method::Occurrences {
        reading.notes.push("Occurrences of a thresholdMetric: each slice is one event".into());
    } else if objective.slice_target.is_some_and(|target| target < 1.0) {
        reading.notes.push("a slice has one value here, so timeSliceTarget decides nothing".into());
    }
    let max = op.it.starts_with('l');
    if !op.it.ends_with('e') {
        reading.notes.push(format!("{}: a value that is equal to the threshold counts as good", op.it));
    }
    if let (Some((quantile, selector, by)), true) = (quantile(expr, reading), max) {
        reading
            .notes
            .push("histogram_quantile is not estimated: a slice is bad when too many of its events are slow".into());
        return Some(Source::Slices { exact: Exact::Histogram { selector, le: value, by }, quantile });
    }
    let by = template::labels_of(expr).unwrap_or_default();
    if template::ranges(expr).contains(&template::WINDOW) {
        reading.notes.push("{{.window}} of a thresholdMetric is five minutes: each slice has one value".into());
    }
    Some(Source::Gauge { expr: template::with_window(expr, "5m"), max, bound: value, by })
}

/// `histogram_quantile(Q, sum by (le, ...) (rate(M_bucket[...])))`.
fn quantile(expr: &Expr, reading: &mut Reading) -> Option<(f64, promql_parser::parser::VectorSelector, Vec<String>)> {
    let Expr::Call(call) = plain(expr) else { return None };
    let [quantile, buckets] = call.args.args.as_slice() else { return None };
    let (true, Expr::NumberLiteral(quantile)) = (call.func.name == "histogram_quantile", plain(quantile)) else {
        return None;
    };
    let Expr::Aggregate(sum) = plain(buckets) else { return None };
    if sum.op.id() != token::T_SUM || !(quantile.val > 0.0 && quantile.val < 1.0) {
        return None;
    }
    let labels = &sum.modifier.as_ref().filter(|modifier| modifier.is_include())?.labels().labels;
    if !labels.iter().any(|label| label == "le") {
        return None;
    }
    let count = reading.one(buckets).ok()?;
    let mut selector = count.selector;
    let base = selector.name.as_deref()?.strip_suffix("_bucket")?.to_string();
    if le_of(&selector).is_some() {
        return None;
    }
    selector.name = Some(base);
    let by = count.by.into_iter().filter(|label| label != "le").collect();
    Some((quantile.val, selector, by))
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => plain(&paren.expr),
        other => other,
    }
}
