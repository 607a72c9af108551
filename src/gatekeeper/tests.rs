//! The book and the log it is built from.

use serde_json::json;

use super::*;
use crate::audit::{Kind, Log, Options as LogOptions, Record, Refused};
use crate::engine::{Ledger, Snapshot};
use crate::gate::observed::Change;

fn gatekeeper(dir: &Path) -> Gatekeeper {
    let clock = Clock::wall();
    let log = Log::open(LogOptions::new(dir), clock.clone()).expect("it opens");
    let identities = Identities::default();
    Gatekeeper::new(Options { log, dir: dir.to_owned(), clock, identities, external_url: None }).expect("it opens")
}

fn change(version: &str) -> Event {
    let change = Change {
        service: "checkout".into(),
        resource: "deployment/checkout".into(),
        at: 1_790_000_000,
        from_version: None,
        version: Some(version.into()),
        generation: None,
        replicas: None,
        by: None,
    };
    Event { at: 1_790_000_000, kind: EventKind::ChangeObserved { change } }
}

fn poll(gatekeeper: &Gatekeeper) {
    let (snapshot, ledger) = (Snapshot::default(), Ledger::new(30));
    let seen = BTreeMap::new();
    gatekeeper.poll(Poll { snapshot: &snapshot, ledger: &ledger, seen, warm: true, clock_skew_s: None });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_refused_is_forgotten_at_the_next_poll_and_nothing_is_allowed_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let gatekeeper = gatekeeper(folder.path());
    let versions = || -> Vec<String> {
        let state = gatekeeper.state();
        state.book.changes_of("checkout").filter_map(|change| change.version.clone()).collect()
    };
    let writable = || gatekeeper.is_writable(&gatekeeper.state());
    gatekeeper.note(&mut gatekeeper.state(), &[change("v41")]);
    // The next one is in the book, and the log does not take it: here for a number that JSON cannot carry.
    gatekeeper.state().book.apply(&change("v42"));
    let refused = Record { event: Some(json!(u64::MAX)), ..Record::new(Kind::Acted, "a", "b", 0) };
    let answer = gatekeeper.log().append(refused).await;
    assert!(matches!(answer, Err(Refused::Number(_))), "{answer:?}");
    assert_eq!((versions(), writable()), (vec!["v41".to_owned(), "v42".to_owned()], false));
    poll(&gatekeeper);
    assert_eq!((versions(), writable()), (vec!["v41".to_owned()], true));
    // The log is closed: it cannot be built again, and nothing is allowed.
    gatekeeper.state().refusals_known += 1;
    gatekeeper.log().close();
    poll(&gatekeeper);
    assert!(!writable());
}
