//! Sends the requests of a poll, some at once, and collects their answers group by group.
//!
//! Deliberately absent: what to ask (`groups`), and what an answer counts (`booking`).

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::answer::Answer;
use super::client::Client;
use super::fault::Fault;
use super::group::Group;
use super::poll::Poll;
use super::span::{Answered, Query, ReadSpan};
use crate::clock::Clock;
use crate::engine::Labels;
use crate::engine::status::DataReason;
use crate::query::RawSeries;
use crate::query::fetch::Ask;
use crate::query::promql::request;

/// Witnesses are read from so much before, seconds: two scrapes of a minute and a little.
const WITNESS_BEFORE_S: i64 = 150;

/// Whoever asks.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    /// Requests under way at once.
    concurrency: usize,
    /// The clock to hold the server's clock against; `None` when polls replay the past.
    clock: Option<Clock>,
}

/// What came of some spans.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Those all of whose requests were answered.
    pub read: Vec<Answered>,
    /// Those of which a request failed, with its fault.
    pub failed: Vec<(ReadSpan, Fault)>,
    /// The server's clock less ours, seconds, as the answer that waited least shows it.
    pub skew_s: Option<i64>,
}

/// One answer, and how far the server's clock was ahead when it came.
struct Arrived {
    span: usize,
    fetch: usize,
    answer: Result<Answer, Fault>,
    skew_s: Option<i64>,
}

impl Reader {
    pub fn new(client: Client, concurrency: usize, clock: Option<Clock>) -> Self {
        Reader { client, concurrency: concurrency.max(1), clock }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends the requests of these spans, each of the group beside it. Requests, bytes, faults and doubts are added to
    /// `poll`.
    pub async fn ask(
        &self,
        spans: &[(ReadSpan, &Group)],
        resolution_s: i64,
        deadline: Instant,
        poll: &mut Poll,
    ) -> Collected {
        let mut requests = Vec::new();
        for (place, (span, group)) in spans.iter().enumerate() {
            let question = |(i, fetch)| (place, i, group.question(fetch, span, resolution_s));
            requests.extend(group.fetches.iter().enumerate().map(question));
        }
        let asked = requests.into_iter().map(|(place, i, (text, query))| async move {
            let to_s = spans[place].0.to_s;
            let answer = async {
                match query {
                    Query::Raw => self.client.query(&text, to_s).await,
                    Query::Grid { start_s, step_s } => self.client.query_range(&text, start_s, to_s, step_s).await,
                }
            };
            let answer = timeout_at(deadline, answer).await.unwrap_or(Err(Fault::Timeout));
            // Now, and not when the slowest of them has come.
            let server_s = answer.as_ref().ok().and_then(|answer| answer.server_time_s);
            let skew_s = self.clock.as_ref().zip(server_s).map(|(clock, server_s)| server_s - clock.now());
            Arrived { span: place, fetch: i, answer, skew_s }
        });
        let mut arrived: Vec<Arrived> = stream::iter(asked).buffer_unordered(self.concurrency).collect().await;
        arrived.sort_by_key(|one| (one.span, one.fetch));

        let mut collected = Collected::default();
        let mut read: Vec<Option<Answered>> = spans.iter().map(|&(span, _)| Some(Answered::new(span))).collect();
        for Arrived { span: place, fetch: i, answer, skew_s } in arrived {
            poll.requests += 1;
            // Whatever an answer waited for makes the server's clock look late, never early.
            collected.skew_s = collected.skew_s.max(skew_s);
            let (span, group) = spans[place];
            let fetch = &group.fetches[i];
            match answer {
                Ok(answer) => {
                    poll.answered += 1;
                    poll.samples += answer.samples();
                    poll.bytes += answer.bytes;
                    let doubt = match () {
                        () if !answer.warnings.is_empty() => Some(DataReason::SourceWarning),
                        // Ratios of no events are no numbers, and no wonder.
                        () if !answer.finite() && !fetch.is_ratio() => Some(DataReason::NotANumber),
                        () => None,
                    };
                    poll.doubts.extend(doubt.map(|reason| (fetch.expr.clone(), reason)));
                    if let Some(answered) = &mut read[place] {
                        answered.warned |= !answer.warnings.is_empty();
                        let series = match group.ask {
                            Ask::Native => fetch.as_counters(answer.series),
                            Ask::Counter | Ask::Gauge => answer.series,
                        };
                        answered.series.push((i, series));
                    }
                }
                Err(fault) => {
                    poll.faults.push((fetch.expr.clone(), fault.clone()));
                    if read[place].take().is_some() {
                        collected.failed.push((span, fault));
                    }
                }
            }
        }
        collected.read = read.into_iter().flatten().collect();
        collected
    }

    /// The witnesses of doubtful targets between two moments: when they were scraped, and when their processes began.
    /// Without an answer less is known, and less is booked: a lifetime total is never taken for news.
    pub async fn witnesses(
        &self,
        targets: &BTreeSet<Labels>,
        from_s: i64,
        to_s: i64,
        deadline: Instant,
        poll: &mut Poll,
    ) -> Vec<RawSeries> {
        let window_s = to_s - from_s + WITNESS_BEFORE_S;
        let Some(text) = request::raw_witnesses(targets, window_s) else { return Vec::new() };
        poll.requests += 1;
        let answer = timeout_at(deadline, self.client.query(&text, to_s)).await.unwrap_or(Err(Fault::Timeout));
        match answer {
            Ok(answer) => {
                poll.samples += answer.samples();
                poll.bytes += answer.bytes;
                answer.series
            }
            Err(fault) => {
                debug!(%fault, "witnesses of new series could not be read");
                Vec::new()
            }
        }
    }
}
