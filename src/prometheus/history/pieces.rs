//! Long range queries in pieces: newest first, each as long as the server takes.
//!
//! Stores refuse queries over too long a time, over too many samples, or answers that are too large, each in words of its
//! own. A piece that is refused so is halved, and what was learned holds for the queries after it. Where even a short
//! piece is refused (a store that looks back no further), what is newer is kept, and it is said how far back it reaches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tracing::{debug, warn};

use crate::prometheus::client::Client;
use crate::prometheus::fault::Fault;
use crate::query::{RawLabels, RawSeries, Samples};

/// Values by the labels of their series.
type Rows = BTreeMap<RawLabels, Vec<(i64, f64)>>;

/// Points of one range query; Prometheus refuses 11,001.
pub(super) const POINTS_MAX: i64 = 10_700;
/// Longest piece that is asked for, and the shortest that is tried before a part of the past is given up, seconds.
const PIECE_MAX_S: i64 = 32 * 86_400;
const PIECE_MIN_S: i64 = 3600;
const RETRIES: u32 = 4;
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// Asks one server.
#[derive(Debug)]
pub(super) struct Pieces {
    client: Client,
    /// The longest piece that is tried, seconds; it only shrinks.
    longest_s: AtomicI64,
}

/// What the pieces of one query brought.
#[derive(Debug, Default)]
pub(super) struct Pieced {
    /// Rows, each over all pieces.
    pub series: Vec<RawSeries>,
    /// Requests sent.
    pub requests: usize,
    /// Bytes of the answers.
    pub bytes: usize,
    /// Everything from here on was read, seconds; and why nothing before it, where it is not the start.
    pub since: Option<(i64, Fault)>,
}

impl Pieces {
    pub fn new(client: Client) -> Self {
        Pieces { client, longest_s: AtomicI64::new(PIECE_MAX_S) }
    }

    /// The values of `expr` at each `step_s` from `start_s` to `end_s`, both included.
    ///
    /// # Errors
    /// Where not even the newest piece could be read.
    pub async fn range(&self, expr: &str, start_s: i64, end_s: i64, step_s: i64) -> Result<Pieced, Fault> {
        let mut read = Pieced::default();
        let mut rows: Rows = BTreeMap::new();
        let mut until_s = end_s;
        while until_s >= start_s {
            let points = (self.longest_s.load(Ordering::Relaxed) / step_s).clamp(1, POINTS_MAX);
            let from_s = start_s.max(until_s - (points - 1) * step_s);
            match self.retried(expr, (from_s, until_s, step_s), &mut read.requests).await {
                Ok(answer) => {
                    read.bytes += answer.bytes;
                    if (from_s, until_s) == (start_s, end_s) {
                        read.series = answer.series;
                        return Ok(read);
                    }
                    for row in answer.series {
                        rows.entry(row.labels).or_default().extend(row.samples.iter());
                    }
                    until_s = from_s - step_s;
                }
                Err(fault) if fault.asks_for_less() && until_s - from_s > PIECE_MIN_S.max(step_s) => {
                    let half_s = ((until_s - from_s) / 2).max(PIECE_MIN_S);
                    debug!(%fault, half_s, "the store refuses so long a query; it is asked for less");
                    self.longest_s.fetch_min(half_s, Ordering::Relaxed);
                }
                Err(fault) if until_s == end_s => return Err(fault),
                Err(fault) => {
                    warn!(%fault, since_s = until_s + step_s, "older history cannot be read; it begins later");
                    read.since = Some((until_s + step_s, fault));
                    break;
                }
            }
        }
        read.series =
            rows.into_iter().map(|(labels, pairs)| RawSeries { labels, samples: Samples::new(pairs) }).collect();
        Ok(read)
    }

    async fn retried(
        &self,
        expr: &str,
        (from_s, until_s, step_s): (i64, i64, i64),
        requests: &mut usize,
    ) -> Result<crate::prometheus::answer::Answer, Fault> {
        let mut tries = 0;
        loop {
            *requests += 1;
            match self.client.query_range(expr, from_s, until_s, step_s).await {
                Err(fault) => again(fault, &mut tries).await?,
                done => return done,
            }
        }
    }
}

/// Waits before another try, if the fault may pass (a connection, a busy server) and there were not too many. What is
/// too large or refused stays so.
pub(super) async fn again(fault: Fault, tries: &mut u32) -> Result<(), Fault> {
    if !matches!(fault, Fault::Unreachable(_) | Fault::Status(429 | 500.., _)) || *tries >= RETRIES {
        return Err(fault);
    }
    *tries += 1;
    warn!(%fault, tries, "history request failed; trying again");
    tokio::time::sleep(RETRY_AFTER * *tries).await;
    Ok(())
}
