//! Thresholds between the buckets of a histogram, on a real Prometheus: what is said of them holds the truth, which a
//! second histogram of the same events has a bucket for.

use std::process::Command;

use serde_json::Value;
use slowburn::demo::Scenario;
use slowburn::demo::count::{Count, DAY, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Mode, Pod};
use slowburn::engine::Snapshot;
use slowburn::telemetry::detail::Detail;
use slowburn::web::view::SloView;
use slowburn::web::{Info, exposition};

use crate::daemon::{Driven, options};
use crate::fleet;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const START: i64 = END - 2 * DAY;
const SLOW: (i64, i64) = (END - 3600, END - 1800);

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let origin = (START - 10 * DAY).div_euclid(DAY) * DAY;
    for n in 0..2_i64 {
        let restarts = (1..).map(|i| START + i * 9 * 3600 + n * 777).take_while(|&s| s < END);
        let pod = Pod::new("shop", &format!("shop-{n}:80"), 3_100 + 9_000 * n, START - DAY).restarts(restarts);
        let pod = scenario.pod(pod);
        let total = Count::of(Traffic { rate: 3.0, shape: Shape::Flat, wobble: Some(n as u64), origin });
        let slow = total.part(&Timeline::new(0.02).during(SLOW.0, SLOW.1, 0.3));
        let modes = [
            Mode { count: total.without(&slow), median: 0.2, sigma: 0.4 },
            Mode { count: slow, median: 0.85, sigma: 0.3 },
        ];
        let fine = scenario.histogram(pod, "fine_seconds", &[], &[0.1, 0.5, 0.8, 1.0, 2.5], &modes);
        scenario.histogram(pod, "coarse_seconds", &[], &[0.1, 0.5, 1.0, 2.5], &modes);
        // The same bucket as somebody else spells it.
        let good = fine.total.without(&fine.over(0.8));
        scenario.counter(pod, "odd_seconds_bucket", &[("le", "8.00e-1")], &good);
        scenario.counter(pod, "odd_seconds_bucket", &[("le", "+Inf")], &fine.total);
        scenario.counter(pod, "odd_seconds_count", &[], &fine.total);
    }
    scenario
}

fn rules() -> Vec<(&'static str, String)> {
    let of = |name: &str, histogram: &str, max: u32| {
        format!(
            "name: {name}\nowner: team\nslo:\n  latency_p95_ms: {{max: {max}, sli: {{histogram: {histogram}}}}}\n  \
             ttfb_p95_ms: {{max: {max}, method: events, sli: {{histogram: {histogram}}}}}\n"
        )
    };
    vec![
        ("coarse.yaml", of("coarse", "coarse_seconds", 800)),
        ("fine.yaml", of("fine", "fine_seconds", 800)),
        ("odd.yaml", of("odd", "odd_seconds", 800)),
        ("over.yaml", of("over", "coarse_seconds", 20_000)),
        ("under.yaml", of("under", "coarse_seconds", 50)),
    ]
}

fn view(snapshot: &Snapshot, id: &str) -> Value {
    serde_json::to_value(SloView::of(snapshot.slo(id).expect("it is known"))).expect("JSON")
}

fn windows(slo: &Value) -> Vec<Value> {
    let row = &slo["series"][0];
    row["windows"].as_array().expect("windows").iter().chain([&row["window"]]).cloned().collect()
}

