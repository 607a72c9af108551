//! The same questions to two servers, and where their answers differ.
//!
//! The simulated Prometheus is only worth its name while a real one with the same samples says the same. This is the
//! list of questions (every query shape Slowburn sends, the shapes people type beside them, and wrong ones) and the
//! comparison; the conformance test brings the two servers.

use std::collections::BTreeMap;

use serde_json::Value;

/// Relative difference of two values that counts as none: sums in another order, fused multiplications.
const TOLERANCE: f64 = 1e-9;

/// One request to the query API.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// PromQL.
    pub query: String,
    /// When.
    pub when: When,
}

/// The moments a question asks for, as the strings that go over the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// `/api/v1/query`.
    At(String),
    /// `/api/v1/query_range`.
    Range {
        /// First moment.
        start: String,
        /// Last moment.
        end: String,
        /// Step.
        step: String,
    },
}

impl Question {
    /// Path and form of the request.
    pub fn request(&self) -> (&'static str, Vec<(&'static str, &str)>) {
        match &self.when {
            When::At(time) => ("/api/v1/query", vec![("query", &self.query), ("time", time), ("stats", "all")]),
            When::Range { start, end, step } => (
                "/api/v1/query_range",
                vec![("query", &self.query), ("start", start), ("end", end), ("step", step), ("stats", "all")],
            ),
        }
    }
}

