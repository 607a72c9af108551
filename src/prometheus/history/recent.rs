//! The last hours at a cold start, raw, so that alerts are right within seconds: by remote read where the server offers it
//! and does it well, else by queries.
//!
//! Deliberately absent: what is older. That is read beside the polls (`backfill`).

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, warn};

use super::extent::Way;
use super::older::samples;
use super::remote_read::{self, History};
use crate::engine::Labels;
use crate::prometheus::client::Client;
use crate::prometheus::fault::Fault;
use crate::prometheus::poll::Poll;
use crate::prometheus::source::Source;
use crate::query::fetch::Ask;
use crate::query::promql::request;
use crate::query::{Plan, RawSeries, Selector};

/// How much is read raw before the first evaluation, seconds: the longest paging window and its alignment.
pub(super) const RECENT_S: i64 = 6 * 3600 + 600;
/// It begins on this grid, seconds: not so much earlier that the fine tier would have dropped its beginning before older
/// history is put under it, for the first slices of a quiet quantile are judged again then, by what came before them.
const RECENT_STARTS_S: i64 = 600;
/// Recent history is walked in steps of this length, seconds.
const RECENT_STEP_S: i64 = 3600;
/// Each step begins this much before the end of the one before, seconds: a total waits that long for its part.
pub(super) const STEP_OVERLAP_S: i64 = 60;
/// Witnesses are read from so much before, seconds.
pub(super) const WITNESS_BEFORE_S: i64 = 150;
/// How far an instant query looks back for a sample, seconds; and the share of the series it finds that remote read must
/// know.
const LOOKBACK_S: i64 = 300;
const KNOWN_SHARE_MIN: f64 = 0.9;
/// The deadline of one history request.
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);

/// Where the recent hours before `at_s` begin.
pub fn recent_from(at_s: i64) -> i64 {
    (at_s - RECENT_S).div_euclid(RECENT_STARTS_S) * RECENT_STARTS_S
}

/// Reads the recent hours `(from_s, to_s]` into the source, raw. Says how older history can be read.
pub async fn recent(source: &mut Source, from_s: i64, to_s: i64) -> (Way, Poll) {
    let selectors = selectors(&source.plan);
    let mut poll = Poll::default();
    let client = source.client().with_timeout(TIMEOUT);
    source.read_from(Ask::Gauge, from_s);
    source.read_from(Ask::Native, from_s);
    poll.requests += 1;
    let read = match selectors.is_empty() {
        true => Err(Fault::NotAnAnswer("there is no counter to read".into())),
        false => read_recent(&client, &selectors, from_s, to_s, &mut poll).await,
    };
    let read = match read {
        Ok(history) => {
            poll.requests += 1;
            let jobs = history.values("job");
            witnesses(&client, &jobs, from_s - WITNESS_BEFORE_S, to_s).await.map(|witnesses| (history, witnesses))
        }
        Err(fault) => Err(fault),
    };
    match read.and_then(|(history, seen)| take_recent(source, &history, &seen, from_s, to_s, &mut poll)) {
        Ok(()) => {
            poll.answered += 1;
            poll.add(source.poll_all_but(Ask::Counter, to_s).await);
            (Way::RemoteRead, poll)
        }
        Err(fault) => {
            match fault.is_refusal() || selectors.is_empty() {
                true => debug!(%fault, "no remote read; history comes by range queries"),
                // Whoever offers remote read and does not do it well should hear of it.
                false => warn!(%fault, "remote read cannot be used; history comes by range queries"),
            }
            source.read_from(Ask::Counter, from_s);
            let rest = source.catch_up(to_s).await;
            let requests = rest.requests + poll.requests;
            (Way::Ranges, Poll { requests, ..rest })
        }
    }
}

/// Reads the recent hours as chunks. What knows fewer series than an instant query at the same moment is no history: a
/// read that lacks some looks like a service that nobody called.
async fn read_recent(
    client: &Client,
    selectors: &[Selector],
    from_s: i64,
    to_s: i64,
    poll: &mut Poll,
) -> Result<History, Fault> {
    let history = remote_read::read(client, selectors, from_s * 1000, to_s * 1000).await?;
    let mut newest = history.span((to_s - LOOKBACK_S) * 1000, to_s * 1000)?;
    for selector in selectors {
        let text = selector.to_promql().map_err(Fault::NotAnAnswer)?;
        poll.requests += 1;
        let counted = client.query(&request::count(&text, &[]), to_s).await?;
        let live = counted.series.first().and_then(|row| row.samples.iter().last()).map_or(0.0, |(_, live)| live);
        let known = |series: &[RawSeries]| {
            let of =
                |raw: &&RawSeries| raw.label("__name__") == selector.metric && selector.matches(|name| raw.label(name));
            series.iter().filter(of).count() as f64
        };
        if known(&newest) < KNOWN_SHARE_MIN * live {
            // Samples may have arrived between the two.
            poll.requests += 1;
            let again = remote_read::read(client, selectors, (to_s - LOOKBACK_S) * 1000, to_s * 1000).await?;
            newest = again.span((to_s - LOOKBACK_S) * 1000, to_s * 1000)?;
        }
        if known(&newest) < KNOWN_SHARE_MIN * live {
            let why = format!("remote read knows {} of the {live} series of {text}", known(&newest));
            return Err(Fault::NotAnAnswer(why));
        }
    }
    Ok(history)
}

/// Walks the recent hours step by step: decoded, a sample takes eight times the room.
fn take_recent(
    source: &mut Source,
    history: &History,
    witnesses: &History,
    from_s: i64,
    to_s: i64,
    poll: &mut Poll,
) -> Result<(), Fault> {
    poll.bytes += history.bytes + witnesses.bytes;
    for at_s in (from_s..to_s).step_by(RECENT_STEP_S as usize) {
        let until_s = to_s.min(at_s + RECENT_STEP_S);
        let series = history.span((at_s - STEP_OVERLAP_S).max(from_s) * 1000, until_s * 1000)?;
        let seen = witnesses.span((at_s - WITNESS_BEFORE_S) * 1000, until_s * 1000)?;
        poll.samples += samples(&series) + samples(&seen);
        poll.take(source.take_history(&series, &seen, (from_s, until_s)));
    }
    Ok(())
}

/// The witnesses of the targets of these jobs.
async fn witnesses(client: &Client, jobs: &BTreeSet<String>, from_s: i64, to_s: i64) -> Result<History, Fault> {
    let selectors = request::witnesses(&targets_of(jobs));
    match selectors.is_empty() {
        true => Ok(History::default()),
        false => remote_read::read(client, &selectors, from_s * 1000, to_s * 1000).await,
    }
}

pub(super) fn targets_of(jobs: &BTreeSet<String>) -> BTreeSet<Labels> {
    jobs.iter().filter(|job| !job.is_empty()).map(|job| [("job", job.as_str())].into_iter().collect()).collect()
}

/// The counters of a plan.
pub(super) fn selectors(plan: &Plan) -> Vec<Selector> {
    plan.fetches
        .iter()
        .filter(|fetch| fetch.ask == Ask::Counter)
        .filter_map(|fetch| Selector::parse(&fetch.expr).ok())
        .collect()
}
