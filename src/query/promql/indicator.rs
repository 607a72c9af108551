//! An SLI as PromQL that a server can evaluate by itself, over a window of the caller's choosing.
//!
//! Slowburn never asks so: `rate` and `increase` extrapolate, miss the first events of a new series, and see nothing of
//! what happened in a hole of the scrapes. Recording rules and comparisons with them need it all the same.

use promql_parser::parser::value::ValueType;

use crate::spec::SliSource;
use crate::spec::model::{Bound, Part};

use crate::query::bucket::le_spellings;
use crate::query::selector::{Selector, bounded};

/// An SLI, asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Bad events and all events; no bad ones where there is no series of them.
    Counts {
        /// Bad ones.
        bad: String,
        /// All.
        total: String,
    },
    /// A share of bad events that somebody else's query makes.
    Ratio(String),
    /// 1 while it is bad, 0 while it is good, nothing while it is not known.
    Bad(String),
}

/// The two selectors of an SLI that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    /// All events.
    pub total: String,
    /// A part of them.
    pub part: String,
    /// Which.
    pub counts: Counts,
}

/// What the second selector of an SLI counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Bad events among all.
    Bad,
    /// Good events among all.
    Good,
    /// Bad events that the first one does not hold.
    BadBeside,
}

impl Selectors {
    /// Of an SLI that is counted; `None` of one that is not.
    ///
    /// # Errors
    /// A selector that cannot be read.
    pub fn of(source: &SliSource) -> Result<Option<Self>, String> {
        let plain = |text: &str| Selector::parse(text)?.to_promql();
        Ok(Some(match source {
            SliSource::Ratio { total, part } => {
                let (part, counts) = match part {
                    Part::Bad(bad) => (bad, Counts::Bad),
                    Part::Good(good) => (good, Counts::Good),
                    Part::Beside(bad) => (bad, Counts::BadBeside),
                };
                Selectors { total: plain(total)?, part: plain(part)?, counts }
            }
            SliSource::Counters { .. } => {
                return Err("it adds up several selectors, which one rate of PromQL does not".to_owned());
            }
            SliSource::Histogram { selector, threshold } | SliSource::Queue { histogram: selector, threshold, .. } => {
                let base = Selector::parse(selector)?;
                let count = base.renamed(format!("{}_count", base.metric));
                let bucket = base.renamed(format!("{}_bucket", base.metric));
                let bucket = bucket.with_values("le", &le_spellings(*threshold))?;
                Selectors { total: count.to_promql()?, part: bucket.to_promql()?, counts: Counts::Good }
            }
            SliSource::Gauge { .. } | SliSource::Query { .. } | SliSource::Generations(_) => return Ok(None),
        }))
    }

    /// Bad events and all events as sums by `by`; `each` asks one selector, such as `rate(SELECTOR[5m])`.
    pub fn counts(&self, by: &[String], each: &dyn Fn(&str) -> String) -> (String, String) {
        let sum = |selector: &str| format!("sum{} ({})", grouped(by), each(selector));
        let (total, alone) = (sum(&self.total), sum(&self.part));
        let part = format!("({alone} or 0 * {total})");
        match self.counts {
            Counts::Bad => (part, total),
            Counts::Good => (format!("({total} - {part})"), total),
            Counts::BadBeside => {
                let all = format!("(({total} or 0 * {alone}) + {part})");
                (format!("({alone} or 0 * {total})"), all)
            }
        }
    }
}

/// ` by (a, b)`, or nothing.
fn grouped(by: &[String]) -> String {
    if by.is_empty() { String::new() } else { format!(" by ({})", super::names(by)) }
}

/// `source` over `window` (`5m`), by the labels `by`; `function` is `rate` or `increase`.
///
/// # Errors
/// What cannot be asked so, and why.
pub fn ask(source: &SliSource, by: &[String], function: &str, window: &str) -> Result<Asked, String> {
    if let Some(selectors) = Selectors::of(source)? {
        let (bad, total) = selectors.counts(by, &|selector| format!("{function}({selector}[{window}])"));
        return Ok(Asked::Counts { bad, total });
    }
    match source {
        SliSource::Gauge { expr, bound, trust } => {
            let value = vector(expr)?;
            // A NaN compares as good; it is left out before.
            let known = match (trust.sentinel_over, trust.sentinel_under) {
                (Some(most), None) => format!("(({value}) <= {most})"),
                (Some(most), Some(least)) => format!("((({value}) <= {most}) >= {least})"),
                (None, least) => {
                    format!("(({value}) >= {})", least.map_or("-Inf".to_owned(), |least| least.to_string()))
                }
            };
            let bad = match bound {
                Bound::Max(max) => format!("{known} > bool {max}"),
                Bound::Min(min) => format!("{known} < bool {min}"),
            };
            Ok(Asked::Bad(format!("max{} ({bad})", grouped(by))))
        }
        SliSource::Query { bad, total, .. } => {
            let over = |text: &str| text.replace("[slice]", &format!("[{window}]"));
            Ok(match total {
                Some(total) => Asked::Counts { bad: format!("({})", over(bad)), total: format!("({})", over(total)) },
                None => Asked::Ratio(format!("({})", over(bad))),
            })
        }
        SliSource::Generations(all) => {
            // The first that is there; `or` takes no second one where the first has the labels.
            let mut asked = all.iter().map(|generation| ask(&generation.source, by, function, window));
            let first = asked.next().unwrap_or_else(|| Err("it names no generation of its metric".into()))?;
            asked.try_fold(first, |before, after| either(before, after?))
        }
        SliSource::Ratio { .. }
        | SliSource::Counters { .. }
        | SliSource::Histogram { .. }
        | SliSource::Queue { .. } => {
            unreachable!("counted SLIs were answered above")
        }
    }
}

