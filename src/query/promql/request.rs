//! The text of what the daemon asks: selectors over a window, increments that the server sums, counts.
//!
//! Selectors come in as they were printed from their trees (`selector`), so what is added here stands around them.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Labels;
use crate::query::samples::{PROCESS_START, UP};
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

/// What the server is to sum increments of.
#[derive(Debug, Clone, Copy)]
pub struct Summed<'a> {
    /// The selector of the counters.
    pub selector: &'a str,
    /// The selector of all events of the same targets.
    pub all: &'a str,
    /// Labels that name a scraped target.
    pub targets: &'a [String],
    /// Labels of the sums.
    pub keep: &'a [String],
    /// Of buckets, the spellings of each bound: an exporter may begin to write `1.0` for `1`, and counts on.
    pub spelled: &'a [Vec<String>],
    /// Length of a slice, seconds.
    pub slice_s: i64,
}

impl Summed<'_> {
    /// Increments over one slice, summed by the server without extrapolation: rises, and for what fell or was born the value
    /// itself, if something of its target was there before.
    ///
    /// # Errors
    /// A selector of buckets that cannot be narrowed to one bound.
    pub fn increments(&self) -> Result<String, String> {
        let Summed { selector, spelled, slice_s, .. } = self;
        if spelled.is_empty() {
            let before = format!("{selector} offset {slice_s}s");
            return Ok(self.sum(self.keep, selector, &before));
        }
        let keep: Vec<String> = self.keep.iter().filter(|name| *name != "le").cloned().collect();
        let mut base = Selector::parse(selector)?;
        base.matchers.retain(|matcher| matcher.name != "le");
        let bound = |spelled: &Vec<String>| {
            // However a bound is spelled, it is one counter; of two spellings one has ended, and is not above the other.
            let bucket = base.clone().with_values("le", spelled)?.to_promql()?;
            let now = format!("max without (le) ({bucket})");
            let before = format!("max without (le) ({bucket} offset {slice_s}s)");
            let le = spelled.first().map_or("", String::as_str);
            Ok(format!("label_replace({}, \"le\", {le:?}, \"\", \"\")", self.sum(&keep, &now, &before)))
        };
        Ok(spelled.iter().map(bound).collect::<Result<Vec<_>, String>>()?.join(" or "))
    }

    fn sum(&self, keep: &[String], now: &str, before: &str) -> String {
        let Summed { all, targets, slice_s, .. } = self;
        let (keep, targets) = (super::names(keep), super::names(targets));
        format!(
            "sum by ({keep}) ((({now} - {before}) >= 0) or ({now} < {before}) or ({now} and on ({targets}) ({all} offset {slice_s}s)))"
        )
    }
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

/// What the series of a selector count, summed.
pub fn sum(expr: &str, keep: &[String]) -> String {
    let by = if keep.is_empty() { String::new() } else { format!(" by ({})", super::names(keep)) };
    format!("sum{by} ({expr})")
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

    #[test]
    fn what_is_born_is_news_only_where_all_events_of_its_target_were_there_before() {
        let [keep, targets] = [["service"], ["pod"]].map(|names| names.map(str::to_owned));
        let summed = Summed {
            selector: "bad_total",
            all: "all_total",
            targets: &targets,
            keep: &keep,
            spelled: &[],
            slice_s: 30,
        };
        assert_eq!(
            summed.increments().as_deref(),
            Ok("sum by (service) (((bad_total - bad_total offset 30s) >= 0) or (bad_total < bad_total offset 30s) or \
                (bad_total and on (pod) (all_total offset 30s)))")
        );
    }

    #[test]
    fn a_bound_is_one_counter_however_it_is_spelled() {
        let [keep, targets] = [["le", "service"], ["job", "instance"]].map(|names| names.map(str::to_owned));
        let spelled = [vec!["1".to_owned(), "1.0".to_owned()], vec!["2.5".to_owned()]];
        let selector = r#"d_bucket{le=~"1|1\\.0|2\\.5",service="a"}"#;
        let summed =
            Summed { selector, all: "d_count", targets: &targets, keep: &keep, spelled: &spelled, slice_s: 30 };
        let text = summed.increments().expect("a selector");
        assert!(text.contains(r#"max without (le) (d_bucket{le=~"1|1\\.0",service="a"} offset 30s)"#), "{text}");
        assert!(text.contains(r#"max without (le) (d_bucket{le="2.5",service="a"})"#), "{text}");
        assert!(
            text.starts_with("label_replace(sum by (service) (") && text.ends_with(r#", "le", "2.5", "", "")"#),
            "{text}"
        );
        assert!(promql_parser::parser::parse(&text).is_ok(), "{text}");
    }
}
