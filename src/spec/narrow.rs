//! An SLO narrowed to one of its series: every selector of its source gets the labels of that series.
//!
//! For questions about one child of a fan-out. What cannot be parsed again stays as it is. The same walk gives the names
//! under which some exporters write metrics whose names have colons.

use super::model::{Generation, Part, SliSource, SloSpec};
use super::selector;

/// Stands for `[slice]` of a query while it is parsed.
const SLICE: [&str; 3] = ["[slice]", "[7919s]", "[2h11m59s]"];

fn narrowed(text: &str, labels: &[(String, String)]) -> String {
    match selector::gauge(&text.replace(SLICE[0], SLICE[1])) {
        Ok(mut expr) => {
            selector::narrow(&mut expr, labels);
            expr.to_string().replace(SLICE[2], SLICE[0])
        }
        Err(_) => text.to_string(),
    }
}

fn source(of: &SliSource, labels: &[(String, String)]) -> SliSource {
    let on = |text: &String| narrowed(text, labels);
    match of {
        SliSource::Query { bad, total, why } => {
            SliSource::Query { bad: on(bad), total: total.as_ref().map(on), why: why.clone() }
        }
        SliSource::Generations(all) => {
            let one = |one: &Generation| Generation { name: one.name.clone(), source: source(&one.source, labels) };
            SliSource::Generations(all.iter().map(one).collect())
        }
        SliSource::Gauge { .. } | SliSource::Queue { .. } => of.clone(),
        counted => counted.rewritten(&on).unwrap_or_else(|| of.clone()),
    }
}

/// A selector of a metric whose name has colons, with `_` in their place.
fn underscored(text: &str) -> Option<String> {
    // Each poll asks this of each SLO, and a text without a colon has no such name.
    if !text.contains(':') {
        return None;
    }
    let mut found = selector::selector(text).ok()?;
    let metric = selector::metric_of(&found).to_owned();
    if !metric.contains(':') {
        return None;
    }
    selector::name_metric(&mut found, &metric.replace(':', "_"));
    Some(found.to_string())
}

impl SliSource {
    /// The same source under the names that exporters write which take no colons (`vllm_x` for `vllm:x`); `None` where no
    /// name has one.
    pub fn underscored(&self) -> Option<SliSource> {
        let changed = std::cell::Cell::new(false);
        let on = |text: &String| match underscored(text) {
            Some(other) => {
                changed.set(true);
                other
            }
            None => text.clone(),
        };
        self.rewritten(&on).filter(|_| changed.get())
    }

    /// The same source with each selector written as `on` says; `None` of a query, and of several generations.
    fn rewritten(&self, on: &impl Fn(&String) -> String) -> Option<SliSource> {
        Some(match self {
            SliSource::Ratio { total, part } => SliSource::Ratio {
                total: on(total),
                part: match part {
                    Part::Bad(bad) => Part::Bad(on(bad)),
                    Part::Good(good) => Part::Good(on(good)),
                    Part::Beside(bad) => Part::Beside(on(bad)),
                },
            },
            SliSource::Counters { total, part, good } => SliSource::Counters {
                total: total.iter().map(on).collect(),
                part: part.iter().map(on).collect(),
                good: *good,
            },
            SliSource::Histogram { selector, threshold } => {
                SliSource::Histogram { selector: on(selector), threshold: *threshold }
            }
            SliSource::Queue { histogram, threshold, bound_s, waiting, through } => SliSource::Queue {
                histogram: on(histogram),
                threshold: *threshold,
                bound_s: *bound_s,
                waiting: on(waiting),
                through: through.as_ref().map(on),
            },
            SliSource::Gauge { expr, bound, trust } => {
                SliSource::Gauge { expr: on(expr), bound: *bound, trust: *trust }
            }
            SliSource::Query { .. } | SliSource::Generations(_) => return None,
        })
    }
}

impl SloSpec {
    /// The same SLO of the series with these labels alone.
    pub fn narrowed(&self, labels: &[(String, String)]) -> SloSpec {
        let source = self.source.as_ref().map(|of| source(of, labels)).map_err(Clone::clone);
        SloSpec { source, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::load_text;

    #[test]
    fn names_with_colons_have_another_spelling_and_others_have_none() {
        let of = |sli: &str| {
            let text = format!("name: a\nowner: t\nslo: {{availability: {{objective: 99, sli: {sli}}}}}\n");
            let loaded = load_text("a.yaml", &text);
            let source = loaded.model.slos[0].source.clone().expect("a source");
            source.underscored().map(|other| format!("{other:?}"))
        };
        let other = of("{total: 'vllm:ok_total{m=\"a:b\"}', bad: bad_total}").expect("it has a colon");
        assert!(other.contains("vllm_ok_total{m=\\\"a:b\\\"}") && other.contains("\"bad_total\""), "{other}");
        assert_eq!(of("{total: ok_total, bad: 'ok_total{m=\"a:b\"}'}"), None, "a value is no name");
    }

    #[test]
    fn every_selector_of_a_source_gets_the_labels() {
        let text = "name: a\nowner: t\nslo:\n  custom:\n    - {name: b, objective: 99, by: [job], events: {total: all_total, bad: \
                    'all_total{code=\"5\"}'}}\n    - {name: c, objective: 99, by: ['*'], query: {bad: 'rate(x[slice])', total: \
                    'rate(y[slice])'}}\n";
        let loaded = load_text("a.yaml", text);
        let of =
            |id: &str| format!("{:?}", loaded.model.slo(id).expect(id).narrowed(&[("job".into(), "j".into())]).source);
        let counted = of("a-b");
        assert_eq!(counted.matches("job=").count(), 2, "{counted}");
        let query = of("a-c");
        assert!(query.contains("rate(x{job=\\\"j\\\"}[slice])") && query.contains("rate(y{job="), "{query}");
    }
}
