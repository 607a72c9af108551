//! Asks a Prometheus what it holds of the sources of SLOs.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::fault::Fault;
use super::options::SourceOptions;
use crate::query::plan::{Known, Probes};
use crate::spec::Model;

/// What came of it.
#[derive(Debug, Default)]
pub struct Surveyed {
    /// What was found of each SLO that was asked about; those whose queries failed are left out.
    pub known: BTreeMap<String, Known>,
    /// Queries sent.
    pub requests: usize,
    /// Queries without an answer, with why.
    pub faults: Vec<(String, Fault)>,
}

/// A deadline for whoever has the time: each query has its own.
pub fn far_off() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Asks about all SLOs at `at_s`; with `heights` also how many events the buckets of their histograms hold. What is not
/// answered by `deadline` counts as failed.
pub async fn survey(
    client: &Client,
    model: &Model,
    heights: bool,
    at_s: i64,
    options: &SourceOptions,
    deadline: Instant,
) -> Surveyed {
    let mut probes = Probes::new(model, |_| true);
    if !heights {
        probes = probes.without_heights();
    }
    let queries = probes.queries(options.resolution_s);
    let asked: Vec<_> = (queries.iter().cloned())
        .map(|query| {
            let client = client.clone();
            async move { timeout_at(deadline, client.query(&query, at_s)).await.unwrap_or(Err(Fault::Timeout)) }
        })
        .collect();
    let answers: Vec<_> = stream::iter(asked).buffered(options.concurrency.max(1)).collect().await;
    let mut surveyed = Surveyed { requests: answers.len(), ..Surveyed::default() };
    for (i, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(answer) => {
                probes.take(i, &answer.series);
                let natives = answer.natives.into_iter().map(|native| (native.labels, native.schema));
                probes.take_natives(i, natives);
            }
            Err(fault) => {
                if !probes.fail(i, fault.is_refusal()) {
                    surveyed.faults.push((queries[i].clone(), fault));
                }
            }
        }
    }
    surveyed.known = probes.known();
    surveyed
}
