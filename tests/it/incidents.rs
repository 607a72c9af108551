//! Incidents of a daemon on a Prometheus whose truth is known: the onset, what alerts say, and what a kill leaves.

use slowburn::demo::prometheus::Generation;
use slowburn::engine::{Alert, AlertKind};

use crate::daemon::{Driven, options};
use crate::history::{END, prometheus, rules, scenario, speaking};

/// A third of the requests fail since 40 minutes. A daemon that starts only now knows since when; and one that is killed
/// leaves what the next one goes on with, without a word from Prometheus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_knows_since_when_and_survives_a_kill() {
    let (proxy, _stop) = prometheus(speaking(Generation::V3_5, true), scenario()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let with_state = || options(&proxy.url(), &rules(), Some(dir.path().into()));
    let mut driven = Driven::new(with_state());
    driven.tick(END - 30).await;
    let snapshot = driven.tick(END).await;
    let book = driven.views.incidents.borrow().clone();
    let incident = book.open("shop").expect("it burns").clone();
    println!("{incident:#?}");
    assert!((incident.started_at - (END - 2400)).abs() <= 60, "{} {END}", incident.started_at);
    let onset = incident.burns[0].onset.expect("it rose");
    let seen = scenario().scraped("shop", 0, onset.at, END).expect("it is known");
    assert_eq!((onset.total, onset.bad), seen, "to the request");
    let burns = |alert: &&Alert| matches!(alert.kind, AlertKind::FastBurn | AlertKind::SlowBurn);
    let fires = snapshot.alerts.iter().filter(burns).find(|alert| alert.resolved_at.is_none()).expect("it alerts");
    assert_eq!(fires.annotations["incident"], incident.id);
    assert_eq!(fires.annotations["change"], "No change found before it");
    assert_eq!(fires.annotations["similar"], "No similar incident found");
    assert!(fires.annotations["description"].contains("events bad."), "{:?}", fires.annotations);
    // Nothing is stopped in good order: what is not stored by now is lost.
    std::mem::forget(driven);
    let copy = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(dir.path()).expect("the directory of the state") {
        let file = file.expect("a file").path();
        std::fs::copy(&file, copy.path().join(file.file_name().expect("a name"))).expect("it is copied");
    }
    let next = Driven::new(options("http://127.0.0.1:1", &rules(), Some(copy.path().into())));
    assert_eq!(next.views.incidents.borrow().open("shop"), Some(&incident));
}
