//! What runs: replicas, generations and versions of workloads, from the series of kube-state-metrics.
//!
//! The gate holds requests against this, not against what a caller says. A workload without a recent sample was not
//! seen; a value that is no count is not there. One query a metric and poll for all workloads of all services.
//!
//! | kind | replicas | generation | version |
//! |---|---|---|---|
//! | `deployment` | `kube_deployment_spec_replicas` | `kube_deployment_metadata_generation` | `kube_deployment_labels` |
//! | `statefulset` | `kube_statefulset_replicas` | `kube_statefulset_metadata_generation` | `kube_statefulset_labels` |
//!
//! The version is a label of the workload: kube-state-metrics shows it only where its `--metric-labels-allowlist` names
//! it (`deployments=[app.kubernetes.io/version]`). Deliberately absent: pods and images, which say what was pulled, not
//! what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::client::Client;
use super::fault::Fault;
use crate::query::promql::{expr, request};
use crate::query::samples::{RawSeries, Samples};

/// Samples older than this say nothing of now, seconds.
pub(super) const RECENT_S: i64 = 300;
/// Label of the version where nothing else is said: `app.kubernetes.io/version` as kube-state-metrics writes it.
pub const VERSION_LABEL: &str = "label_app_kubernetes_io_version";
/// Most workloads of one query.
const NAMES_MAX: usize = 200;

/// A workload to look for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// `deployment/checkout-service` or `statefulset/...`.
    pub resource: String,
    /// Its namespace; `None`: the only one that has it.
    pub namespace: Option<String>,
    /// Label of `kube_*_labels` that holds the version.
    pub version_label: String,
    /// PromQL whose one value is the share of its capacity in use, ratio.
    pub utilization: Option<String>,
}

/// A workload as it was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Time of its newest sample, seconds.
    pub at_s: i64,
    /// Replicas wanted.
    pub replicas: Option<u32>,
    /// `metadata.generation`.
    pub generation: Option<u64>,
    /// The version it is labelled with.
    pub version: Option<String>,
    /// Share of its capacity in use, ratio.
    pub utilization: Option<f64>,
    /// How often it is scraped, seconds: what was not seen for two of these is not there any more.
    pub every_s: i64,
}

/// The series of one kind of workload.
struct WorkloadSeries {
    kind: &'static str,
    replicas: &'static str,
    generation: &'static str,
    labels: &'static str,
}

const KINDS: [WorkloadSeries; 2] = [
    WorkloadSeries {
        kind: "deployment",
        replicas: "kube_deployment_spec_replicas",
        generation: "kube_deployment_metadata_generation",
        labels: "kube_deployment_labels",
    },
    WorkloadSeries {
        kind: "statefulset",
        replicas: "kube_statefulset_replicas",
        generation: "kube_statefulset_metadata_generation",
        labels: "kube_statefulset_labels",
    },
];

/// Kinds of workloads that are known.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|series| series.kind)
}

/// How much a look may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Queries under way at once.
    pub concurrency: usize,
    /// When all of them have ended, answered or not.
    pub deadline: Instant,
    /// Utilizations are asked for from this one on, round all of them.
    pub first: usize,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Looked {
    /// The workloads that were seen.
    pub found: BTreeMap<Wanted, Seen>,
    /// Those of which nobody could tell, for a query failed.
    pub unanswered: BTreeSet<Wanted>,
    /// Queries without an answer, with why.
    pub faults: Vec<(String, Fault)>,
    /// The utilization to begin with the next time.
    pub next: usize,
}

/// Looks for all of them at `at_s`. A workload that was not seen is not in the answer; a query that failed is named.
pub async fn look(client: &Client, wanted: &[Wanted], at_s: i64, limits: Limits) -> Looked {
    let mut looked = Looked { next: limits.first, ..Looked::default() };
    let mut asked = Vec::new();
    for of in &KINDS {
        let named = |one: &&Wanted| one.resource.split_once('/').is_some_and(|(kind, _)| kind == of.kind);
        let these: Vec<&Wanted> = wanted.iter().filter(named).collect();
        for chunk in these.chunks(NAMES_MAX) {
            for metric in [of.replicas, of.generation, of.labels] {
                asked.push((of, metric, chunk.to_vec(), selector(metric, of.kind, chunk)));
            }
        }
    }
    let ask = |expr: String| async move {
        // Those that have not begun by then send nothing any more.
        let answer = match Instant::now() < limits.deadline {
            true => timeout_at(limits.deadline, client.query(&expr, at_s)).await.unwrap_or(Err(Fault::Timeout)),
            false => Err(Fault::Timeout),
        };
        (expr, answer)
    };
    let answers: Vec<_> = asked.iter().map(|(.., expr)| ask(request::raw(expr, RECENT_S))).collect();
    let answers: Vec<_> = stream::iter(answers).buffered(limits.concurrency.max(1)).collect().await;
    for ((of, metric, chunk, expr), (_, answer)) in asked.into_iter().zip(answers) {
        match answer {
            Ok(answer) => chunk.iter().for_each(|one| take(of, metric, one, &answer.series, at_s, &mut looked.found)),
            Err(fault) => {
                looked.faults.push((expr, fault));
                looked.unanswered.extend(chunk.into_iter().cloned());
            }
        }
    }
    look_at_utilization(wanted, ask, limits, &mut looked).await;
    looked
}