/// Instant queries; asked at several moments.
const AT: &[&str] = &[
    // Raw samples, as the poll reads them.
    "http_requests_total[45s]",
    "http_requests_total{service=~\"flat|night\",code=~\"5..\"}[5m]",
    "{__name__=~\"http_requests_total|http_request_duration_seconds_count\",service=\"checkout\"}[90s]",
    "http_requests_total{service=\"born\"}[1h]",
    "http_requests_total{service=\"hole\"}[30m]",
    "http_requests_total{service=\"crash-loop\"}[30m]",
    "vllm:time_to_first_token_seconds_bucket{tier=\"realtime\",le=~\"1|1.0|\\\\+Inf\"}[2m]",
    "process_start_time_seconds{job=\"checkout\"}",
    "process_start_time_seconds{job=\"api\"}[45s]",
    "(up[1m])",
    "nothing_like_it[1h]",
    "nothing_like_it",
    // Selectors.
    "http_requests_total{service!=\"flat\",code!~\"2..|4..\"}",
    "http_requests_total{model=\"\"}",
    "http_requests_total{service=~\"fl.t|ni\"}",
    "http_requests_total{service=\"flat\"} offset 10m",
    "http_requests_total{service=\"flat\"} offset -5m",
    "http_requests_total{service=\"flat\"} @ 1699990000",
    "{__name__=~\"feast_.+|kueue_pending_workloads\"}",
    // Counters.
    "increase(http_requests_total[1m])",
    "increase(http_requests_total[90s])",
    "sum by (service, code) (increase(http_requests_total[1h]))",
    "sum by (service) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (service) (rate(http_requests_total[5m]))",
    "sum(increase(http_requests_total{service=\"restarts\"}[12h]))",
    "increase(http_requests_total{service=\"crash-loop\"}[1h] offset 7m)",
    "irate(http_requests_total{service=\"flat\"}[2m])",
    "resets(http_requests_total{service=\"crash-loop\"}[1h])",
    "changes(process_start_time_seconds[1h])",
    "sum by (service, code) (((http_requests_total - http_requests_total offset 30s) >= 0) or (http_requests_total and on (job, instance) (http_requests_total offset 30s)))",
    "sum by (service) (((http_requests_total{code=~\"5..\"} - http_requests_total{code=~\"5..\"} offset 30s) >= 0) or (http_requests_total{code=~\"5..\"} and on (job, instance) (http_requests_total offset 30s)))",
    // Gauges.
    "max by (feature_view) (feast_feature_freshness_seconds)",
    "time() - process_start_time_seconds",
    "delta(feast_feature_freshness_seconds[5m])",
    "max_over_time(feast_feature_freshness_seconds[10m])",
    "min_over_time(kueue_pending_workloads[10m])",
    "avg_over_time(vllm:num_requests_waiting[10m])",
    "sum_over_time(vllm:num_requests_waiting[10m])",
    "count_over_time(up[1h])",
    "last_over_time(up[1h])",
    "present_over_time(up[1h])",
    "increase(feast_feature_freshness_seconds[10m])",
    // Histograms.
    "count by (le) (vllm:time_to_first_token_seconds_bucket{tier=\"batch\"})",
    "histogram_quantile(0.95, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m])))",
    "histogram_quantile(0.99, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[1h])))",
    "histogram_quantile(0.5, http_request_duration_seconds_bucket{le!=\"+Inf\"})",
    "histogram_quantile(1.5, sum by (le) (http_request_duration_seconds_bucket))",
    "sum by (service) (increase(http_request_duration_seconds_count[1h])) - sum by (service) (increase(http_request_duration_seconds_bucket{le=\"0.8\"}[1h]))",
    "sum by (model_name) (rate(vllm:time_to_first_token_seconds_sum[5m])) / sum by (model_name) (rate(vllm:time_to_first_token_seconds_count[5m]))",
    // Operators.
    "sum(up) > 3",
    "sum(up) > bool 3",
    "up == 1",
    "1 < up",
    "up == bool 1",
    "-up",
    "2 ^ 3 ^ 2 % 7 - -1",
    "1 > bool 2",
    "http_requests_total{service=\"flat\",code=\"500\"} / ignoring (code) group_left http_requests_total{service=\"flat\",code=\"200\"}",
    "http_requests_total{service=\"flat\"} / on (instance) group_left (job) process_start_time_seconds{job=\"api\"}",
    "process_start_time_seconds{job=\"api\"} * on (instance) group_right http_requests_total{service=\"flat\"}",
    "http_requests_total{service=\"flat\"} > on (instance, code) http_requests_total{service=\"flat\"} offset 5m",
    "http_requests_total{code=\"500\"} unless on (instance) http_requests_total{service=\"flat\"}",
    "http_requests_total{code=\"500\"} and ignoring (code) http_requests_total{code=\"503\"}",
    "http_requests_total{code=\"500\"} or http_requests_total{code=~\"50.\"}",
    "up / 0",
    "-(up / 0)",
    "(up - 1) / (up - 1)",
    "up * 1e-9",
    "up * 1e22",
    // Aggregations.
    "sum without (instance, code) (http_requests_total)",
    "avg by (job) (process_start_time_seconds)",
    "count(up)",
    "min(http_requests_total)",
    "group by (job) (up)",
    "sum by (nothing) (up)",
    // Scalars and the rest.
    "time()",
    "vector(1)",
    "vector(time())",
    "scalar(sum(up))",
    "scalar(up)",
    "timestamp(up)",
    "timestamp(up offset 10m)",
    "timestamp(sum(up))",
    "absent(up)",
    "absent(nothing_like_it{job=\"a\",x=~\"b\"})",
    "abs(-up)",
    "clamp_max(http_requests_total{service=\"flat\"}, 100)",
    "floor(process_start_time_seconds / 7)",
    "1e21",
    "1e-7",
    // Wrong.
    "up up",
    "",
    "sum(",
    "{job=~\".*\"}",
    "rate(up)",
    "http_requests_total * on (service) http_requests_total",
    "http_requests_total{service=\"flat\"} * on (instance) process_start_time_seconds{job=\"api\"}",
    "rate({__name__=~\"up|process_start_time_seconds\"}[5m])",
    "no_such_function(up)",
    "1 > 2",
];