/// Every window of the interpolated SLO holds the truth, and is within its own bounds. Answers (least, bad, most) of the
/// longest.
fn holds(coarse: &Value, fine: &Value) -> (u64, u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is no count"));
    let mut longest = (0, 0, 0);
    for (coarse, fine) in windows(coarse).iter().zip(windows(fine)) {
        assert_eq!(coarse["total"], fine["total"]);
        assert_eq!(fine["bad_bounds"], Value::Null, "what is exact has no bounds");
        let (least, most) = (number(&coarse["bad_bounds"]["least"]), number(&coarse["bad_bounds"]["most"]));
        for bad in [&coarse["bad"], &fine["bad"]] {
            assert!((least..=most).contains(&number(bad)), "{coarse} {fine}");
        }
        longest = (least, number(&coarse["bad"]), most);
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_threshold_between_two_buckets_is_interpolated_and_its_bounds_hold_the_truth() {
    let prometheus = fleet::prometheus(&scenario(), START, END).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let driven = |raw_series_max: usize, state: &str| {
        let mut options = options(&prometheus.url(), &rules(), Some(dir.path().join(state)));
        options.source.raw_series_max = raw_series_max;
        Driven::new(options)
    };
    let mut daemon = driven(20_000, "state");
    daemon.tick(END - 1200).await;
    daemon.live(END - 1200, END - 600).await;
    drop(daemon);
    let mut daemon = driven(20_000, "state");
    let snapshot = daemon.live(END - 600, END).await;
    for (name, coarse_of) in [("latency-p95", "coarse"), ("ttfb-p95", "coarse")] {
        let (coarse, fine) =
            (view(&snapshot, &format!("{coarse_of}-{name}")), view(&snapshot, &format!("fine-{name}")));
        let (least, bad, most) = holds(&coarse, &fine);
        assert!(least < bad && bad < most, "{least} {bad} {most}");
        let note = coarse["notes"][0].as_str().expect("a remark");
        assert!(
            note.starts_with("interpolated: no bucket ends at 0.8, so of the events those between 0.5 and 1 60 %"),
            "{note}"
        );
        assert_eq!(windows(&view(&snapshot, &format!("odd-{name}"))), windows(&fine), "however it is spelled");
        // Under the smallest bound nothing is certainly good.
        for window in windows(&view(&snapshot, &format!("under-{name}"))) {
            assert_eq!(window["bad_bounds"]["most"], window["total"], "{window}");
        }
        let over = view(&snapshot, &format!("over-{name}"));
        assert_eq!(
            (&over["state"], &over["series"][0]["data"]["reason"]),
            (&"unknown".into(), &"source_unplanned".into())
        );
        let note = over["notes"][0].as_str().expect("a remark");
        assert!(
            note.starts_with("the threshold 20 is above the largest bucket bound of its histogram, 2.5:"),
            "{note}"
        );
    }
    let info = Info { metrics_detail: Detail::Full, ..Info::clone(&daemon.views.info.borrow()) };
    let page = exposition::render(&snapshot, &info, END);
    for bound in ["least", "most"] {
        let line = format!(
            r#"slowburn_slo_error_bound_ratio{{slo_id="coarse-ttfb-p95",service="coarse",slo="ttfb-p95",window="30d",bound="{bound}"}} 0."#
        );
        assert!(page.contains(&line), "{line}");
    }
    assert!(!page.contains(r#"slowburn_slo_error_bound_ratio{slo_id="fine"#));

    // A start from nothing, a server that sums, and the command line say the same.
    let mut cold = driven(20_000, "cold");
    cold.tick(END - 30).await;
    let at_once = cold.tick(END).await;
    for id in ["coarse-latency-p95", "coarse-ttfb-p95"] {
        assert_eq!(windows(&view(&at_once, id)), windows(&view(&snapshot, id)));
    }
    let mut summed = driven(1, "summed");
    summed.tick(END - 1200).await;
    let summed = summed.live(END - 1200, END).await;
    for window in windows(&view(&summed, "coarse-ttfb-p95")) {
        let number = |value: &Value| value.as_u64().expect("a count");
        let bounds = &window["bad_bounds"];
        assert!(
            number(&bounds["least"]) <= number(&window["bad"]) && number(&window["bad"]) <= number(&bounds["most"])
        );
    }
    let files = dir.path().join("rules");
    fleet::write_rules(&files, &rules()[..2]);
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", &prometheus.url(), "--at", &END.to_string(), "--rules"])
        .arg(&files)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(out.stdout).expect("text");
    let bounds = &view(&snapshot, "coarse-ttfb-p95")["series"][0]["window"];
    let shown = format!("{} ({} to {})", bounds["bad"], bounds["bad_bounds"]["least"], bounds["bad_bounds"]["most"]);
    assert!(text.contains(&shown), "{shown}: {text}");
}