/// Asks how much of their capacity is in use, as far as there is time.
async fn look_at_utilization<F: Future<Output = (String, Result<Answer, Fault>)>>(
    wanted: &[Wanted],
    ask: impl Fn(String) -> F,
    limits: Limits,
    looked: &mut Looked,
) {
    let all: Vec<(&Wanted, &String)> = wanted.iter().filter_map(|one| Some((one, one.utilization.as_ref()?))).collect();
    let first = limits.first % all.len().max(1);
    let turn: Vec<_> = all[first..].iter().chain(&all[..first]).collect();
    let answers: Vec<_> = turn.iter().map(|(_, expr)| ask((*expr).clone())).collect();
    let answers: Vec<_> = stream::iter(answers).buffered(limits.concurrency.max(1)).collect().await;
    let mut late = 0;
    for ((one, _), (expr, answer)) in turn.into_iter().zip(answers) {
        match answer {
            Ok(answer) => {
                // One number or none: which of several would it be?
                let value = match answer.series.as_slice() {
                    [only] => only.samples.iter().next_back().map(|(_, value)| value),
                    _ => None,
                };
                if let (Some(seen), Some(value)) = (looked.found.get_mut(one), value) {
                    seen.utilization = (value.is_finite() && value >= 0.0).then_some(value);
                }
            }
            Err(fault) => {
                late += usize::from(fault == Fault::Timeout);
                looked.faults.push((expr, fault));
            }
        }
    }
    looked.next = if late == 0 { 0 } else { first + (all.len() - late).max(1) };
}

