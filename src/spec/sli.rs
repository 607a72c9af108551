//! Where the events of one SLO come from, said by an explicit `sli:`.
//!
//! `sli:` has five forms: `{total, bad}`, `{total, good}`, `{good, bad}` (each a selector, or a list of them that are added
//! up), `{histogram}` (for queues with `waiting`, the gauge of those who wait, and `through`, a counter that moves when
//! somebody is let in) and `{gauge}` (with `frozen_after`, `sentinel_over` and `sentinel_under` where it may lie). A threshold
//! in the key
//! (`latency_p95_ms: 800`) is converted to the unit of the metric, which its name must show or `unit:` must say:
//! comparing seconds with milliseconds is the quietest way to be wrong.

use super::indicator::{Family, Indicator};
use super::model::{Bound, Part, SliSource, Trust};
use super::problem::Code;
use super::reader::{At, Fields, Report};
use super::selector::{self, TimeUnit};

/// A bound in the unit of its key; `None` for availability.
pub(crate) type KeyBound = Option<f64>;

/// What an explicit `sli:` says.
pub(crate) struct Explicit {
    pub source: SliSource,
    pub target_labels: Option<Vec<String>>,
}

/// Reads a list of label names.
pub(crate) fn label_names(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for item in at.list(report)? {
        let Some(name) = item.text(report) else { continue };
        if !selector::is_any_label_name(name) {
            report
                .error(&item, Code::InvalidName, format!("{name:?} is no label name"))
                .write("up to 128 bytes without quotes and control characters, not starting with `__`");
        } else if names.iter().any(|earlier| earlier == name) {
            report.error(&item, Code::DuplicateKey, format!("the label {name:?} is listed twice")).write("one of them");
        } else {
            names.push(name.to_string());
        }
    }
    Some(names)
}

/// Reads the labels that name one scraped target.
pub(crate) fn target_labels(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let names = label_names(at, report)?;
    if names.is_empty() {
        let what = "no label names a target: then all series would be of one";
        report.error(at, Code::InvalidValue, what).write("target_labels: [job, instance]");
        return None;
    }
    Some(names)
}

/// Reads an explicit `sli:` of an SLO with this indicator and bound.
pub(crate) fn explicit(
    at: &At<'_>,
    indicator: Indicator,
    bound: KeyBound,
    report: &mut Report<'_>,
) -> Option<Explicit> {
    let mut fields = at.map(report)?;
    let keys = ["total", "bad", "good", "histogram", "gauge"];
    let [total, bad, good, histogram, gauge] = keys.map(|key| fields.get(key));
    let target_labels = fields.get("target_labels").and_then(|at| target_labels(&at, report));
    let given = [&histogram, &gauge].iter().filter(|at| at.is_some()).count()
        + usize::from(total.is_some() || bad.is_some() || good.is_some());
    let source = match (histogram, gauge) {
        _ if given > 1 => {
            report
                .error(at, Code::InvalidSli, "an SLI has one source, and this one has several")
                .write("one of {total, bad}, {total, good}, {histogram} and {gauge}");
            None
        }
        _ if given == 0 => {
            report.error(at, Code::InvalidSli, "this SLI names no source").write(form_of(indicator));
            fields.get("unit");
            None
        }
        (Some(metric), _) => from_histogram(&metric, indicator, bound, &mut fields, report),
        (_, Some(expr)) => from_gauge(&expr, indicator, bound, &mut fields, report),
        _ => {
            if indicator.family() == Family::FeatureFreshness {
                report
                    .error(at, Code::InvalidSli, "feature freshness is an age, which counters do not tell")
                    .write("sli: {gauge: feature_age_seconds}");
                None
            } else {
                ratio(at, total, bad, good, report)
            }
        }
    };
    fields.finish(report);
    Some(Explicit { source: source?, target_labels })
}

fn form_of(indicator: Indicator) -> &'static str {
    match indicator.family() {
        Family::Availability => "{total: http_requests_total{...}, bad: http_requests_total{...,code=~\"5..\"}}",
        Family::FeatureFreshness => "{gauge: feature_age_seconds}",
        _ => "{histogram: request_duration_seconds{...}}",
    }
}

