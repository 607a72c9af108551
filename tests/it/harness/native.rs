//! An exporter that speaks protobuf, as native histograms need: it observes values in a native histogram and in classic
//! ones at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prost::Message;

use super::parts::{self, Server};

/// `1/8` of a doubling a bucket.
pub const SCHEMA: i32 = 3;

/// An exporter on a free port.
#[derive(Debug)]
pub struct NativeExporter {
    observed: Arc<Mutex<Observed>>,
    server: Server,
}

/// What was observed, by metric.
#[derive(Debug, Default)]
struct Observed {
    native: BTreeMap<String, Vec<f64>>,
    classic: BTreeMap<String, (Vec<f64>, Vec<f64>)>,
}

impl NativeExporter {
    pub async fn start() -> Self {
        let observed = Arc::new(Mutex::new(Observed::default()));
        let app = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(&observed));
        NativeExporter { server: parts::serve(app).await, observed }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// Exposes a native histogram.
    pub fn native(&self, name: &str) {
        self.observed().native.insert(name.to_owned(), Vec::new());
    }

    /// Exposes a classic histogram with these bounds.
    pub fn classic(&self, name: &str, bounds: &[f64]) {
        self.observed().classic.insert(name.to_owned(), (bounds.to_vec(), Vec::new()));
    }

    /// Every histogram sees `values`.
    pub fn observe(&self, values: &[f64]) {
        let mut observed = self.observed();
        observed.native.values_mut().for_each(|seen| seen.extend(values));
        observed.classic.values_mut().for_each(|(_, seen)| seen.extend(values));
    }

    /// The process behind it starts anew.
    pub fn restart(&self) {
        let mut observed = self.observed();
        observed.native.values_mut().for_each(Vec::clear);
        observed.classic.values_mut().for_each(|(_, seen)| seen.clear());
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().expect("no test panics while it holds it")
    }
}

async fn metrics(State(observed): State<Arc<Mutex<Observed>>>) -> Response {
    let observed = observed.lock().expect("no test panics while it holds it");
    let native = observed.native.iter().map(|(name, seen)| family(name, native_of(seen)));
    let classic = observed.classic.iter().map(|(name, (bounds, seen))| family(name, classic_of(bounds, seen)));
    let body: Vec<u8> = native.chain(classic).flat_map(|family| family.encode_length_delimited_to_vec()).collect();
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn family(name: &str, histogram: Histogram) -> MetricFamily {
    let label = vec![LabelPair { name: "service".into(), value: "shop".into() }];
    MetricFamily { name: name.to_owned(), kind: HISTOGRAM, metric: vec![Metric { label, histogram: Some(histogram) }] }
}

fn native_of(seen: &[f64]) -> Histogram {
    let mut buckets: BTreeMap<i32, i64> = BTreeMap::new();
    for value in seen {
        let place = (value.log2() * f64::from(SCHEMA).exp2()).ceil() as i32;
        *buckets.entry(place).or_default() += 1;
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for &place in buckets.keys() {
        match spans.last_mut().filter(|_| place == next) {
            Some(span) => span.length += 1,
            None => spans.push(Span { offset: place - next, length: 1 }),
        }
        next = place + 1;
    }
    let counts: Vec<i64> = [0].into_iter().chain(buckets.into_values()).collect();
    Histogram {
        sample_count: seen.len() as u64,
        sample_sum: seen.iter().sum(),
        schema: SCHEMA,
        zero_threshold: 1e-9,
        // One empty span says that it is a native histogram, while nothing was seen.
        positive_span: if spans.is_empty() { vec![Span { offset: 0, length: 0 }] } else { spans },
        positive_delta: counts.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        ..Histogram::default()
    }
}

fn classic_of(bounds: &[f64], seen: &[f64]) -> Histogram {
    let bucket = |&upper_bound: &f64| Bucket {
        cumulative_count: seen.iter().filter(|value| **value <= upper_bound).count() as u64,
        upper_bound,
    };
    Histogram {
        sample_count: seen.len() as u64,
        sample_sum: seen.iter().sum(),
        bucket: bounds.iter().map(bucket).collect(),
        ..Histogram::default()
    }
}

/// `MetricType.HISTOGRAM`.
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}
