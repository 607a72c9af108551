//! What Sloth or Pyrra recorded of an SLO, found by the names and labels of the file it came from.
//!
//! One query an SLO: every series that carries the tool's label for it. What is not there is `None`, and 0/0 as a rule
//! recorded it is NaN; neither is ever read as 0.

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::VectorSelector;
use serde::Serialize;

use crate::prometheus::{Client, Fault};
use crate::query::plan::parse_le;
use crate::query::promql::{Counts, Selectors};
use crate::query::{RawSeries, Selector};
use crate::spec::{OriginFormat, SliSource, SloSpec, TimeSpan};
use crate::telemetry::compat::{self, window_name};

/// Whose rules recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Sloth.
    Sloth,
    /// Pyrra.
    Pyrra,
}

impl Tool {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Tool::Sloth => "Sloth",
            Tool::Pyrra => "Pyrra",
        }
    }
}

/// What a tool calls an SLO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The tool.
    pub tool: Tool,
    /// Its `sloth_id`, or its `slo` of Pyrra.
    pub name: String,
    /// The labels of one series, where it is grouped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
}

/// What was recorded under one name: each series with its newest value.
pub type Rows = Vec<(RawSeries, f64)>;

impl Foreign {
    /// The name of `spec` over there; `None` where it has none in Prometheus.
    pub fn of(spec: &SloSpec) -> Option<Self> {
        let origin = spec.origin.as_ref()?;
        let (tool, name) = match origin.format {
            OriginFormat::Pyrra => (Tool::Pyrra, origin.slo.clone()),
            OriginFormat::Sloth | OriginFormat::SlothResource | OriginFormat::Openslo => {
                let service = origin.service.as_deref().unwrap_or(&spec.slo.service);
                (Tool::Sloth, format!("{service}-{}", origin.slo))
            }
            OriginFormat::SloGenerator => return None,
        };
        Some(Foreign { tool, name, labels: Vec::new() })
    }

    /// Everything recorded under this name.
    fn everything(&self) -> Result<String, Fault> {
        let (names, label) = match self.tool {
            Tool::Sloth => ("slo:.+|sloth_slo_info", "sloth_id"),
            Tool::Pyrra => (".+:(?:increase|count|sum|burnrate)[0-9].*", "slo"),
        };
        let pattern = regex::Regex::new(&format!("^(?:{names})$")).expect("one of two constants");
        let of =
            [Matcher::new(MatchOp::Re(pattern), "__name__", names), Matcher::new(MatchOp::Equal, label, &self.name)];
        Ok(VectorSelector::new(None, Matchers::new(of.to_vec())).to_string())
    }

    /// One recorded series of Sloth's.
    pub fn sloth_series(&self, name: &str) -> String {
        let mut of = vec![Matcher::new(MatchOp::Equal, "sloth_id", &self.name)];
        of.extend(self.labels.iter().map(|(name, value)| Matcher::new(MatchOp::Equal, name, value)));
        Selector { metric: name.to_owned(), matchers: of }.to_string()
    }
}

/// What there is at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// The window of its budget, seconds, where it differs from that of the SLO here.
    pub other_window_s: Option<i64>,
    /// Error ratio over that window; NaN where 0/0 was recorded.
    pub ratio: Option<f64>,
    /// Share of the budget that is left.
    pub left: Option<f64>,
    /// Its objective as a ratio, where it records one.
    pub objective: Option<f64>,
    /// Error ratios of shorter windows, (seconds, ratio), shortest first.
    pub shorter: Vec<(i64, f64)>,
    /// Sums of five minutes added up, instead of one sum of the window.
    pub by_five_minutes: bool,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

/// Asks for everything under a name at `at_s`.
///
/// # Errors
/// When the query is not answered.
pub async fn rows(client: &Client, foreign: &Foreign, at_s: i64) -> Result<Rows, Fault> {
    let rows = client.query(&foreign.everything()?, at_s).await?.series;
    let newest = |row: RawSeries| row.samples.iter().last().map(|(_, value)| value).map(|value| (row, value));
    Ok(rows.into_iter().filter_map(newest).collect())
}

