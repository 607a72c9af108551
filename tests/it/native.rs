//! Native histograms on a real Prometheus: what is said of them holds the truth, which a classic histogram of the same
//! events has a bucket for.

use std::time::Duration;

use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::demo::count::{hash, unit};
use slowburn::engine::Snapshot;
use slowburn::web::view::SloView;

use crate::daemon::{Driven, options};
use crate::harness::native::NativeExporter;
use crate::harness::parts::{Generation, eventually};
use crate::harness::prometheus::{PromOptions, Prometheus};

const SLICE_S: i64 = 10;

fn rules() -> Vec<(&'static str, String)> {
    let of = |name: &str, histogram: &str| {
        format!(
            "name: {name}\nowner: team\nslo:\n  \
             latency_p95_ms: {{max: 800, method: events, sli: {{histogram: '{histogram}{{service=\"shop\"}}'}}}}\n  \
             ttfb_p95_ms: {{max: 500, method: events, sli: {{histogram: '{histogram}{{service=\"shop\"}}'}}}}\n"
        )
    };
    vec![("classic.yaml", of("classic", "classic_seconds")), ("native.yaml", of("native", "native_seconds"))]
}

fn window(snapshot: &Snapshot, id: &str) -> Value {
    let view = serde_json::to_value(SloView::of(snapshot.slo(id).expect("it is known"))).expect("JSON");
    view["series"][0]["window"].clone()
}

fn counts(window: &Value) -> (u64, u64, u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no count in {window}"));
    let bounds = &window["bad_bounds"];
    let (least, most) = match bounds.is_null() {
        true => (number(&window["bad"]), number(&window["bad"])),
        false => (number(&bounds["least"]), number(&bounds["most"])),
    };
    (number(&window["total"]), number(&window["bad"]), least, most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_and_classic_histograms_of_the_same_events_agree_within_the_stated_bounds() {
    agree(Generation::Oldest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_and_classic_histograms_agree_on_the_newest_prometheus_too() {
    agree(Generation::Newest).await;
}

async fn agree(generation: Generation) {
    let exporter = NativeExporter::start().await;
    exporter.native("native_seconds");
    exporter.classic("classic_seconds", &[0.1, 0.5, 0.8, 1.0, 2.5]);
    let mut drawn = 0;
    let mut draw = |many: usize| -> Vec<f64> {
        drawn += many as u64;
        (drawn - many as u64..drawn).map(|i| 0.05 * (60f64).powf(unit(hash(7, i)))).collect()
    };
    exporter.observe(&draw(500));
    let prometheus = Prometheus::start(PromOptions {
        generation,
        targets: vec![("shop".into(), exporter.address())],
        flags: vec!["--enable-feature=native-histograms".into()],
        ..PromOptions::default()
    })
    .await;
    eventually("the native histogram is scraped", Duration::from_secs(20), || async {
        prometheus.number("histogram_count(native_seconds)", None).await.filter(|count| *count >= 500.0)
    })
    .await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let driven = |state: &str| {
        let mut options = options(&prometheus.url(), &rules(), Some(dir.path().join(state)));
        (options.source.resolution_s, options.source.poll_interval_s) = (SLICE_S, SLICE_S);
        Driven::new(options)
    };
    let clock = Clock::wall();
    let mut at_s = clock.now().div_euclid(SLICE_S) * SLICE_S;
    let mut daemon = driven("state");
    for step in 0..6 {
        at_s += SLICE_S;
        // Nothing happens before the first value at the end of a slice, nor around the end of any other, where a scrape
        // falls into one or the other.
        while step > 0 && clock.now_ms() < at_s * 1000 - 2500 {
            exporter.observe(&draw(37));
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        clock.sleep_until(at_s * 1000 + 200).await;
        daemon.tick(at_s).await;
        match step {
            1 => exporter.restart(),
            2 => {
                drop(daemon);
                daemon = driven("state");
            }
            _ => {}
        }
    }
    let live = daemon.snapshot();
    let (classic, native) = (window(&live, "classic-latency-p95"), window(&live, "native-latency-p95"));
    let (total, truth, _, _) = counts(&classic);
    let (of_native, bad, least, most) = counts(&native);
    assert!(total > 1000 && of_native == total, "{classic} {native}");
    assert!(least < truth && truth < most && least < bad && bad < most, "{classic} {native}");
    // A sixth of the events lies in one bucket: 0.771 to 0.841 s.
    assert!(most - least < total / 20, "{native}");
    let notes = &live.slo("native-latency-p95").expect("it is known").notes;
    assert!(notes[0].starts_with("interpolated: no bucket ends at 0.8,"), "{notes:?}");
    assert_eq!(notes[1], "reads a native histogram, once a slice");
    // 0.5 is a power of two, and so a bound: exact.
    let (classic, native) = (window(&live, "classic-ttfb-p95"), window(&live, "native-ttfb-p95"));
    assert_eq!((counts(&native), &native["bad_bounds"]), (counts(&classic), &Value::Null));

    // Who reads it all at once says the same.
    let mut cold = driven("cold");
    cold.tick(at_s - SLICE_S).await;
    let cold = cold.tick(at_s).await;
    for id in ["native-latency-p95", "native-ttfb-p95"] {
        let (total, bad, least, most) = counts(&window(&cold, id));
        let (live_total, live_bad, live_least, live_most) = counts(&window(&live, id));
        // The live one began a slice or two later.
        let more = total - live_total;
        assert!(
            more <= 500 && bad.abs_diff(live_bad) <= more && least.abs_diff(live_least) <= more,
            "{total} {live_total}"
        );
        assert!(most.abs_diff(live_most) <= more);
    }
}
