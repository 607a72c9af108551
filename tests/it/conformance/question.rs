//! The questions both servers must answer alike: every query shape Slowburn sends, the shapes people type beside them,
//! and wrong ones.

/// One request to the query API.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// PromQL.
    pub(super) query: String,
    /// When.
    pub(super) when: When,
}

/// The moments a question asks for, as the strings that go over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
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
    pub(super) fn request(&self) -> (&'static str, Vec<(&'static str, &str)>) {
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
    "max_over_time((max by (feature_view) ((feast_feature_freshness_seconds) <= 1000000000000000000))[1h:5m])",
    "min_over_time(sum by (job) (rate(vllm:request_success_total[5m]))[30m:7s])",
    "sum_over_time(vector(1)[10m:1m])",
    "last_over_time(kueue_pending_workloads[10m:90s] offset 4m)",
    "increase(sum by (job) (http_requests_total)[20m:1m])",
    "delta(kueue_pending_workloads[20m:45s])",
    "avg_over_time(max_over_time(up[2m:20s])[10m:1m])",
    "min_over_time(kueue_pending_workloads[10m])",
    "avg_over_time(vllm:num_requests_waiting[10m])",
    "sum_over_time(vllm:num_requests_waiting[10m])",
    "count_over_time(up[1h])",
    "last_over_time(up[1h])",
    "present_over_time(up[1h])",
    "increase(feast_feature_freshness_seconds[10m])",
    "topk(1, http_requests_total)",
    "topk(2, count_over_time(http_request_duration_seconds_count[10m]))",
    "topk by (service) (1, http_request_duration_seconds_sum)",
    "topk(0, up)",
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
    ("max_over_time((max by (feature_view) (feast_feature_freshness_seconds))[10m:1m])", 3600, "45"),
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
pub(super) fn questions(end: i64) -> Vec<Question> {
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
