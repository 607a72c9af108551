//! A cheap Prometheus of very many services: counters that are straight lines, computed when asked for.
//!
//! The real one takes minutes to be given a month of ten thousand services, and one that evaluates PromQL is busy with what
//! is to be measured elsewhere. This one knows the shapes of what the daemon asks and refuses everything else.
//!
//! Deliberately absent: remote read, restarts, births, any other query.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use slowburn::query::Selector;

use super::parts::{self, Server};

/// Counter of all services, with the labels `code`, `instance`, `job` and `service`.
pub const METRIC: &str = "http_requests_total";
/// Seconds between scrapes, and how long after a multiple of it they are.
const SCRAPE_S: i64 = 30;
const PHASE_S: i64 = 7;
/// When all counters began.
const EPOCH_S: i64 = 1_700_000_010;
/// Services are spread over so many targets.
const INSTANCES: usize = 500;
/// Good events between two scrapes.
const GOOD: i64 = 300;
/// Every second service has one bad event in so many scrapes, the others never have.
const BAD_SCRAPES: i64 = 20;

/// The name of service `n`: as long as they are in the field.
pub fn name(n: usize) -> String {
    format!("payments-gateway-eu-west-1-{n:04}")
}

/// File name and text of the rules of a service whose series have the label `service`.
pub fn rules(service: &str) -> (String, String) {
    let text = format!(
        "name: {service}\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    sli: {{total: \
         '{METRIC}{{service=\"{service}\"}}', bad: '{METRIC}{{service=\"{service}\",code=~\"5..\"}}'}}\n"
    );
    (format!("{service}.yaml"), text)
}

/// What it says instead of an answer to a query: status and reason.
pub type Refuses = dyn Fn(&str) -> Option<(StatusCode, String)> + Send + Sync;

