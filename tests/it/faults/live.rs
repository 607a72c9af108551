//! A real Prometheus that is killed, or stands still, while it is polled: what is said within two polls, and that the
//! ledger is whole afterwards.

use super::*;

/// Polls without a server.
const GONE: usize = 4;

async fn disturbed(kill: bool) -> Vec<String> {
    let mut prometheus = prometheus().await;
    let twin = Twin::live(&prometheus.url(), Way::Raw, BEFORE + GONE + AFTER).await;
    let limit = Duration::from_millis(if kill { 10_000 } else { 1000 });
    let mut daemon = driven(&prometheus.url(), Way::Raw, limit);
    let mut wrong = Vec::new();
    for poll in 0..BEFORE + GONE + AFTER {
        match (poll, kill) {
            (BEFORE, true) => prometheus.kill(),
            (BEFORE, false) => prometheus.hang(),
            (poll, true) if poll == BEFORE + GONE => prometheus.restart().await,
            (poll, false) if poll == BEFORE + GONE => prometheus.resume(),
            _ => {}
        }
        let gone = (BEFORE..BEFORE + GONE).contains(&poll);
        let snapshot = daemon.tick(START + POLL * poll as i64).await;
        for (id, status) in series(&snapshot) {
            let data = status.data;
            let unsure = matches!(data.state, DataState::Stale | DataState::Absent);
            if gone && data.state == DataState::Fresh || poll > BEFORE && gone && !unsure {
                wrong.push(format!("poll {poll}: {id}{} is {data:?}", status.labels));
            }
            if gone && data.reason != DataReason::SourceUnreachable {
                wrong.push(format!("poll {poll}: {id}{} says {:?}", status.labels, data.reason));
            }
        }
        let page = alert(&snapshot, "shop-availability", AlertKind::FastBurn);
        if page.is_none_or(|page| page.resolved_at.is_some() || (poll > BEFORE && gone) != page.held) {
            wrong.push(format!("poll {poll}: the page is {page:?}"));
        }
        if !gone && poll != BEFORE + GONE {
            wrong.extend(
                differences(&slices(&daemon), &twin.0[poll].0).into_iter().map(|d| format!("poll {poll}: {d}")),
            );
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_is_killed_is_unknown_within_two_polls_and_made_up_when_it_is_back() {
    let wrong = disturbed(true).await;
    assert!(wrong.is_empty(), "{} findings: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_stands_still_is_unknown_within_two_polls_and_made_up_when_it_goes_on() {
    let wrong = disturbed(false).await;
    assert!(wrong.is_empty(), "{} findings: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
}
