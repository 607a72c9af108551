//! A service that is scaled to 0 replicas has no data by plan: nobody is told, and nothing is called well.

use slowburn::engine::alert::AlertKind;
use slowburn::engine::status::{DataReason, DataState};
use slowburn::engine::{SloState, Snapshot};

use crate::daemon::{Driven, options};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid.
const T0: i64 = 1_790_000_100;

/// Requests until `gone`; the replicas that are wanted go to 0 with them where `planned`, and back to 2 at the end.
fn past(service: &str, gone: i64, planned: bool) -> String {
    let requests = (T0 - 3600..gone).step_by(30).map(|at| {
        let count = (at - T0 + 7200) * 2;
        format!("{service}_requests_total{{job=\"{service}\",instance=\"a:80\"}} {count} {at}\n")
    });
    let replicas = (T0 - 3600..T0 + 1800).step_by(30).map(|at| {
        let replicas = if planned && at >= gone && at < T0 + 1200 { 0 } else { 2 };
        format!(
            "kube_deployment_spec_replicas{{job=\"ksm\",instance=\"k:80\",namespace=\"n\",deployment=\"{service}\"}} {replicas} {at}\n"
        )
    });
    requests.chain(replicas).collect()
}

fn rules(service: &str) -> (String, String) {
    let total = format!("{service}_requests_total");
    let text = format!(
        "name: {service}\nowner: team\nworkloads: [{{resource: deployment/{service}, namespace: n}}]\nslo:\n  availability: \
         {{objective: 99.9, sli: {{total: {total}, bad: '{total}{{code=\"500\"}}'}}}}\n"
    );
    (format!("{service}.yaml"), text)
}

/// State and reason of the data of a service, whether SLODataMissing fires for it, and its state.
fn seen(snapshot: &Snapshot, service: &str) -> (DataState, DataReason, bool, SloState) {
    let slo = snapshot.slo(&format!("{service}-availability")).expect("it is loaded");
    let missing = |alert: &&slowburn::engine::alert::Alert| {
        alert.kind == AlertKind::DataMissing && alert.slo_id == slo.slo.id && alert.resolved_at.is_none()
    };
    let data = slo.series[0].data;
    (data.state, data.reason, snapshot.alerts.iter().any(|alert| missing(&alert)), slo.series[0].state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_scaled_to_zero_is_absent_by_plan_and_what_vanishes_is_not() {
    let past = past("idle", T0, true) + &past("dead", T0, false) + "# EOF\n";
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past)), ..PromOptions::default() }).await;
    let files = ["idle", "dead"].map(rules);
    let texts: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut driven = Driven::new(options(&prometheus.url(), &texts, None));
    driven.tick(T0 - 60).await;
    let before = driven.live(T0 - 60, T0).await;
    assert_eq!(seen(&before, "idle").0, DataState::Fresh);
    let mut at = T0;
    while at < T0 + 900 {
        at += 30;
        driven.tick(at).await;
        // A look ends beside the tick.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let (_, _, missing, _) = seen(&driven.snapshot(), "idle");
        assert!(!missing, "{} s after it was scaled to 0", at - T0);
    }
    let gone = driven.snapshot();
    assert_eq!(seen(&gone, "idle"), (DataState::Absent, DataReason::ScaledToZero, false, SloState::Unknown));
    let (state, reason, missing, _) = seen(&gone, "dead");
    assert_eq!((state, missing), (DataState::Absent, true));
    assert_ne!(reason, DataReason::ScaledToZero);
    // Two replicas are wanted again, and nothing comes: that is a fault.
    while at < T0 + 1500 {
        at += 30;
        driven.tick(at).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (_, reason, missing, _) = seen(&driven.snapshot(), "idle");
    assert!(missing, "{reason:?}");
}
