//! Targets that are there twice: one scrape writes one timestamp, so two timestamps are two scrapes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::query::RawSeries;
use crate::query::promql::expr;

/// Series whose timestamps are looked at.
const LOOKED_AT_MAX: usize = 2_000;
/// Labels that tell series of one scrape apart, and never targets.
const NO_TARGETS: [&str; 2] = ["__name__", "le"];

/// The timestamps of one target.
#[derive(Debug, PartialEq)]
struct Doubled {
    target: Vec<(String, String)>,
    times: usize,
    series: usize,
    /// Labels that tell the scrapes apart, the one with the fewest values first.
    labels: Vec<String>,
}

impl Patient<'_> {
    pub(super) async fn doubled(&self, found: &Found) -> Result<Option<Said>, Fault> {
        let selector = &found.selector;
        let query = match found.raw_series > LOOKED_AT_MAX {
            true => expr::topk(LOOKED_AT_MAX, &expr::call("timestamp", selector)),
            false => expr::call("timestamp", selector),
        };
        let rows = self.ask(&query).await?.series;
        let Some(doubled) = doubled(&rows, &self.targets) else { return Ok(None) };
        let named = match doubled.target.iter().all(|(_, value)| value.is_empty()) {
            true => "series without a target".to_owned(),
            false => format!("series of {}", self.matchers(&doubled.target)),
        };
        let (times, series) = (doubled.times, doubled.series);
        Ok(Some(match doubled.labels.first() {
            Some(label) => {
                let mut targets = self.targets.clone();
                targets.push(label.clone());
                (
                    Complaint::TargetTwice,
                    format!(
                        "{series} {named} have {times} scrape times, told apart by {label}: {times} targets go by one name"
                    ),
                    Some(format!("target_labels: [{}]", targets.join(", "))),
                )
            }
            None => (
                Complaint::TargetTwice,
                format!(
                    "{series} {named} have {times} timestamps, and no label tells scrapes apart: they have times of their own. New series only set a start there"
                ),
                None,
            ),
        }))
    }
}

/// The target with the most timestamps, where one has several.
fn doubled(rows: &[RawSeries], targets: &[String]) -> Option<Doubled> {
    let mut by_target: BTreeMap<Vec<String>, Vec<(&RawSeries, u64)>> = BTreeMap::new();
    for row in rows {
        let Some((_, time)) = row.samples.iter().last() else { continue };
        let target = targets.iter().map(|name| row.label(name).to_owned()).collect();
        by_target.entry(target).or_default().push((row, time.to_bits()));
    }
    let times = |series: &[(&RawSeries, u64)]| series.iter().map(|(_, time)| *time).collect::<BTreeSet<_>>().len();
    let (target, series) = by_target.into_iter().max_by_key(|(_, series)| times(series))?;
    let count = times(&series);
    (count > 1).then(|| Doubled {
        labels: told_apart(&series, targets),
        target: targets.iter().cloned().zip(target).collect(),
        times: count,
        series: series.len(),
    })
}

/// Labels of which each value has one timestamp.
fn told_apart(series: &[(&RawSeries, u64)], targets: &[String]) -> Vec<String> {
    let names: BTreeSet<&str> =
        series.iter().flat_map(|(row, _)| row.labels.iter().map(|(name, _)| name.as_str())).collect();
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| !NO_TARGETS.contains(name) && !targets.iter().any(|own| own == name)) {
        let mut times: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for (row, time) in series {
            times.entry(row.label(name)).or_default().insert(*time);
        }
        // A label with a value for each series tells nothing of scrapes.
        let tells =
            times.len() > 1 && times.len() < series.len().max(3) && times.values().all(|times| times.len() == 1);
        if tells {
            found.push((times.len(), name.to_owned()));
        }
    }
    found.sort();
    found.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Samples;

    fn row(labels: &[(&str, &str)], time: f64) -> RawSeries {
        let mut labels: Vec<(String, String)> = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        labels.sort();
        RawSeries { labels: labels.into(), samples: Samples::new(vec![(0, time)]) }
    }

    fn found(rows: &[RawSeries]) -> Option<Doubled> {
        doubled(rows, &["job".to_owned(), "instance".to_owned()])
    }

    #[test]
    fn one_scrape_has_one_timestamp() {
        let rows = [("200", "a"), ("500", "a"), ("200", "b"), ("500", "b")].map(|(code, instance)| {
            row(&[("job", "j"), ("instance", instance), ("code", code)], if instance == "a" { 1.5 } else { 9.5 })
        });
        assert_eq!(found(&rows), None);
    }

    #[test]
    fn the_label_that_tells_two_scrapes_apart_is_named() {
        let rows = [("200", "east"), ("500", "east"), ("200", "west"), ("500", "west")].map(|(code, cluster)| {
            let labels = [("job", "j"), ("instance", "a"), ("code", code), ("cluster", cluster), ("pod", cluster)];
            row(&labels, if cluster == "east" { 1.5 } else { 9.5 })
        });
        let doubled = found(&rows).expect("it is there twice");
        assert_eq!((doubled.times, doubled.labels), (2, vec!["cluster".to_owned(), "pod".to_owned()]));
    }

    #[test]
    fn series_with_times_of_their_own_have_no_such_label() {
        let rows: Vec<_> =
            (0..6).map(|i| row(&[("job", "j"), ("instance", "a"), ("id", &i.to_string())], f64::from(i))).collect();
        assert_eq!(found(&rows).map(|doubled| (doubled.times, doubled.labels.len())), Some((6, 0)));
    }
}