/// What they say of an SLO, or of the one series of it that `foreign` names.
pub fn read(spec: &SloSpec, foreign: &Foreign, rows: &Rows) -> Recorded {
    // What is recorded of the SLO as a whole, such as its objective, has no labels of a series.
    let fits = |row: &RawSeries| foreign.labels.iter().all(|(name, value)| ["", value].contains(&row.label(name)));
    let rows: Vec<(&RawSeries, f64)> =
        rows.iter().filter(|(row, _)| fits(row)).map(|(row, value)| (row, *value)).collect();
    let mut found = match foreign.tool {
        Tool::Sloth => sloth(spec, &rows),
        Tool::Pyrra => pyrra(spec, &rows),
    };
    match found.ratio {
        Some(ratio) if ratio > 1.0 => {
            found.remarks.push("their error ratio is over 1: are the error and the total query swapped?".into());
        }
        Some(ratio) if ratio < 0.0 => {
            found.remarks.push("their error ratio is negative: its errors are taken off the wrong way round".into());
        }
        _ => {}
    }
    found
}

/// Whether the error ratios that are recorded are told apart by labels of `by`.
pub fn is_grouped(rows: &Rows, by: &[String]) -> bool {
    let is_ratio = |row: &RawSeries| {
        let name = row.label("__name__");
        name.starts_with(compat::SLOTH_RATIO)
            || name.contains(":burnrate")
            || name.contains(":increase")
            || name.contains(":sum")
    };
    let every = by.iter().any(|name| name == crate::engine::EVERY_LABEL);
    rows.iter().any(|(row, _)| is_ratio(row) && (every || by.iter().any(|name| !row.label(name).is_empty())))
}

/// The one value under `name`.
fn one(rows: &[(&RawSeries, f64)], name: &str, remarks: &mut Vec<String>) -> Option<f64> {
    let mut of = rows.iter().filter(|(row, _)| row.label("__name__") == name).map(|(_, value)| *value);
    let first = of.next()?;
    let more = of.count();
    if more > 0 {
        remarks.push(format!("{} series are called {name}: which one is meant, nobody can say", more + 1));
        return None;
    }
    Some(first)
}

fn sloth(spec: &SloSpec, rows: &[(&RawSeries, f64)]) -> Recorded {
    let mut found = Recorded::default();
    if rows.iter().any(|(row, _)| row.label("sloth_mode") == "slowburn") {
        found.remarks.push("these series are Slowburn's own (`compat`): there is nothing of Sloth to compare".into());
        return found;
    }
    let mut remarks = Vec::new();
    let mut of = |name: &str| one(rows, name, &mut remarks);
    let own_s = spec.slo.window_s;
    let days = of(compat::SLOTH_PERIOD).filter(|days| days.is_finite() && *days > 0.0 && *days < 4000.0);
    let period_s = days.map_or(own_s, |days| (days * 86_400.0).round() as i64);
    found.other_window_s = (period_s != own_s).then_some(period_s);
    found.ratio = of(&format!("{}{}", compat::SLOTH_RATIO, window_name(period_s)));
    found.left = of(compat::SLOTH_REMAINING);
    found.objective = of(compat::SLOTH_OBJECTIVE);
    let mut names: Vec<&str> = rows.iter().map(|(row, _)| row.label("__name__")).collect();
    names.dedup();
    for name in names {
        let window_s = name.strip_prefix(compat::SLOTH_RATIO).and_then(|text| TimeSpan::parse(text).ok());
        if let Some(window_s) = window_s.map(TimeSpan::seconds).filter(|window_s| *window_s < period_s) {
            found.shorter.extend(of(name).map(|ratio| (window_s, ratio)));
        }
    }
    found.shorter.sort_by_key(|(window_s, _)| *window_s);
    found.remarks.extend(remarks);
    found
}