fn either(a: Asked, b: Asked) -> Result<Asked, String> {
    let or = |a: String, b: String| format!("({a} or {b})");
    match (a, b) {
        (Asked::Counts { bad: a, total: in_a }, Asked::Counts { bad: b, total: in_b }) => {
            Ok(Asked::Counts { bad: or(a, b), total: or(in_a, in_b) })
        }
        (Asked::Ratio(a), Asked::Ratio(b)) => Ok(Asked::Ratio(or(a, b))),
        (Asked::Bad(a), Asked::Bad(b)) => Ok(Asked::Bad(or(a, b))),
        _ => Err("its generations are of different kinds".into()),
    }
}

/// What must be there for the SLI to be known, as an instant vector.
///
/// # Errors
/// An expression that cannot be read.
pub fn presence(source: &SliSource) -> Result<String, String> {
    if let Some(selectors) = Selectors::of(source)? {
        return Ok(selectors.total);
    }
    match source {
        SliSource::Gauge { expr, .. } => vector(expr),
        SliSource::Query { bad, total, .. } => Ok(total.as_ref().unwrap_or(bad).replace("[slice]", "[5m]")),
        SliSource::Generations(all) => {
            let all: Vec<String> = all.iter().map(|one| presence(&one.source)).collect::<Result<_, _>>()?;
            Ok(all.join(" or "))
        }
        SliSource::Ratio { .. }
        | SliSource::Counters { .. }
        | SliSource::Histogram { .. }
        | SliSource::Queue { .. } => {
            unreachable!("counted SLIs were answered above")
        }
    }
}

/// An expression as an instant vector: scalars are wrapped.
fn vector(expr: &str) -> Result<String, String> {
    bounded(expr)?;
    let parsed = promql_parser::parser::parse(expr).map_err(|error| format!("`{expr}` is not PromQL: {error}"))?;
    match parsed.value_type() {
        ValueType::Vector => Ok(expr.trim().to_owned()),
        ValueType::Scalar => Ok(format!("vector({})", expr.trim())),
        _ => Err(format!("`{expr}` gives no single value at a moment")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::{Generation, Trust};

    fn counts(source: &SliSource, by: &[&str]) -> (String, String) {
        let by: Vec<String> = by.iter().map(|name| (*name).to_owned()).collect();
        match ask(source, &by, "rate", "5m").expect("it can be asked") {
            Asked::Counts { bad, total } => (bad, total),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_series_of_bad_events_is_no_bad_events() {
        let source =
            SliSource::Ratio { total: "r{a=\"b\"}".into(), part: Part::Bad("r{a=\"b\",code=~\"5..\"}".into()) };
        let (bad, total) = counts(&source, &["model"]);
        assert_eq!(total, "sum by (model) (rate(r{a=\"b\"}[5m]))");
        assert_eq!(bad, format!("(sum by (model) (rate(r{{a=\"b\",code=~\"5..\"}}[5m])) or 0 * {total})"));
    }

    #[test]
    fn a_bound_is_looked_for_in_both_spellings() {
        let (bad, total) = counts(&SliSource::Histogram { selector: "h{a=\"b\"}".into(), threshold: 1.0 }, &[]);
        assert_eq!(total, "sum (rate(h_count{a=\"b\"}[5m]))");
        assert!(
            bad.starts_with(&format!("({total} - (sum (rate(h_bucket{{a=\"b\",le=~\"1|1\\\\.0\"}}[5m]))")),
            "{bad}"
        );
    }

    #[test]
    fn a_value_that_is_no_number_is_not_good() {
        let gauge = |expr: &str, bound, trust| SliSource::Gauge { expr: expr.into(), bound, trust };
        let asked = |source| ask(&source, &[], "rate", "5m");
        let plain = gauge("max(age)", Bound::Max(60.0), Trust::default());
        assert_eq!(asked(plain), Ok(Asked::Bad("max (((max(age)) >= -Inf) > bool 60)".into())));
        let under = Trust { sentinel_under: Some(0.0), ..Trust::default() };
        let probe = asked(gauge("probe_success", Bound::Min(1.0), under));
        assert_eq!(probe, Ok(Asked::Bad("max (((probe_success) >= 0) < bool 1)".into())));
        let trust = Trust { sentinel_over: Some(1e18), ..Trust::default() };
        let scalar = gauge("time() - 5", Bound::Min(2.5), trust);
        assert_eq!(
            asked(scalar),
            Ok(Asked::Bad("max (((vector(time() - 5)) <= 1000000000000000000) < bool 2.5)".into()))
        );
        assert!(asked(gauge("age[5m]", Bound::Max(1.0), Trust::default())).is_err());
    }

    #[test]
    fn generations_and_foreign_queries_are_asked_as_they_are() {
        let one = |name: &str, total: &str| Generation {
            name: name.into(),
            source: SliSource::Ratio { total: total.into(), part: Part::Good(format!("{total}{{ok=\"1\"}}")) },
        };
        let (_, total) = counts(&SliSource::Generations(vec![one("new", "n"), one("old", "o")]), &[]);
        assert_eq!(total, "(sum (rate(n[5m])) or sum (rate(o[5m])))");
        let query = SliSource::Query { bad: "1 - a[slice] / b[slice]".into(), total: None, why: String::new() };
        assert_eq!(ask(&query, &[], "rate", "1h"), Ok(Asked::Ratio("(1 - a[1h] / b[1h])".into())));
        assert_eq!(
            ask(&SliSource::Generations(vec![]), &[], "rate", "1h").map_err(|why| why.contains("no generation")),
            Err(true)
        );
    }
}
