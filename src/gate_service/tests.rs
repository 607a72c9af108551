//! The gate state and the log it is built from.

use serde_json::json;

use super::*;
use crate::audit::{Kind, Log, Options as LogOptions, Record, Refused};
use crate::engine::{Ledger, Snapshot};
use crate::gate::observed::Change;

fn gate_service(dir: &Path) -> GateService {
    let clock = Clock::wall();
    let log = Log::open(LogOptions::new(dir), clock.clone()).expect("it opens");
    let identities = Identities::default();
    GateService::new(Options { log, dir: dir.to_owned(), clock, identities, external_url: None }).expect("it opens")
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

fn poll(gate_service: &GateService) {
    let (snapshot, ledger) = (Snapshot::default(), Ledger::new(30));
    let seen = BTreeMap::new();
    gate_service.poll(Poll {
        snapshot: &snapshot,
        ledger: &ledger,
        seen,
        unread: Default::default(),
        clock_skew_s: None,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_refused_is_forgotten_at_the_next_poll_and_nothing_is_allowed_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate_service = gate_service(folder.path());
    let versions = || -> Vec<String> {
        let state = gate_service.state();
        state.gate.changes_of("checkout").filter_map(|change| change.version.clone()).collect()
    };
    let writable = || gate_service.is_writable(&gate_service.state());
    gate_service.note(&mut gate_service.state(), &[change("v41")]);
    // The next one is in the gate state, and the log does not take it: here for a number that JSON cannot carry.
    gate_service.state().gate.apply(&change("v42"));
    let refused = Record { event: Some(json!(u64::MAX)), ..Record::new(Kind::Acted, "a", "b", 0) };
    let answer = gate_service.log().append(refused).await;
    assert!(matches!(answer, Err(Refused::Number(_))), "{answer:?}");
    assert_eq!((versions(), writable()), (vec!["v41".to_owned(), "v42".to_owned()], false));
    poll(&gate_service);
    assert_eq!((versions(), writable()), (vec!["v41".to_owned()], true));
    // The log is closed: it cannot be built again, and nothing is allowed.
    gate_service.state().refusals_known += 1;
    gate_service.log().close();
    poll(&gate_service);
    assert!(!writable());
}