/// Range queries, as (query, length in seconds, step).
const OVER: &[(&str, i64, &str)] = &[
    ("sum by (service, code) (increase(http_requests_total[3630s]))", 6 * 3600, "3600"),
    ("sum by (service, code) (increase(http_requests_total[330s]))", 4 * 3600, "300"),
    ("sum by (service, code) (increase(http_requests_total[90s]))", 3600, "1m"),
    ("sum by (model_name, tier, le) (increase(vllm:time_to_first_token_seconds_bucket[3630s]))", 6 * 3600, "3600"),
    ("http_requests_total{service=\"hole\"}", 2 * 3600, "30"),
    ("increase(http_requests_total{service=\"hole\",code=\"200\"}[5m])", 3600, "1"),
    ("http_requests_total{service=\"crash-loop\"}", 3600, "15"),
    ("max by (feature_view) (feast_feature_freshness_seconds)", 3600, "30s"),
    ("time() - process_start_time_seconds", 3600, "0.5m"),
    ("vllm:num_requests_waiting > 3", 3600, "30"),
    ("kueue_pending_workloads", 1800, "7.5"),
    ("time()", 600, "60"),
    ("count by (le) (http_request_duration_seconds_bucket)", 600, "60"),
    (
        "sum by (service, code) (((http_requests_total - http_requests_total offset 30s) >= 0) or (http_requests_total and on (job, instance) (http_requests_total offset 30s)))",
        3600,
        "30",
    ),
    ("histogram_quantile(0.95, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m])))", 3600, "60"),
    ("max_over_time(feast_feature_freshness_seconds[30s])", 3600, "30"),
    ("up @ end()", 600, "60"),
    ("absent(http_requests_total{service=\"hole\"})", 3600, "60"),
    // Wrong.
    ("up[5m]", 600, "60"),
    ("up", 600, "0"),
    ("up", 12_000, "1"),
    ("up", -60, "60"),
    ("up", 600, "a while"),
    ("sum(", 600, "60"),
];

/// Every question for data that end at `end` (seconds): instant queries at the end, a little before it at a fraction of
/// a second, in the middle of the incidents and past the end; range queries up to the end.
pub fn questions(end: i64) -> Vec<Question> {
    let moments = [
        format!("{end}"),
        format!("{}.37", end - 31),
        format!("{}.001", end - 2100),
        format!("{}", end - 2400),
        format!("{}", end + 200),
    ];
    let at = |query: &&str| moments.clone().map(|time| Question { query: (*query).to_owned(), when: When::At(time) });
    let over = |(query, length, step): &(&str, i64, &str)| Question {
        query: (*query).to_owned(),
        when: When::Range { start: format!("{}", end - length), end: format!("{end}"), step: (*step).to_owned() },
    };
    let mut questions: Vec<Question> = AT.iter().flat_map(at).chain(OVER.iter().map(over)).collect();
    // Times in the other forms, and unreadable ones.
    for time in ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20.5+01:00", "1.7e9", "yesterday"] {
        questions.push(Question { query: "up".into(), when: When::At(time.into()) });
    }
    questions
}

/// Where two answers to one question differ, in one sentence; `None` when they say the same. Status codes are given
/// with the bodies. Error messages may differ, error types may not.
pub fn difference(real: (u16, &str), simulated: (u16, &str)) -> Option<String> {
    if real.0 != simulated.0 {
        return Some(format!("status {} and {}: {} and {}", real.0, simulated.0, brief(real.1), brief(simulated.1)));
    }
    let parse = |body: &str| serde_json::from_str::<Value>(body);
    let (real, simulated) = match (parse(real.1), parse(simulated.1)) {
        (Ok(real), Ok(simulated)) => (real, simulated),
        (real, simulated) => return Some(format!("no JSON: {:?} and {:?}", real.err(), simulated.err())),
    };
    for pointer in ["/status", "/errorType", "/data/resultType", "/data/stats/samples/totalQueryableSamples"] {
        if real.pointer(pointer) != simulated.pointer(pointer) {
            return Some(format!("{pointer} {:?} and {:?}", real.pointer(pointer), simulated.pointer(pointer)));
        }
    }
    let rows = |answer: &Value| -> Result<BTreeMap<String, Vec<(f64, f64)>>, String> {
        let result = answer.pointer("/data/result").unwrap_or(&Value::Null);
        match answer.pointer("/data/resultType").and_then(Value::as_str) {
            Some("scalar") => Ok(BTreeMap::from([("scalar".to_owned(), vec![point(result)?])])),
            Some(_) => result.as_array().ok_or("result is no array")?.iter().map(row).collect(),
            None => Ok(BTreeMap::new()),
        }
    };
    match (rows(&real), rows(&simulated)) {
        (Ok(real), Ok(simulated)) => difference_of_rows(&real, &simulated),
        (real, simulated) => Some(format!("malformed: {:?} and {:?}", real.err(), simulated.err())),
    }
}

