//! The text of what the daemon asks: selectors over a window, increments that the server sums, counts.
//!
//! Selectors come in as they were printed from their trees (`selector`), so what is added here stands around them.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Labels;
use crate::query::increment::{PROCESS_START, UP};
use crate::query::selector::Selector;

/// Stands in foreign queries where the range goes.
pub const SLICE: &str = "[slice]";

/// Shortest range of a foreign query, seconds: two scrapes of a minute, and room for one that is late. A shorter one would
/// find one sample, and no rate: from 3.0 on two minutes hold exactly two.
pub const FOREIGN_RANGE_MIN_S: i64 = 150;

/// The range of foreign queries, seconds.
pub fn foreign_range_s(resolution_s: i64) -> i64 {
    FOREIGN_RANGE_MIN_S.max(4 * resolution_s)
}

/// `expr` with a range for every placeholder; what stands in quotes stays.
pub fn over_range(expr: &str, range_s: i64) -> String {
    let mut out = String::with_capacity(expr.len());
    let mut quote = None;
    let mut rest = expr;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (quote, c) {
            (None, '[') if rest.starts_with(SLICE) => {
                out += &format!("[{range_s}s]");
                rest = &rest[SLICE.len()..];
                continue;
            }
            (None, '"' | '\'' | '`') => quote = Some(c),
            (Some('"' | '\''), '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        out += &rest[..taken];
        rest = &rest[taken..];
    }
    out
}

/// The raw samples of the last `window_s` seconds, as an instant query.
pub fn raw(selector: &str, window_s: i64) -> String {
    format!("{selector}[{window_s}s]")
}

/// Most values of one label in a request for witnesses.
const WITNESS_VALUES_MAX: usize = 200;
/// Longest selector of witnesses, bytes.
const WITNESS_BYTES_MAX: usize = 8192;

/// Which series of `metric` belong to targets with these labels, and perhaps to some others: the values of each label
/// are alternatives, and a label with too many of them is left out.
fn witness(metric: &str, targets: &BTreeSet<Labels>) -> Option<Selector> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in targets.iter().flat_map(Labels::iter) {
        values.entry(name).or_default().insert(value);
    }
    values.retain(|_, values| values.len() <= WITNESS_VALUES_MAX && !values.contains(""));
    let with = |selector: Selector, (name, values): (&&str, &BTreeSet<&str>)| {
        let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        match selector.clone().with_values(name, &values) {
            Ok(narrower) if narrower.to_string().len() <= WITNESS_BYTES_MAX => narrower,
            _ => selector,
        }
    };
    let all = Selector { metric: metric.into(), matchers: Vec::new() };
    (!targets.is_empty()).then(|| values.iter().fold(all, with))
}

/// The series that say whether these targets were scraped and when their processes began, as selectors.
pub fn witnesses(targets: &BTreeSet<Labels>) -> Vec<Selector> {
    [UP, PROCESS_START].into_iter().filter_map(|metric| witness(metric, targets)).collect()
}

/// The same over the last `window_s` seconds, in one instant query.
pub fn raw_witnesses(targets: &BTreeSet<Labels>, window_s: i64) -> Option<String> {
    let text = witness(UP, targets)?.to_promql().ok()?;
    let matchers = text.strip_prefix(UP).unwrap_or("").trim_start_matches('{').trim_end_matches('}');
    let comma = if matchers.is_empty() { "" } else { "," };
    Some(format!("{{__name__=~\"{UP}|{PROCESS_START}\"{comma}{matchers}}}[{window_s}s]"))
}

/// Increments over one slice of `slice_s` seconds, summed by the server without extrapolation: rises, and for what fell
/// or was born the value itself, if its target was there before.
pub fn increments(selector: &str, keep: &[String], slice_s: i64) -> String {
    let (m, keep) = (selector, super::names(keep));
    format!(
        "sum by ({keep}) ((({m} - {m} offset {slice_s}s) >= 0) or ({m} and on (job, instance) ({m} offset {slice_s}s)))"
    )
}

/// Increases over `window_ms` milliseconds, summed: extrapolated by the server, so only for history and looks back.
pub fn increases(selector: &str, keep: &[String], window_ms: i64) -> String {
    let window = if window_ms % 1000 == 0 { format!("{}s", window_ms / 1000) } else { format!("{window_ms}ms") };
    format!("sum by ({}) (increase({selector}[{window}]))", super::names(keep))
}

/// What only MetricsQL answers.
pub const KNOWN_TO_METRICSQL: &str = "now()";

/// Asked at a whole minute: 2 where windows are closed at both ends (Prometheus up to 2.x), 1 where they are left-open.
pub const POINTS_OF_A_MINUTE: &str = "count_over_time(vector(1)[1m:1m])";

/// How many series there are now, by the labels `keep`.
pub fn count(expr: &str, keep: &[String]) -> String {
    let by = if keep.is_empty() { String::new() } else { format!(" by ({})", super::names(keep)) };
    format!("count{by} ({expr})")
}

/// The events of native histograms, all or those up to a bound.
pub fn native(histogram: &str, le: Option<f64>) -> String {
    match le {
        None => format!("histogram_count({histogram})"),
        // Nothing of an empty one is under it: its share is no number.
        Some(le) => format!(
            "(histogram_fraction(-Inf, {le}, {histogram}) * histogram_count({histogram})) >= 0 or histogram_count({histogram}) == 0"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_query_gets_a_range_of_two_scrapes_wherever_it_leaves_room_for_one() {
        assert_eq!(over_range(r#"sum(rate(m{a="[slice]"}[slice]))"#, 120), r#"sum(rate(m{a="[slice]"}[120s]))"#);
        assert_eq!(over_range(r#"x{a="\"[slice]"}[slice]"#, 240), r#"x{a="\"[slice]"}[240s]"#);
        assert_eq!((foreign_range_s(30), foreign_range_s(60)), (150, 240));
    }
}
