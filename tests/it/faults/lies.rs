//! Lies that JSON can tell: wrong types, series twice, samples out of order, from the future, negative, huge; answers of
//! many megabytes; more children than anybody can look at.

use slowburn::engine::Labels;

use super::*;
use crate::harness::liar::{Asked, Liar, matrix};

const LIES: usize = 3;

/// Lives through a lie; answers with the slices of the counters that differ from those of an undisturbed run, during
/// and after it, and with what was said of the data meanwhile.
async fn told(url: &str, twin: &Twin, lie: Fault) -> (Vec<String>, Vec<String>, Vec<(DataState, DataReason)>) {
    let proxy = FaultProxy::start(url).await;
    let mut daemon = driven(&proxy.url(), Way::Raw, Duration::from_secs(10));
    let (mut during, mut after, mut said) = (Vec::new(), Vec::new(), Vec::new());
    let counters = |slices: &Slices| -> Slices {
        let of_gauge = |id: &str| id.ends_with("freshness") || id.ends_with("queue");
        slices.iter().filter(|((id, _), _)| !of_gauge(id)).map(|(key, of)| (key.clone(), of.clone())).collect()
    };
    for poll in 0..BEFORE + LIES + AFTER {
        let lying = (BEFORE..BEFORE + LIES).contains(&poll);
        proxy.set(if lying { lie } else { Fault::None });
        let snapshot = daemon.tick(START + POLL * poll as i64).await;
        let differ = differences(&counters(&slices(&daemon)), &counters(&twin.0[poll].0));
        match lying {
            true => {
                during.extend(differ);
                let data = snapshot.slo("shop-availability").expect("the SLO").series[0].data;
                said.push((data.state, data.reason));
            }
            // The first poll after it reads what was missed.
            false if poll != BEFORE + LIES => after.extend(differ),
            false => {}
        }
        let page = alert(&snapshot, "shop-availability", AlertKind::FastBurn);
        assert!(page.is_some_and(|page| page.resolved_at.is_none()), "{lie:?}, poll {poll}: the page is gone");
    }
    (during, after, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_told_apart_is_believed_and_the_rest_is_not() {
    let prometheus = prometheus().await;
    let twin = Twin::live(&prometheus.url(), Way::Raw, BEFORE + LIES + AFTER).await;
    let mut wrong = Vec::new();
    // Said twice, in another order, or of a time that has not come: the truth is still in it.
    for lie in [Fault::Twice, Fault::Backwards, Fault::Future] {
        let (during, after, said) = told(&prometheus.url(), &twin, lie).await;
        wrong.extend(during.into_iter().chain(after).map(|what| format!("{lie:?}: {what}")));
        if said.iter().any(|(state, _)| *state != DataState::Fresh) {
            wrong.push(format!("{lie:?}: {said:?}"));
        }
    }
    // Nothing of it can be counted: it is unknown meanwhile, and read again afterwards.
    for (lie, reason) in [
        (Fault::Negative, DataReason::NotANumber),
        (Fault::Huge, DataReason::NotANumber),
        (Fault::WrongTypes, DataReason::SourceUnreachable),
    ] {
        let (_, after, said) = told(&prometheus.url(), &twin, lie).await;
        wrong.extend(after.into_iter().map(|what| format!("{lie:?}: {what}")));
        if said.iter().any(|(state, why)| *state == DataState::Fresh || *why != reason) {
            wrong.push(format!("{lie:?}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} findings: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
}

fn rules_of(slo: &str) -> Vec<(&'static str, String)> {
    vec![("a.yaml", format!("name: a\nowner: t\nslo:\n{slo}"))]
}

const COUNTED: &str = "    sli: {total: 'r_total', bad: 'r_total{code=\"500\"}'}\n";

fn told_of(liar: &Liar, slo: &str, change: impl FnOnce(&mut slowburn::app::Options)) -> Driven {
    let mut options = options(&liar.url(), &rules_of(slo), None);
    options.backfill = false;
    options.client.timeout = Duration::from_secs(60);
    options.source.poll_interval_s = 60;
    change(&mut options);
    Driven::new(options)
}

/// The most memory this process ever had, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line of each kind");
    1024 * line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number of kB")
}

/// A counter that rises by one each 30 s.
fn row(labels: &str, at_s: i64) -> String {
    let count = |at: i64| at / 30 - 50_000_000;
    let (b, a) = (at_s - 32, at_s - 2);
    let (cb, ca) = (count(b), count(a));
    format!(r#"{{"metric":{{"__name__":"r_total","job":"j",{labels}}},"values":[[{b},"{cb}"],[{a},"{ca}"]]}}"#)
}

const T0: i64 = 1_790_000_010;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_children_cost_a_bounded_amount_and_lose_no_event() {
    const CHILDREN: i64 = 100_000;
    let liar = Liar::start(|asked: &Asked| match asked.query.as_str() {
        query if query.starts_with("sum by (code, model)") => matrix(
            (0..CHILDREN)
                .map(|n| format!(r#"{{"metric":{{"code":"200","model":"m{n}"}},"values":[[{},"1"]]}}"#, asked.at_s)),
        ),
        query if query.starts_with("sum by (code)") => {
            matrix([format!(r#"{{"metric":{{"code":"200"}},"values":[[{},"{CHILDREN}"]]}}"#, asked.at_s)])
        }
        query if query.starts_with("r_total") => {
            matrix((0..CHILDREN).map(|n| row(&format!(r#""code":"200","instance":"i","model":"m{n}""#), asked.at_s)))
        }
        _ => matrix([]),
    })
    .await;
    let before = peak();
    let slo = format!("  availability:\n    objective: 99\n    by: [model]\n{COUNTED}");
    let mut daemon = told_of(&liar, &slo, |_| {});
    let mut counts = Vec::new();
    for poll in 0..5 {
        let snapshot = daemon.tick(T0 + 60 * poll).await;
        let rows = snapshot.slos[0].series.len();
        assert!(rows <= 102, "a hundred rows, other and the whole: {rows}");
        let whole = daemon.daemon.ledger().get("a-availability", &Labels::new()).expect("the whole");
        counts.push(whole.window(T0 + 60 * poll, 3600).total);
    }
    let queries: Vec<String> = liar.take_asked().into_iter().map(|asked| asked.query).collect();
    assert_eq!(queries.last().map(|query| query.starts_with("sum by (code) (")), Some(true), "{queries:#?}");
    let (grown, held) = (peak() - before, daemon.daemon.ledger().bytes());
    println!("{counts:?} events; {} MB at most, {} kB of ledger, queries {queries:#?}", grown >> 20, held >> 10);
    // One raw read, one of sums by child, then sums of all: each says one event of each child.
    assert!(counts.windows(2).all(|two| two[1] - two[0] == 100_000), "{counts:?}");
    let notes = daemon.snapshot().slos[0].notes.join("\n");
    assert!(notes.contains("so many children that Prometheus is not asked for them"), "{notes}");
    assert!(grown < 600 << 20, "{} MB", grown >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_fifty_megabytes_is_read_under_the_cap_and_not_over_it() {
    // Long labels make it large; what counts is the same.
    let padding = "x".repeat(2_400);
    let body = |at_s: i64| {
        let labels = |n: usize| format!(r#""code":"200","instance":"i{n}","pad":"{padding}""#);
        matrix((0..20_000).map(|n| row(&labels(n), at_s)))
    };
    let bodies: Vec<_> = (0..3).map(|poll| body(T0 + 60 * poll)).collect();
    assert!(bodies.iter().all(|body| body.len() > 50_000_000));
    let liar = Liar::start(move |asked: &Asked| match asked.query.as_str() {
        query if query.starts_with("sum by (code)") => {
            matrix([format!(r#"{{"metric":{{"code":"200"}},"values":[[{},"20000"]]}}"#, asked.at_s)])
        }
        query if query.starts_with("r_total") => bodies[((asked.at_s - T0) / 60) as usize].clone(),
        _ => matrix([]),
    })
    .await;
    let slo = format!("  availability:\n    objective: 99\n{COUNTED}");
    let before = peak();
    let mut under = told_of(&liar, &slo, |_| {});
    let mut over = told_of(&liar, &slo, |options| options.client.max_response_bytes = 10_000_000);
    for poll in 0..3 {
        under.tick(T0 + 60 * poll).await;
        over.tick(T0 + 60 * poll).await;
    }
    let grown = peak() - before;
    let count = |daemon: &Driven| daemon.snapshot().slos[0].series[0].window.total;
    println!("{} and {} events; {} MB at most", count(&under), count(&over), grown >> 20);
    assert!(under.snapshot().slos[0].notes.is_empty());
    assert_eq!(count(&under), 20_000 * 3 + 20_000 * 2, "two slices a poll, and the one before the first sample");
    assert_eq!(over.snapshot().slos[0].notes.len(), 1, "{:?}", over.snapshot().slos[0].notes);
    assert_eq!(count(&over), 3 * 20_000, "one sum a poll");
    assert!(grown < 400 << 20, "{} MB", grown >> 20);
}

/// What is no counter, no histogram or no gauge: it is said, and nothing is made up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metric_of_the_wrong_type_is_said_and_never_a_number() {
    let liar = Liar::start(|asked: &Asked| match asked.query.as_str() {
        // A gauge where a counter should be: it goes down as often as up, a little.
        query if query.starts_with("up_and_down") => {
            let value = |at: i64| 1000 + 20 * (at / 30 % 2);
            let at = asked.at_s;
            let values = format!(r#"[[{},"{}"],[{at},"{}"]]"#, at - 30, value(at - 30), value(at));
            matrix([format!(r#"{{"metric":{{"__name__":"up_and_down","job":"j","instance":"i"}},"values":{values}}}"#)])
        }
        // A counter where a histogram should be: it has no buckets.
        query if query.starts_with("d_seconds_count") => {
            matrix([row(r#""instance":"i""#, asked.at_s).replace("r_total", "d_seconds_count")])
        }
        // Native histograms where a gauge should be.
        query if query.starts_with("h_seconds") => {
            matrix([r#"{"metric":{"__name__":"h_seconds"},"histograms":[[5,{"count":"3","sum":"1"}]]}"#.to_owned()])
        }
        _ => matrix([]),
    })
    .await;
    let slo = "  availability:\n    objective: 99\n    sli: {total: 'up_and_down', bad: 'up_and_down{code=\"500\"}'}\n  \
               latency_p95_ms: {max: 250, sli: {histogram: 'd_seconds'}}\n  \
               feature_freshness_max_delay_s: {max: 60, sli: {gauge: 'h_seconds'}}\n";
    let mut daemon = told_of(&liar, slo, |options| options.source.poll_interval_s = 30);
    for poll in 0..20 {
        daemon.tick(T0 + 30 * poll).await;
    }
    let snapshot = daemon.snapshot();
    let of = |id: &str| &snapshot.slo(id).expect("the SLO").series[0];
    let gauge = of("a-availability");
    assert!(gauge.window.total <= 20, "a fall of a fiftieth is no restart: {} events", gauge.window.total);
    let (latency, freshness) = (of("a-latency-p95"), of("a-feature-freshness"));
    assert_eq!((latency.data.reason, latency.window.total), (DataReason::NoBucket, 0));
    assert_eq!((freshness.data.reason, freshness.window.total), (DataReason::NoSeries, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_twenty_thousand_brackets_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let deep = format!("{}m{}", "(".repeat(20_000), ")".repeat(20_000));
    for (key, query) in [
        ("feature_freshness_max_delay_s: {max: 60, sli: {gauge: 'Q'}}", &deep),
        ("availability: {objective: 99, sli: {total: 'Q', bad: m}}", &deep),
        ("custom: [{name: x, objective: 99, slices: {query: 'Q', max: 1}}]", &deep),
    ] {
        let text = format!("name: a\nowner: t\nslo:\n  {}\n", key.replace('Q', query));
        std::fs::write(dir.path().join("a.yaml"), text).expect("writable");
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .arg("check")
            .arg(dir.path())
            .output()
            .expect("the binary runs");
        let says = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{key}");
        assert!(says.contains("a.yaml:4:") && says.contains("error:"), "{key}: {}", &says[..says.len().min(400)]);
        assert!(says.len() < 4_000, "{key}: the error is {} bytes long", says.len());
    }
}