fn difference_of_rows(
    real: &BTreeMap<String, Vec<(f64, f64)>>,
    other: &BTreeMap<String, Vec<(f64, f64)>>,
) -> Option<String> {
    if let Some(missing) = real.keys().find(|labels| !other.contains_key(*labels)) {
        return Some(format!("{missing} is missing ({} series and {})", real.len(), other.len()));
    }
    if let Some(extra) = other.keys().find(|labels| !real.contains_key(*labels)) {
        return Some(format!("{extra} is too much ({} series and {})", real.len(), other.len()));
    }
    for (labels, points) in real {
        let simulated = &other[labels];
        if points.len() != simulated.len() {
            return Some(format!("{labels} has {} points and {}", points.len(), simulated.len()));
        }
        if let Some((a, b)) = points.iter().zip(simulated).find(|(a, b)| a.0 != b.0 || !close(a.1, b.1)) {
            return Some(format!("{labels} has {a:?} and {b:?}"));
        }
    }
    None
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn row(row: &Value) -> Result<(String, Vec<(f64, f64)>), String> {
    let labels = row.get("metric").ok_or("a row without metric")?.to_string();
    let points = match (row.get("value"), row.get("values").and_then(Value::as_array)) {
        (Some(value), None) => vec![point(value)?],
        (None, Some(values)) => values.iter().map(point).collect::<Result<_, _>>()?,
        _ => return Err("a row needs value or values".into()),
    };
    Ok((labels, points))
}

fn point(point: &Value) -> Result<(f64, f64), String> {
    let at = point.get(0).and_then(Value::as_f64).ok_or("a point without time")?;
    let text = point.get(1).and_then(Value::as_str).ok_or("a value that is no string")?;
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| format!("{text:?} is no number"))?,
    };
    Ok((at, value))
}

fn brief(body: &str) -> String {
    body.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}"#;

    #[test]
    fn equal_answers_do_not_differ_whatever_their_order() {
        let two = |first: &str, second: &str| {
            let row = |name: &str| format!(r#"{{"metric":{{"a":"{name}"}},"values":[[1.5,"NaN"],[2,"+Inf"]]}}"#);
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{}]}}}}"#,
                row(first),
                row(second)
            )
        };
        assert_eq!(difference((200, ONE), (200, ONE)), None);
        assert_eq!(difference((200, &two("x", "y")), (200, &two("y", "x"))), None);
    }

    #[test]
    fn every_difference_is_seen() {
        let others = [
            ONE.replace("\"2\"", "\"2.00001\""),
            ONE.replace("[1,", "[1.001,"),
            ONE.replace("\"b\"", "\"c\""),
            ONE.replace(r#"{"metric":{"a":"b"},"value":[1,"2"]}"#, ""),
            ONE.replace("vector", "matrix").replace("\"value\":[1,\"2\"]", "\"values\":[[1,\"2\"]]"),
            ONE.replace("success", "error"),
            ONE.replace("\"2\"", "2"),
            "not JSON".to_owned(),
        ];
        for other in others {
            assert!(difference((200, ONE), (200, &other)).is_some(), "{other}");
            assert!(difference((200, &other), (200, ONE)).is_some(), "{other}");
        }
        assert!(difference((400, ONE), (422, ONE)).is_some());
        let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"x"}}"#);
        assert!(difference((400, &error("bad_data")), (400, &error("execution"))).is_some());
    }
}