/// A running server; it ends when dropped.
pub struct Many {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Shared {
    services: Arc<HashMap<String, usize>>,
    refuses: Arc<Refuses>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Many {
    /// One with `services` services.
    pub async fn start(services: usize) -> Self {
        Many::refusing(services, |_| None).await
    }

    /// One that refuses some queries.
    pub async fn refusing(
        services: usize,
        refuses: impl Fn(&str) -> Option<(StatusCode, String)> + Send + Sync + 'static,
    ) -> Self {
        let services = Arc::new((0..services).map(|n| (name(n), n)).collect());
        let asked = Arc::default();
        let shared = Shared { services, refuses: Arc::new(refuses), asked: Arc::clone(&asked) };
        Many { server: parts::serve(Router::new().fallback(answer).with_state(shared)).await, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The queries since the last take.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }
}

/// One counter.
struct Series {
    service: usize,
    is_bad: bool,
}

impl Series {
    fn label<'a>(&self, name: &str, service: &'a str, instance: &'a str) -> &'a str {
        match name {
            "__name__" => METRIC,
            "code" if self.is_bad => "500",
            "code" => "200",
            "instance" => instance,
            "job" => "fleet",
            "service" => service,
            _ => "",
        }
    }

    /// What it shows at scrape `n`.
    fn at(&self, n: i64) -> i64 {
        match (self.is_bad, self.service.is_multiple_of(2)) {
            (false, _) => n * GOOD,
            (true, true) => n / BAD_SCRAPES,
            (true, false) => 3,
        }
    }

    /// What it gains in a second, on average.
    fn per_second(&self) -> f64 {
        let per_scrape = match (self.is_bad, self.service.is_multiple_of(2)) {
            (false, _) => GOOD as f64,
            (true, true) => 1.0 / BAD_SCRAPES as f64,
            (true, false) => 0.0,
        };
        per_scrape / SCRAPE_S as f64
    }
}

/// The scrapes in `(from_ms, to_ms]`.
fn scrapes(from_ms: i64, to_ms: i64) -> std::ops::RangeInclusive<i64> {
    let newest = |at_ms: i64| (at_ms - (EPOCH_S + PHASE_S) * 1000).div_euclid(SCRAPE_S * 1000);
    newest(from_ms).max(-1) + 1..=newest(to_ms)
}

fn at_s(scrape: i64) -> i64 {
    EPOCH_S + PHASE_S + scrape * SCRAPE_S
}

async fn answer(State(shared): State<Shared>, uri: Uri, body: Bytes) -> Response {
    let range = match uri.path() {
        "/api/v1/query" => false,
        "/api/v1/query_range" => true,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let form = match body.is_empty() {
        true => format!("http://form/?{}", uri.query().unwrap_or_default()),
        false => format!("http://form/?{}", String::from_utf8_lossy(&body)),
    };
    let form = reqwest::Url::parse(&form).expect("a form is a query");
    let of = |name: &str| form.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let seconds = |name: &str| of(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let query = of("query").unwrap_or_default();
    let times = match range {
        true => (seconds("start"), seconds("end"), seconds("step")),
        false => (seconds("time"), seconds("time"), 1.0),
    };
    shared.asked.lock().expect("not poisoned").push(query.clone());
    let said = tokio::task::spawn_blocking(move || match (shared.refuses)(&query) {
        Some(refusal) => Err(refusal),
        None => result(&shared.services, &query, times, range)
            .ok_or_else(|| (StatusCode::UNPROCESSABLE_ENTITY, format!("not known to this server: {query}"))),
    });
    let (status, body) = match said.await.expect("an answer does not panic") {
        Ok(data) => (StatusCode::OK, format!(r#"{{"status":"success","data":{data}}}"#)),
        Err((status, why)) => {
            (status, serde_json::json!({"status": "error", "errorType": "execution", "error": why}).to_string())
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The `data` of an answer; `None` for what it does not know. `times` are start, end and step, seconds.
fn result(services: &HashMap<String, usize>, query: &str, times: (f64, f64, f64), range: bool) -> Option<String> {
    let (start_s, end_s, step_s) = times;
    let one = |value: &str| Some(rows("vector", [format!(r#"{{"metric":{{}},"value":[{end_s},"{value}"]}}"#)]));
    match query {
        "vector(1)" | "count_over_time(vector(1)[1m:1m])" => return one("1"),
        _ if query.starts_with("{__name__=~\"up|process_start_time_seconds\"") => {
            return Some(witnesses(end_s as i64 * 1000, window_ms(query)?));
        }
        _ => {}
    }
    let selector = selector(query)?;
    let found = found(services, &Selector::parse(selector).ok()?);
    let (before, after) = query.split_once(selector)?;
    if before.is_empty() && after.starts_with('[') && !range {
        return Some(raw(&found, end_s as i64 * 1000, window_ms(after)?));
    }
    let keep = before.split_once("by (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(names, _)| names);
    let keep: Vec<&str> = keep.split(", ").filter(|name| !name.is_empty()).collect();
    if before.starts_with("count") {
        let groups = grouped(&found, &keep, |_| 1.0);
        let row = |(labels, sum): (String, f64)| format!(r#"{{"metric":{{{labels}}},"value":[{end_s},"{sum}"]}}"#);
        return Some(rows("vector", groups.into_iter().map(row)));
    }
    if before.starts_with("sum by") && before.ends_with("(increase(") && range {
        let window_s = window_ms(after)? as f64 / 1000.0;
        let groups = grouped(&found, &keep, |series| series.per_second() * window_s);
        let row = |(labels, sum): (String, f64)| {
            let mut row = format!(r#"{{"metric":{{{labels}}},"values":["#);
            let mut at = start_s;
            while at <= end_s {
                let comma = if at > start_s { "," } else { "" };
                write!(row, r#"{comma}[{at},"{sum}"]"#).expect("a String grows");
                at += step_s.max(1.0);
            }
            row + "]}"
        };
        return Some(rows("matrix", groups.into_iter().map(row)));
    }
    None
}

fn rows(kind: &str, rows: impl IntoIterator<Item = String>) -> String {
    let mut text = format!(r#"{{"resultType":"{kind}","result":["#);
    for (place, row) in rows.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&row);
    }
    text + "]}"
}

/// The length of the last range in brackets.
fn window_ms(text: &str) -> Option<i64> {
    let (_, range) = text.rsplit_once('[')?;
    let (range, _) = range.split_once(']')?;
    match range.strip_suffix("ms") {
        Some(ms) => ms.parse().ok(),
        None => range.strip_suffix('s')?.parse::<i64>().ok().map(|s| s * 1000),
    }
}

/// The selector of the one metric there is.
fn selector(query: &str) -> Option<&str> {
    let begin = query.find(METRIC)?;
    let rest = &query[begin..];
    let mut quoted = false;
    let mut escaped = false;
    for (place, byte) in rest.bytes().enumerate().skip(METRIC.len()) {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(&rest[..=place]),
            b'{' if place == METRIC.len() => {}
            _ if place == METRIC.len() => return Some(METRIC),
            _ => {}
        }
    }
    (rest == METRIC).then_some(rest)
}

/// The series of a selector: those of the services that it names, or of all.
fn found(services: &HashMap<String, usize>, selector: &Selector) -> Vec<(Series, String, String)> {
    let named = selector.matchers.iter().find(|matcher| matcher.name == "service").map(|matcher| {
        let names = matcher.value.replace('\\', "");
        names.split('|').filter_map(|name| services.get(name).copied()).collect::<Vec<_>>()
    });
    let mut places = named.filter(|named| !named.is_empty()).unwrap_or_else(|| services.values().copied().collect());
    places.sort_unstable();
    let mut found = Vec::new();
    for service in places {
        let (name, instance) = (name(service), format!("10.0.0.{}:80", service % INSTANCES));
        for is_bad in [false, true] {
            let series = Series { service, is_bad };
            if selector.matches(|label| series.label(label, &name, &instance)) {
                found.push((series, name.clone(), instance.clone()));
            }
        }
    }
    found
}

fn raw(found: &[(Series, String, String)], at_ms: i64, window_ms: i64) -> String {
    let row = |(series, service, instance): &(Series, String, String)| {
        let code = series.label("code", service, instance);
        let mut row = format!(
            r#"{{"metric":{{"__name__":"{METRIC}","code":"{code}","instance":"{instance}","job":"fleet","service":"{service}"}},"values":["#
        );
        let mut comma = "";
        for scrape in scrapes(at_ms - window_ms, at_ms) {
            write!(row, r#"{comma}[{},"{}"]"#, at_s(scrape), series.at(scrape)).expect("a String grows");
            comma = ",";
        }
        row + "]}"
    };
    rows("matrix", found.iter().map(row))
}

/// Sums by labels, which are spelled as JSON.
fn grouped(found: &[(Series, String, String)], keep: &[&str], value: impl Fn(&Series) -> f64) -> BTreeMap<String, f64> {
    let mut groups = BTreeMap::new();
    for (series, service, instance) in found {
        let labels = keep.iter().map(|name| format!(r#""{name}":"{}""#, series.label(name, service, instance)));
        *groups.entry(labels.collect::<Vec<_>>().join(",")).or_insert(0.0) += value(series);
    }
    groups
}

/// Every target was up all along, and its process began with the counters.
fn witnesses(at_ms: i64, window_ms: i64) -> String {
    let metrics = [("up", 1), ("process_start_time_seconds", EPOCH_S)];
    let row = |instance: usize, (metric, value): (&str, i64)| {
        let samples = scrapes(at_ms - window_ms, at_ms).map(|scrape| format!(r#"[{},"{value}"]"#, at_s(scrape)));
        let samples = samples.collect::<Vec<_>>().join(",");
        format!(
            r#"{{"metric":{{"__name__":"{metric}","instance":"10.0.0.{instance}:80","job":"fleet"}},"values":[{samples}]}}"#
        )
    };
    rows("matrix", (0..INSTANCES).flat_map(|instance| metrics.map(|metric| row(instance, metric))))
}