/// Pyrra records sums by the labels its two selectors ask for; the label `slo` says of which SLO.
fn pyrra(spec: &SloSpec, rows: &[(&RawSeries, f64)]) -> Recorded {
    let mut found = Recorded::default();
    let window_s = spec.slo.window_s;
    let (whole, other_s) = match recorded_windows(rows).as_slice() {
        [] => (None, None),
        windows if windows.contains(&window_s) => (Some(window_s), None),
        windows => (windows.last().copied(), windows.last().copied()),
    };
    found.other_window_s = other_s;
    found.by_five_minutes = rows.iter().any(|(row, _)| row.label("__name__").ends_with(":increase5m"));
    if let Some(window_s) = whole {
        let window = window_name(window_s);
        match sums(spec, rows, &window, &mut found.remarks) {
            Some((bad, total)) => found.ratio = Some(bad / total),
            None => found.remarks.push(format!("its sums over {window} are there, but not of the events of this SLO")),
        }
    }
    found.left = found.ratio.map(|ratio| 1.0 - ratio / spec.slo.budget());
    let mut burns: Vec<(i64, f64)> = Vec::new();
    for (row, value) in rows {
        let window = row.label("__name__").rsplit_once(":burnrate").and_then(|(_, text)| TimeSpan::parse(text).ok());
        burns.extend(window.map(|window| (window.seconds(), *value)));
    }
    burns.sort_by_key(|(window_s, _)| *window_s);
    // With a grouping there are several of each, which no sum makes one of.
    let alone = |window_s: i64| burns.iter().filter(|(other, _)| *other == window_s).count() == 1;
    found.shorter = burns.iter().copied().filter(|(window_s, _)| alone(*window_s)).collect();
    found
}

/// Windows of sums, seconds, ascending; those of five minutes are parts of the longer ones.
fn recorded_windows(rows: &[(&RawSeries, f64)]) -> Vec<i64> {
    let window = |name: &str| {
        let (_, rest) = name.rsplit_once(':')?;
        let text = ["increase", "count", "sum"].iter().find_map(|kind| rest.strip_prefix(kind))?;
        TimeSpan::parse(text).ok().map(TimeSpan::seconds).filter(|window_s| *window_s > 300)
    };
    let mut windows: Vec<i64> = rows.iter().filter_map(|(row, _)| window(row.label("__name__"))).collect();
    windows.sort_unstable();
    windows.dedup();
    windows
}

/// Bad events and all events, as sums of what was recorded over `window`.
fn sums(spec: &SloSpec, rows: &[(&RawSeries, f64)], window: &str, remarks: &mut Vec<String>) -> Option<(f64, f64)> {
    let source = spec.source.as_ref().ok()?;
    let add = |name: &str, fits: &dyn Fn(&RawSeries) -> bool| {
        let of = rows.iter().filter(|(row, _)| row.label("__name__") == name && fits(row));
        of.map(|(_, value)| *value).fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
    };
    let Ok(Some(Selectors { total, part, counts })) = Selectors::of(source) else {
        return gauge_sums(source, rows, window);
    };
    let (total, part) = (Selector::parse(&total).ok()?, Selector::parse(&part).ok()?);
    let [of_total, of_part] = [&total, &part].map(|selector| format!("{}:increase{window}", stem(&selector.metric)));
    // A label that was summed away says nothing; one that is there must be that of the selector.
    let of_this = |row: &RawSeries| {
        let fixed = total.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
        fixed.into_iter().all(|matcher| ["", matcher.value.as_str()].contains(&row.label(&matcher.name)))
    };
    let histogram = part.metric.ends_with("_bucket");
    let all = add(&of_total, &|row| of_this(row) && (!histogram || row.label("le").is_empty()))?;
    let more: Vec<&Matcher> =
        part.matchers.iter().filter(|own| !total.matchers.contains(own) && own.name != "le").collect();
    let bound = part.matchers.iter().find(|own| own.name == "le");
    let bounds = |row: &RawSeries| {
        bound.is_none_or(|own| {
            let le = row.label("le");
            own.is_match(le) || parse_le(le).is_some_and(|le| own.is_match(&format!("{le}")))
        })
    };
    let counted =
        add(&of_part, &|row| of_this(row) && bounds(row) && more.iter().all(|own| own.is_match(row.label(&own.name))));
    if counted.is_none() && counts != Counts::Good {
        remarks.push("no errors among its sums: Pyrra reads that as none, and so it is read here".into());
    }
    let (bad, total) = match counts {
        Counts::Bad => (counted.unwrap_or(0.0), all),
        Counts::Good => (all - counted?, all),
        Counts::BadBeside => (counted.unwrap_or(0.0), all + counted.unwrap_or(0.0)),
    };
    Some((bad, total))
}