/// Two counters: `total`, and `bad` or `good`.
pub(crate) fn ratio(
    at: &At<'_>,
    total: Option<At<'_>>,
    bad: Option<At<'_>>,
    good: Option<At<'_>>,
    report: &mut Report<'_>,
) -> Option<SliSource> {
    let is_list = |at: &&At<'_>| matches!(at.node.value, super::tree::Value::List(_));
    let several = [&total, &bad, &good].into_iter().flatten().any(|at| is_list(&at));
    if let (None, Some(bad), Some(good)) = (&total, &bad, &good) {
        return if several { all_beside(bad, good, report) } else { beside(bad, good, report) };
    }
    if total.is_none() {
        report
            .error(at, Code::MissingKey, "`total` is missing: an error ratio needs the count of all events")
            .write("total: http_requests_total{...}");
    }
    match (&bad, &good) {
        (None, None) => {
            report
                .error(at, Code::MissingKey, "`bad` or `good` is missing: which of the events count?")
                .write("bad: http_requests_total{...,code=~\"5..\"}");
        }
        (Some(_), Some(good)) => {
            report
                .error(good, Code::InvalidSli, "`bad` and `good` are both given, and they may disagree")
                .write("one of them");
        }
        _ => {}
    }
    if several {
        return counters(total.as_ref()?, bad.as_ref(), good.as_ref(), report);
    }
    let mut read =
        |at: &Option<At<'_>>| at.as_ref().and_then(|at| read_selector(at, report).map(|found| found.to_string()));
    let (total_text, bad_text, good_text) = (read(&total), read(&bad), read(&good));
    let part = match (bad_text, good_text) {
        (Some(bad), None) => Part::Bad(bad),
        (None, Some(good)) => Part::Good(good),
        _ => return None,
    };
    let total_text = total_text?;
    let (word, text) = match &part {
        Part::Bad(text) => ("bad", text),
        Part::Good(text) => ("good", text),
        Part::Beside(_) => return None,
    };
    let swapped = [text, &total_text].map(|text| selector::selector(text));
    if let ([Ok(part), Ok(all)], true) = (&swapped, *text != total_text)
        && selector::contains(part, all)
    {
        let what = format!("`{word}` selects every event of `total` and more: the two are swapped");
        let instead = format!("{word}: {total_text}, total: {text}");
        report.error(bad.as_ref().or(good.as_ref())?, Code::InvalidSli, what).write(instead);
        return None;
    }
    if let [Ok(part), Ok(all)] = &swapped
        && let Some(matcher) = selector::left_open(part, all)
    {
        let what = format!("`total` has {matcher} and `{word}` does not: {word} events of others would count");
        report.warn(bad.as_ref().or(good.as_ref())?, Code::InvalidSli, what).write(format!("{matcher} in both"));
    }
    if *text == total_text {
        let what = format!("`{word}` selects the same events as `total`: every event would be {word}");
        report
            .error(bad.as_ref().or(good.as_ref())?, Code::InvalidSli, what)
            .write(format!("{word}: the {word} part of it, by a label such as code"));
        return None;
    }
    Some(SliSource::Ratio { total: total_text, part })
}

/// Two counters that together are all events.
fn beside(bad: &At<'_>, good: &At<'_>, report: &mut Report<'_>) -> Option<SliSource> {
    let (bad_found, good_found) = (read_selector(bad, report), read_selector(good, report));
    let (bad_text, good_text) = (bad_found?.to_string(), good_found?.to_string());
    if bad_text == good_text {
        report
            .error(bad, Code::InvalidSli, "`bad` selects the same events as `good`")
            .write("bad: the bad events alone, by a label such as code");
        return None;
    }
    Some(SliSource::Ratio { total: good_text, part: Part::Beside(bad_text) })
}

/// Most selectors of one list.
const SELECTORS_MAX: usize = 20;

