//! Samples by remote write, as time goes on: a service whose share of errors the test moves, on a clock that may run faster
//! than the wall's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use slowburn::clock::Clock;
use tokio::task::JoinHandle;

use super::parts::http;

/// Seconds between samples.
pub const STEP_S: i64 = 10;
/// Requests between samples.
const GAIN: f64 = 200.0;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    at_ms: i64,
}

/// Writes `http_requests_total` of `checkout` until it is dropped. A Prometheus takes it with
/// `--web.enable-remote-write-receiver`.
pub struct Writer {
    share: Arc<Mutex<f64>>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Six hours of a healthy past, as the text that makes blocks; the last sample is at `until_s`.
    pub fn past(until_s: i64) -> String {
        let mut text = "# TYPE http_requests_total counter\n".to_owned();
        for (code, gain) in [("200", GAIN), ("500", 0.0)] {
            for (n, at) in (until_s - 6 * 3600..=until_s).step_by(STEP_S as usize).enumerate() {
                let labels = format!("service=\"checkout\",job=\"j\",instance=\"i\",code=\"{code}\"");
                text += &format!("http_requests_total{{{labels}}} {} {at}\n", gain * n as f64);
            }
        }
        text + "# EOF\n"
    }

    /// Goes on after [`Writer::past`], to the Prometheus at `url`.
    pub fn start(url: &str, until_s: i64, clock: Clock) -> Self {
        let share = Arc::new(Mutex::new(0.0));
        let (now_share, url) = (Arc::clone(&share), format!("{url}/api/v1/write"));
        let task = tokio::spawn(async move {
            let (mut at_s, mut good, mut bad) = (until_s, GAIN * (6 * 3600 / STEP_S) as f64, 0.0);
            loop {
                let mut samples = [Vec::new(), Vec::new()];
                while at_s + STEP_S <= clock.now() {
                    at_s += STEP_S;
                    let share = *now_share.lock().unwrap_or_else(PoisonError::into_inner);
                    (good, bad) = (good + (GAIN * (1.0 - share)).round(), bad + (GAIN * share).round());
                    samples[0].push(Sample { value: good, at_ms: at_s * 1000 });
                    samples[1].push(Sample { value: bad, at_ms: at_s * 1000 });
                }
                if !samples[0].is_empty() {
                    let series = ["200", "500"].into_iter().zip(samples).map(|(code, samples)| series(code, samples));
                    write(&url, &WriteRequest { series: series.collect() }).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Writer { share, task }
    }

    /// So many of all requests fail from now on.
    pub fn fail(&self, share: f64) {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = share;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn series(code: &str, samples: Vec<Sample>) -> Series {
    // In the order of their names.
    let labels =
        [("__name__", "http_requests_total"), ("code", code), ("instance", "i"), ("job", "j"), ("service", "checkout")];
    let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    Series { labels: labels.into_iter().map(label).collect(), samples }
}

async fn write(url: &str, request: &WriteRequest) {
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("it fits");
    let sent = http().post(url).header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
    let answer = sent.header("x-prometheus-remote-write-version", "0.1.0").body(body).send().await;
    let answer = answer.expect("Prometheus answers");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
}