/// Of a gauge of 0 and 1 Pyrra records how many samples there were, and their sum.
fn gauge_sums(source: &SliSource, rows: &[(&RawSeries, f64)], window: &str) -> Option<(f64, f64)> {
    let SliSource::Query { total: None, .. } = source else { return None };
    let of = |kind: &str| {
        let end = format!(":{kind}{window}");
        let values: Vec<f64> =
            rows.iter().filter(|(row, _)| row.label("__name__").ends_with(&end)).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>())
    };
    let (count, sum) = (of("count")?, of("sum")?);
    Some((count - sum, count))
}

/// How Pyrra begins the name of what it records of a metric.
fn stem(metric: &str) -> &str {
    ["_total", "_count", "_bucket"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_by_its_labels_and_keeps_what_is_recorded_of_the_whole() {
        let rows = rows(&[
            ("slo:objective:ratio", &[], 0.999),
            ("slo:sli_error:ratio_rate30d", &[("cluster", "a")], 0.25),
            ("slo:sli_error:ratio_rate30d", &[("cluster", "b")], 0.5),
            ("slo:sli_error:ratio_rate5m", &[("cluster", "b")], 1.5),
        ]);
        let of = |cluster: &str| {
            let labels = vec![("cluster".to_owned(), cluster.to_owned())];
            read(&ratio(), &Foreign { tool: Tool::Sloth, name: "x".into(), labels }, &rows)
        };
        assert_eq!((of("a").ratio, of("b").ratio, of("b").objective), (Some(0.25), Some(0.5), Some(0.999)));
        assert!(is_grouped(&rows, &["cluster".into()]) && is_grouped(&rows, &["*".into()]));
        assert!(!is_grouped(&rows, &["zone".into()]));
        let over = of("b").shorter.first().map(|(_, ratio)| *ratio);
        assert_eq!(over, Some(1.5));
    }

    use crate::query::Samples;

    /// Name, labels, value.
    type Written<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

    fn rows(text: &[Written<'_>]) -> Vec<(RawSeries, f64)> {
        text.iter()
            .map(|(name, labels, value)| {
                let all = labels.iter().copied().chain([("__name__", *name)]);
                let mut labels: Vec<(String, String)> =
                    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                labels.sort();
                (RawSeries { labels: labels.into(), samples: Samples::new(vec![(0, *value)]) }, *value)
            })
            .collect()
    }

    fn of(read: fn(&SloSpec, &[(&RawSeries, f64)]) -> Recorded, spec: &SloSpec, text: &[Written<'_>]) -> Recorded {
        let rows = rows(text);
        read(spec, &rows.iter().map(|(row, value)| (row, *value)).collect::<Vec<_>>())
    }

    fn spec(sli: &str) -> SloSpec {
        let text = format!("name: pay\nowner: t\nslo: {{availability: {{objective: 99.9, sli: {sli}}}}}\n");
        crate::spec::load_text("pay.yaml", &text).model.slos.remove(0)
    }

    fn ratio() -> SloSpec {
        spec("{total: 'http_requests_total{job=\"a\"}', bad: 'http_requests_total{job=\"a\",code=~\"5..\"}'}")
    }

    #[test]
    fn the_selector_is_parsed_promql() {
        let foreign = Foreign { tool: Tool::Sloth, name: "a\"b".into(), labels: Vec::new() };
        let text = foreign.everything().expect("printable");
        assert!(promql_parser::parser::parse(&text).is_ok(), "{text}");
        assert!(text.contains(r#"sloth_id="a\"b""#), "{text}");
        let text = Foreign { tool: Tool::Pyrra, ..foreign }.everything().expect("printable");
        assert!(promql_parser::parser::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn sloths_window_is_the_one_it_names() {
        let found = of(
            sloth,
            &ratio(),
            &[
                ("slo:time_period:days", &[], 28.0),
                ("slo:sli_error:ratio_rate4w", &[("sloth_window", "4w")], 0.002),
                ("slo:sli_error:ratio_rate5m", &[("sloth_window", "5m")], 0.5),
                ("slo:period_error_budget_remaining:ratio", &[], -1.0),
            ],
        );
        assert_eq!((found.other_window_s, found.ratio, found.left), (Some(28 * 86_400), Some(0.002), Some(-1.0)));
        assert_eq!(found.shorter, [(300, 0.5)]);
    }

    #[test]
    fn several_series_of_one_name_are_no_number() {
        let twice: &[Written<'_>] = &[
            ("slo:sli_error:ratio_rate30d", &[("replica", "a")], 0.1),
            ("slo:sli_error:ratio_rate30d", &[("replica", "b")], 0.2),
        ];
        let found = of(sloth, &ratio(), twice);
        assert_eq!(found.ratio, None);
        assert!(found.remarks[0].starts_with("2 series"), "{:?}", found.remarks);
    }

    #[test]
    fn what_slowburn_exposes_itself_is_not_compared() {
        let found = of(
            sloth,
            &ratio(),
            &[("sloth_slo_info", &[("sloth_mode", "slowburn")], 1.0), ("slo:sli_error:ratio_rate30d", &[], 0.1)],
        );
        assert_eq!(found.ratio, None);
    }

    #[test]
    fn pyrras_sums_are_told_by_their_labels() {
        let found = of(
            pyrra,
            &ratio(),
            &[
                ("http_requests:increase30d", &[("job", "a"), ("code", "200")], 900.0),
                ("http_requests:increase30d", &[("job", "a"), ("code", "500")], 60.0),
                ("http_requests:increase30d", &[("job", "a"), ("code", "503")], 40.0),
                ("http_requests:increase30d", &[("job", "other"), ("code", "503")], 4e9),
                ("http_requests:burnrate5m", &[("job", "a")], 0.25),
            ],
        );
        assert_eq!((found.ratio, found.shorter.as_slice()), (Some(0.1), &[(300, 0.25)][..]));
        let left = found.left.expect("known");
        assert!((left - (1.0 - 100.0)).abs() < 1e-6, "{left}");
    }

    #[test]
    fn a_latency_of_pyrra_is_count_without_bucket() {
        let spec = spec("{total: 'h_count{job=\"a\"}', good: 'h_bucket{job=\"a\",le=\"0.2\"}'}");
        let found = of(
            pyrra,
            &spec,
            &[("h:increase30d", &[("job", "a")], 200.0), ("h:increase30d", &[("job", "a"), ("le", "0.2")], 150.0)],
        );
        assert_eq!(found.ratio, Some(0.25));
        let without = of(pyrra, &spec, &[("h:increase30d", &[("job", "a")], 200.0)]);
        assert_eq!(without.ratio, None, "no good ones known is not all bad");
    }
}