/// All these workloads by name. Names are of Kubernetes, checked when they were read: letters, digits, `-` and `.`.
fn selector(metric: &str, kind: &str, wanted: &[&Wanted]) -> String {
    let names: BTreeSet<&str> =
        wanted.iter().filter_map(|one| one.resource.split_once('/')).map(|(_, name)| name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    expr::matching(metric, &[(kind, &expr::alternatives(&names))])
}

fn take(
    of: &WorkloadSeries,
    metric: &str,
    one: &Wanted,
    answer: &[RawSeries],
    asked_s: i64,
    found: &mut BTreeMap<Wanted, Seen>,
) {
    let name = one.resource.split_once('/').map_or("", |(_, name)| name);
    let mine: Vec<&RawSeries> = answer
        .iter()
        .filter(|series| series.label(of.kind) == name)
        .filter(|series| one.namespace.as_deref().is_none_or(|namespace| series.label("namespace") == namespace))
        .filter(|series| !series.samples.is_empty())
        .collect();
    let mut namespaces: Vec<&str> = mine.iter().map(|series| series.label("namespace")).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    // The same name in two namespaces is two workloads, and nobody said which.
    if namespaces.len() != 1 {
        return;
    }
    // Where kube-state-metrics was replaced, both series overlap: the newest one holds.
    let newest = mine.iter().max_by_key(|series| series.samples.iter().next_back().map(|(at, _)| at));
    let Some((series, (at_s, value, every_s))) =
        newest.and_then(|series| Some((series, self::newest(series, asked_s)?)))
    else {
        return;
    };
    let seen = found.entry(one.clone()).or_default();
    seen.every_s = seen.every_s.max(every_s);
    seen.at_s = seen.at_s.max(at_s);
    let count = (value >= 0.0 && value.fract() == 0.0 && value <= 9e15).then_some(value);
    if metric == of.replicas {
        seen.replicas = count.and_then(|count| u32::try_from(count as u64).ok());
    } else if metric == of.generation {
        seen.generation = count.map(|count| count as u64);
    } else {
        let version = series.label(&one.version_label);
        seen.version = (!version.is_empty()).then(|| version.to_owned());
    }
}

/// The newest sample of a series: its time, its value, and how often the series is scraped, seconds. A series that ended
/// is served for minutes after its last sample. Two scrapes without one are the end of it.
pub(super) fn newest(series: &RawSeries, asked_s: i64) -> Option<(i64, f64, i64)> {
    let (at_ms, value) = series.samples.iter().next_back()?;
    let every_ms = scraped_every_ms(&series.samples);
    let is_over = asked_s * 1000 - at_ms > 2 * every_ms + 1000;
    (!is_over).then(|| (at_ms.div_euclid(1000), value, every_ms.div_euclid(1000)))
}

/// How often a series is scraped: the middle one of the times between its samples. Of a single sample it is not known,
/// and taken to be half of the time that is looked at.
fn scraped_every_ms(samples: &Samples) -> i64 {
    let times: Vec<i64> = samples.iter().map(|(at, _)| at).collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(RECENT_S * 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(namespace: Option<&str>) -> Wanted {
        Wanted {
            resource: "deployment/checkout-service".into(),
            namespace: namespace.map(str::to_owned),
            version_label: VERSION_LABEL.into(),
            utilization: None,
        }
    }

    fn series(namespace: &str, samples: &[(i64, f64)], more: &[(&str, &str)]) -> RawSeries {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut labels: Vec<_> = [("deployment", "checkout-service"), ("namespace", namespace)].map(pair).to_vec();
        labels.extend(more.iter().copied().map(pair));
        labels.sort();
        RawSeries { labels: labels.into(), samples: Samples::new(samples.to_vec()) }
    }

    fn seen(one: &Wanted, metric: &str, answer: &[RawSeries]) -> Option<Seen> {
        let mut found = BTreeMap::new();
        take(&KINDS[0], metric, one, answer, 31, &mut found);
        found.remove(one)
    }

    #[test]
    fn the_newest_sample_counts() {
        let answer =
            [series("shop", &[(1_000, 3.0), (31_000, 5.0)], &[]), series("shop", &[(11_000, 4.0)], &[("pod", "old")])];
        let found = seen(&wanted(None), KINDS[0].replicas, &answer).expect("it is there");
        assert_eq!((found.replicas, found.at_s), (Some(5), 31));
    }

    /// kube-state-metrics was gone: what it said last is served for minutes, and is not what runs now.
    #[test]
    fn a_series_that_ended_is_not_seen_any_more() {
        let answer = [series("shop", &[(1_000, 6.0), (6_000, 6.0), (11_000, 6.0), (16_000, 6.0)], &[])];
        for (asked_s, expected) in [(17, Some(6)), (25, Some(6)), (28, None), (60, None), (280, None)] {
            let mut found = BTreeMap::new();
            take(&KINDS[0], KINDS[0].replicas, &wanted(None), &answer, asked_s, &mut found);
            let seen = found.remove(&wanted(None)).and_then(|seen| seen.replicas);
            assert_eq!(seen, expected, "asked at {asked_s}");
        }
        // Of a single sample nobody knows when the next one is due.
        let mut found = BTreeMap::new();
        let single = [series("shop", &[(1_000, 6.0)], &[])];
        take(&KINDS[0], KINDS[0].replicas, &wanted(None), &single, 200, &mut found);
        assert!(found.contains_key(&wanted(None)));
    }

    #[test]
    fn a_name_in_two_namespaces_is_nobody_until_one_is_named() {
        let answer = [series("shop", &[(1_000, 3.0)], &[]), series("test", &[(1_000, 1.0)], &[])];
        assert_eq!(seen(&wanted(None), KINDS[0].replicas, &answer), None);
        let found = seen(&wanted(Some("shop")), KINDS[0].replicas, &answer).expect("one of them");
        assert_eq!(found.replicas, Some(3));
    }

    #[test]
    fn what_is_no_count_is_not_there() {
        for value in [f64::NAN, -1.0, 2.5, f64::INFINITY] {
            let found = seen(&wanted(None), KINDS[0].generation, &[series("shop", &[(1_000, value)], &[])]);
            assert_eq!(found.and_then(|found| found.generation), None, "{value}");
        }
        let version = [series("shop", &[(1_000, 1.0)], &[(VERSION_LABEL, "v42")])];
        assert_eq!(seen(&wanted(None), KINDS[0].labels, &version).and_then(|found| found.version), Some("v42".into()));
        let none = [series("shop", &[(1_000, 1.0)], &[])];
        assert_eq!(seen(&wanted(None), KINDS[0].labels, &none).and_then(|found| found.version), None);
    }

    #[test]
    fn names_stand_in_the_query_as_they_are() {
        let dotted = Wanted { resource: "deployment/a.b".into(), ..wanted(None) };
        assert_eq!(
            selector("m", "deployment", &[&dotted, &wanted(None)]),
            r#"m{deployment=~"a\\.b|checkout\\-service"}"#
        );
    }
}