/// Reads a selector, or a list of them.
fn selectors(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<promql_parser::parser::VectorSelector>> {
    if !matches!(at.node.value, super::tree::Value::List(_)) {
        return read_selector(at, report).map(|one| vec![one]);
    }
    let items = at.list(report)?;
    if !(1..=SELECTORS_MAX).contains(&items.len()) {
        let what = format!("a list holds from 1 to {SELECTORS_MAX} selectors, found {}", items.len());
        report.error(at, Code::InvalidSli, what).write(format!("{}: [requests_total, rejected_total]", at.key()));
        return None;
    }
    let mut found: Vec<promql_parser::parser::VectorSelector> = Vec::new();
    for item in &items {
        let one = read_selector(item, report)?;
        if found.contains(&one) {
            report.error(item, Code::DuplicateKey, format!("{one} is listed twice")).write("one of them");
            return None;
        }
        found.push(one);
    }
    Some(found)
}

/// Counters of several metrics, added up.
fn counters(total: &At<'_>, bad: Option<&At<'_>>, good: Option<&At<'_>>, report: &mut Report<'_>) -> Option<SliSource> {
    let (part_at, word) = match (bad, good) {
        (Some(bad), None) => (bad, "bad"),
        (None, Some(good)) => (good, "good"),
        _ => return None,
    };
    let (totals, parts) = (selectors(total, report), selectors(part_at, report));
    let (totals, parts) = (totals?, parts?);
    if totals.iter().all(|all| parts.iter().any(|part| selector::contains(part, all))) {
        let what = format!("`{word}` selects every event of `total`: every event would be {word}");
        report
            .error(part_at, Code::InvalidSli, what)
            .write(format!("{word}: the {word} part of it, by a label such as code"));
        return None;
    }
    let texts = |all: Vec<promql_parser::parser::VectorSelector>| all.iter().map(ToString::to_string).collect();
    Some(SliSource::Counters { total: texts(totals), part: texts(parts), good: word == "good" })
}

/// Counters that together are all events, several of a kind.
fn all_beside(bad: &At<'_>, good: &At<'_>, report: &mut Report<'_>) -> Option<SliSource> {
    let (bads, goods) = (selectors(bad, report), selectors(good, report));
    let (bads, goods) = (bads?, goods?);
    if let Some(both) = bads.iter().find(|bad| goods.contains(bad)) {
        let what = format!("{both} is listed under `bad` and under `good`");
        report.error(bad, Code::InvalidSli, what).write("one of them");
        return None;
    }
    let part: Vec<String> = bads.iter().map(ToString::to_string).collect();
    let total = goods.iter().map(ToString::to_string).chain(part.iter().cloned()).collect();
    Some(SliSource::Counters { total, part, good: false })
}

/// Reads a bare selector, `at` pointing at its text.
pub(crate) fn read_selector(at: &At<'_>, report: &mut Report<'_>) -> Option<promql_parser::parser::VectorSelector> {
    let text = at.text(report)?;
    match selector::selector(text) {
        Ok(found) => Some(found),
        Err(fault) => {
            let place = fault.part.map_or(at.node.place, |(from, length)| at.part(from, length, report.source));
            report.error_at(place, &at.path, Code::InvalidSelector, fault.what).instead =
                match (fault.selector, fault.advice) {
                    (Some(selector), _) => Some(format!("{}: {selector}", at.key())),
                    (None, advice) => advice,
                };
            None
        }
    }
}

fn unit_at(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<TimeUnit> {
    let at = fields.get("unit")?;
    at.choice(report, &[("s", TimeUnit::Seconds), ("ms", TimeUnit::Milliseconds), ("us", TimeUnit::Microseconds)])
}

fn from_histogram(
    at: &At<'_>,
    indicator: Indicator,
    bound: KeyBound,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<SliSource> {
    let said = unit_at(fields, report);
    match indicator {
        Indicator::Quantile { .. } => {}
        Indicator::Availability => {
            report
                .error(at, Code::InvalidSli, "availability has no threshold, so a histogram cannot tell good from bad")
                .write(form_of(indicator));
            return None;
        }
        Indicator::Freshness { .. } => {
            report
                .error(at, Code::InvalidSli, "feature freshness is an age at a time, not a histogram of events")
                .write("gauge: feature_age_seconds");
            return None;
        }
    }
    let found = histogram_selector(at, report)?;
    let name = selector::metric_of(&found);
    let unit = metric_unit(at, TimeUnit::of_metric(name), said, report)?;
    let threshold = convert(bound?, indicator.unit()?, unit);
    let histogram = found.to_string();
    let [waiting, through] = ["waiting", "through"].map(|key| fields.get(key));
    let Some(waiting) = waiting else {
        return beside_waiting(through.as_ref(), report)
            .then_some(SliSource::Histogram { selector: histogram, threshold });
    };
    Some(SliSource::Queue {
        histogram,
        threshold,
        bound_s: convert(bound?, indicator.unit()?, TimeUnit::Seconds),
        waiting: read_selector(&waiting, report)?.to_string(),
        through: match through {
            Some(at) => Some(read_selector(&at, report)?.to_string()),
            None => None,
        },
    })
}

/// `through` alone says nothing: who was let in matters while somebody waits.
pub(crate) fn beside_waiting(through: Option<&At<'_>>, report: &mut Report<'_>) -> bool {
    if let Some(at) = through {
        let what = "`through` says who was let in of those who wait, and there is no `waiting`";
        report.error(at, Code::InvalidSli, what).write("waiting: the gauge of those who wait");
    }
    through.is_none()
}

/// Reads the selector of a histogram: its base name, and no `le`.
pub(crate) fn histogram_selector(
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<promql_parser::parser::VectorSelector> {
    let found = read_selector(at, report)?;
    let name = selector::metric_of(&found);
    let has_le = !found.matchers.find_matchers("le").is_empty();
    if let Some(base) = name.strip_suffix("_bucket").or(name.strip_suffix("_count")).or(name.strip_suffix("_sum")) {
        let mut plain = found.clone();
        selector::name_metric(&mut plain, base);
        plain.matchers.matchers.retain(|matcher| matcher.name != "le");
        report
            .error(at, Code::InvalidSli, "a histogram is named by its base name, without _bucket, _count or _sum")
            .write(format!("histogram: {plain}"));
        return None;
    }
    if has_le {
        report.error(at, Code::InvalidSli, "the bucket is chosen by the threshold in the SLO's key: leave `le` out");
        return None;
    }
    Some(found)
}

/// Reads a query of somebody else's in which `[slice]` stands where the range goes.
pub(crate) fn read_query(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    match selector::gauge(&text.replace("[slice]", "[30s]")) {
        Ok(_) => Some(text.to_string()),
        Err(fault) => {
            let place = fault.part.map_or(at.node.place, |(from, length)| at.part(from, length, report.source));
            report.error_at(place, &at.path, Code::InvalidSelector, fault.what).instead = fault.advice;
            None
        }
    }
}

/// The unit of a metric: what `unit:` beside it says, or what its name shows.
pub(crate) fn unit(
    at: &At<'_>,
    named: Option<TimeUnit>,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<TimeUnit> {
    let said = unit_at(fields, report);
    metric_unit(at, named, said, report)
}

/// Reads which values of a gauge are no values: `frozen_after`, `sentinel_over` and `sentinel_under`.
pub(crate) fn trust(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Trust {
    let frozen_after = fields.get("frozen_after").and_then(|at| at.whole(report, 2..=120));
    let sentinel_over = fields.get("sentinel_over").and_then(|at| at.number(report));
    let under_at = fields.get("sentinel_under");
    let sentinel_under = under_at.as_ref().and_then(|at| at.number(report));
    if let (Some(at), Some(under), Some(over)) = (&under_at, sentinel_under, sentinel_over)
        && under >= over
    {
        let what = format!("every value is under {under} or over {over}: nothing would ever be known");
        report.error(at, Code::InvalidValue, what).write("sentinel_under below sentinel_over");
    }
    let frozen_after = frozen_after.and_then(|slices| u32::try_from(slices).ok());
    Trust { frozen_after, sentinel_over, sentinel_under }
}

/// The unit of a metric: what its name shows, or what the user says.
fn metric_unit(
    at: &At<'_>,
    named: Option<TimeUnit>,
    said: Option<TimeUnit>,
    report: &mut Report<'_>,
) -> Option<TimeUnit> {
    if said.is_none() && named.is_none() {
        report
            .error(
                at,
                Code::InvalidSli,
                "the unit of time is not known: the metric name does not end in _seconds, _milliseconds, _ms or _us",
            )
            .write("unit: s (or ms, us) beside it");
    }
    said.or(named)
}

pub(crate) fn convert(bound: f64, from: TimeUnit, to: TimeUnit) -> f64 {
    if from == to {
        return bound;
    }
    let converted = bound * to.per_second() / from.per_second();
    // 800 ms are 0.8 s, not 0.8000000000000001 s: the bound is compared with the text of `le`.
    let digits = 12 - converted.abs().max(1e-9).log10().ceil() as i32;
    let scale = 10f64.powi(digits.clamp(0, 15));
    (converted * scale).round() / scale
}

fn from_gauge(
    at: &At<'_>,
    indicator: Indicator,
    bound: KeyBound,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<SliSource> {
    let said = unit_at(fields, report);
    let expr = read_gauge(at, report);
    let bound = match indicator {
        Indicator::Availability => min_or_max(fields, report),
        _ => {
            let expr = expr.as_ref()?;
            let unit = metric_unit(at, TimeUnit::of_expr(expr), said, report)?;
            Some(Bound::Max(convert(bound?, indicator.unit()?, unit)))
        }
    };
    let trust = trust(fields, report);
    Some(SliSource::Gauge { expr: expr?.to_string(), bound: bound?, trust })
}

/// Reads a gauge expression, `at` pointing at its text.
pub(crate) fn read_gauge(at: &At<'_>, report: &mut Report<'_>) -> Option<promql_parser::parser::Expr> {
    let text = at.text(report)?;
    match selector::gauge(text) {
        Ok(expr) => {
            if selector::drops_series(&expr) {
                report
                    .warn(at, Code::InvalidSli, "this comparison drops the series that fail it, which reads as no data")
                    .write("the value itself, with the bound in `max` or `min`; or `> bool`");
            }
            Some(expr)
        }
        Err(fault) => {
            let place = fault.part.map_or(at.node.place, |(from, length)| at.part(from, length, report.source));
            report.error_at(place, &at.path, Code::InvalidSelector, fault.what).instead = fault.advice;
            None
        }
    }
}

/// The bound of a gauge: exactly one of `max` and `min`.
pub(crate) fn min_or_max(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Bound> {
    let (max, min) = (fields.get("max"), fields.get("min"));
    match (max, min) {
        (Some(max), None) => max.number(report).map(Bound::Max),
        (None, Some(min)) => min.number(report).map(Bound::Min),
        (None, None) => {
            report
                .error(&fields.at, Code::MissingKey, "which values are bad? `max` or `min` is missing")
                .write("min: 1 (bad when under it) or max: 1 (bad when over it)");
            None
        }
        (Some(_), Some(min)) => {
            report.error(&min, Code::InvalidSli, "`max` and `min` are both given").write("one of them");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_convert_without_binary_dust() {
        use TimeUnit::{Microseconds, Milliseconds, Seconds};
        assert_eq!(convert(800.0, Milliseconds, Seconds), 0.8);
        assert_eq!(convert(1100.0, Milliseconds, Seconds), 1.1);
        assert_eq!(convert(2.3, Seconds, Milliseconds), 2300.0);
        assert_eq!(convert(10.0, Seconds, Seconds), 10.0);
        assert_eq!(convert(7.0, Milliseconds, Microseconds), 7000.0);
        assert_eq!(convert(0.15, Milliseconds, Seconds), 0.00015);
        assert_eq!(convert(f64::MIN_POSITIVE, Milliseconds, Seconds), 0.0);
    }
}
