//! Histograms that are none: buckets that are not cumulative, or bounds that no observation reaches.

use std::collections::BTreeMap;

use super::*;
use crate::query::plan::parse_le;
use crate::query::promql::expr;

/// Series of buckets that are looked at target by target; more are added up.
const EACH_MAX: usize = 20_000;
/// A larger bucket may hold so much less than a smaller one: they are read one after the other, and count on.
const SLACK: f64 = 0.01;
const SLACK_EVENTS: f64 = 10.0;
/// So many observations without one over the first bound are no chance.
const MANY: f64 = 1_000.0;

/// `(bound, as it is spelled, observations)`, smallest bound first.
type SpelledBuckets = Vec<(f64, String, f64)>;

impl Patient<'_> {
    pub(super) async fn buckets(&self, found: &Found) -> Result<Option<Said>, Fault> {
        let Ok(at_threshold) = Selector::parse(&found.selector) else { return Ok(None) };
        let selector = &found.selector;
        let series = self.number(&expr::call("count", selector)).await? as usize;
        let mut by = vec!["le".to_owned()];
        if series <= EACH_MAX {
            by.extend(self.targets.iter().cloned());
        }
        let rows = self.ask(&expr::aggregate("sum", &by, selector)).await?.series;
        let mut by_target: BTreeMap<Vec<(String, String)>, SpelledBuckets> = BTreeMap::new();
        for row in &rows {
            let (Some(bound), Some((_, events))) = (parse_le(row.label("le")), row.samples.iter().last()) else {
                continue;
            };
            let target = self.targets.iter().map(|name| (name.clone(), row.label(name).to_owned())).collect();
            by_target.entry(target).or_default().push((bound, row.label("le").to_owned(), events));
        }
        let mut all: BTreeMap<u64, (f64, String, f64)> = BTreeMap::new();
        for (target, buckets) in &mut by_target {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let Some(said) = not_cumulative(&at_threshold.metric, buckets) {
                return Ok(Some((Complaint::NotCumulative, format!("{said} ({})", self.matchers(target)), None)));
            }
            for (bound, le, events) in buckets.iter() {
                all.entry(bound.to_bits()).or_insert((*bound, le.clone(), 0.0)).2 += events;
            }
        }
        let mut all: SpelledBuckets = all.into_values().collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(at_one_end(&at_threshold.metric, &all))
    }
}

/// Buckets of which a larger one holds less.
fn not_cumulative(metric: &str, buckets: &SpelledBuckets) -> Option<String> {
    let less = |pair: &&[(f64, String, f64)]| pair[1].2 + (pair[0].2 * SLACK).max(SLACK_EVENTS) < pair[0].2;
    let pair = buckets.windows(2).find(less)?;
    let (small, large) = (&pair[0], &pair[1]);
    Some(format!(
        "{metric} is not cumulative: le={:?} holds {}, and le={:?} more than that, {}",
        large.1, large.2, small.1, small.2
    ))
}

/// All observations at one end of the bounds.
fn at_one_end(metric: &str, buckets: &SpelledBuckets) -> Option<Said> {
    let count = buckets.last()?.2;
    let finite = || buckets.iter().filter(|(bound, ..)| bound.is_finite());
    if count < MANY {
        return None;
    }
    let (first, last) = (finite().next()?, finite().next_back()?);
    if first.2 >= count {
        let evidence = format!(
            "all {count} observations of {metric} are within its smallest bucket, le={:?}: whatever happens is good",
            first.1
        );
        return Some((
            Complaint::AllUnderFirstBound,
            evidence,
            Some("is the unit of the metric the unit of its bounds?".into()),
        ));
    }
    (last.2 <= 0.0).then(|| {
        let evidence = format!(
            "none of the {count} observations of {metric} is within its largest bucket, le={:?}: nothing is ever good",
            last.1
        );
        (Complaint::AllOverLastBound, evidence, Some("is the unit of the metric the unit of its bounds?".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(events: &[(&str, f64)]) -> SpelledBuckets {
        events.iter().map(|&(le, events)| (parse_le(le).expect("a bound"), le.to_owned(), events)).collect()
    }

    #[test]
    fn a_larger_bucket_that_holds_less_is_named() {
        let plain = buckets(&[("0.001", 3000.0), ("0.01", 700.0), ("+Inf", 9.0)]);
        assert_eq!(
            not_cumulative("m_bucket", &plain).as_deref(),
            Some("m_bucket is not cumulative: le=\"0.01\" holds 700, and le=\"0.001\" more than that, 3000")
        );
        assert_eq!(not_cumulative("m", &buckets(&[("1", 3000.0), ("2", 3000.0), ("+Inf", 3001.0)])), None);
        assert_eq!(
            not_cumulative("m", &buckets(&[("1", 3000.0), ("2", 2995.0), ("+Inf", 3001.0)])),
            None,
            "read apart"
        );
    }

    #[test]
    fn bounds_that_nothing_reaches_are_named() {
        let said = |events: &[(&str, f64)]| at_one_end("m", &buckets(events)).map(|(complaint, ..)| complaint);
        assert_eq!(said(&[("1", 5000.0), ("2", 5000.0), ("+Inf", 5000.0)]), Some(Complaint::AllUnderFirstBound));
        assert_eq!(said(&[("1", 0.0), ("2", 0.0), ("+Inf", 5000.0)]), Some(Complaint::AllOverLastBound));
        assert_eq!(said(&[("1", 4999.0), ("2", 5000.0), ("+Inf", 5000.0)]), None);
        assert_eq!(said(&[("1", 50.0), ("2", 50.0), ("+Inf", 50.0)]), None, "too few to say");
    }
}
