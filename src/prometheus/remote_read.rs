//! Remote read: raw history as compressed chunks, the cheapest and the only exact way to read 30 days.
//!
//! A request is one snappy block of protobuf; the answer is a stream of frames `uvarint length, CRC-32C (big endian),
//! ChunkedReadResponse` (`storage/remote/chunked.go`, `prompb/remote.proto`). VictoriaMetrics, Mimir's query frontend and
//! many others have no such endpoint; then the coarse range queries of [`super::backfill`] take over.

use prost::Message;
use reqwest::header::{HeaderMap, HeaderValue};

use promql_parser::label::MatchOp;

use super::client::Client;
use super::fault::Fault;
use super::xor;
use crate::query::{RawSeries, Samples, Selector};

/// Raw series as they came: labels, and chunks that are decoded for one span of time after another.
#[derive(Debug, Default)]
pub struct History {
    series: Vec<Chunks>,
    /// Bytes of the answer.
    pub bytes: usize,
}

/// One raw series, still compressed.
#[derive(Debug)]
struct Chunks {
    labels: Vec<(String, String)>,
    chunks: Vec<Chunk>,
}

impl History {
    /// The samples in `(after_ms, until_ms]`. A chunk that cannot be read is a fault, never a silent hole.
    pub fn span(&self, after_ms: i64, until_ms: i64) -> Result<Vec<RawSeries>, Fault> {
        let mut span = Vec::new();
        for Chunks { labels, chunks } in &self.series {
            let mut pairs = Vec::new();
            for chunk in chunks.iter().filter(|chunk| chunk.max_time_ms > after_ms && chunk.min_time_ms <= until_ms) {
                let inside = |at, value| {
                    if at > after_ms && at <= until_ms && !is_stale_marker(value) {
                        pairs.push((at, value));
                    }
                };
                xor::decode(&chunk.data, inside).ok_or_else(|| Fault::NotAnAnswer("a chunk is damaged".into()))?;
            }
            if !pairs.is_empty() {
                span.push(RawSeries { labels: labels.clone(), samples: Samples::new(pairs) });
            }
        }
        Ok(span)
    }

    /// How many raw series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// Prometheus marks the end of a series with this NaN (`model/value.StaleNaN`); queries hide it, remote read does not.
fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == 0x7ff0_0000_0000_0002
}

/// Reads the raw samples of all selectors between two moments, milliseconds, in one request.
pub async fn read(client: &Client, selectors: &[Selector], from_ms: i64, to_ms: i64) -> Result<History, Fault> {
    let request = ReadRequest {
        queries: selectors.iter().map(|selector| query(selector, from_ms, to_ms)).collect(),
        accepted_response_types: vec![ResponseType::StreamedXorChunks as i32],
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .map_err(|error| Fault::NotAnAnswer(format!("the request cannot be compressed: {error}")))?;
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
    headers.insert("content-encoding", HeaderValue::from_static("snappy"));
    headers.insert("x-prometheus-remote-read-version", HeaderValue::from_static("0.1.0"));
    let body = client.post("api/v1/read", headers, body).await?;
    frames(&body)
}

fn query(selector: &Selector, from_ms: i64, to_ms: i64) -> Query {
    let name = LabelMatcher { r#type: 0, name: "__name__".into(), value: selector.metric.clone() };
    let others = selector.matchers.iter().map(|matcher| LabelMatcher {
        r#type: match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Re(_) => 2,
            MatchOp::NotRe(_) => 3,
        },
        name: matcher.name.clone(),
        value: matcher.value.clone(),
    });
    Query {
        start_timestamp_ms: from_ms,
        end_timestamp_ms: to_ms,
        matchers: std::iter::once(name).chain(others).collect(),
    }
}

fn frames(body: &[u8]) -> Result<History, Fault> {
    let broken = |why: &str| Fault::NotAnAnswer(format!("remote read: {why}"));
    let mut history = History { bytes: body.len(), ..History::default() };
    let mut rest = body;
    while !rest.is_empty() {
        let size = prost::decode_length_delimiter(&mut rest).map_err(|_| broken("a frame has no length"))?;
        let sum = rest.split_off(..4).ok_or_else(|| broken("a frame has no checksum"))?;
        let data = rest.split_off(..size).ok_or_else(|| broken("the last frame is cut off"))?;
        if crc32c::crc32c(data).to_be_bytes() != sum {
            return Err(broken("a frame's checksum is wrong"));
        }
        let frame = ChunkedReadResponse::decode(data).map_err(|error| broken(&error.to_string()))?;
        for series in frame.chunked_series {
            let chunks = series.chunks.into_iter().filter(|chunk| chunk.r#type == XOR);
            let mut labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            labels.sort();
            match history.series.last_mut() {
                // A long series comes in several frames.
                Some(last) if last.labels == labels => last.chunks.extend(chunks),
                _ => history.series.push(Chunks { labels, chunks: chunks.collect() }),
            }
        }
    }
    Ok(history)
}

const XOR: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ResponseType {
    Samples = 0,
    StreamedXorChunks = 1,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    accepted_response_types: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query_index: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    min_time_ms: i64,
    #[prost(int64, tag = "2")]
    max_time_ms: i64,
    #[prost(int32, tag = "3")]
    r#type: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_frames_are_faults() {
        let frame = ChunkedReadResponse { chunked_series: vec![], query_index: 0 }.encode_length_delimited_to_vec();
        let mut body = vec![frame[0]];
        body.extend(crc32c::crc32c(&frame[1..]).to_be_bytes());
        body.extend(&frame[1..]);
        assert!(frames(&body).is_ok_and(|history| history.is_empty()));
        let mut wrong = body.clone();
        wrong[1] ^= 1;
        assert!(frames(&wrong).is_err());
        assert!(frames(b"<html>").is_err());
        assert!(frames(&[200, 1, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_stale_marker_is_no_sample() {
        assert!(is_stale_marker(f64::from_bits(0x7ff0_0000_0000_0002)));
        assert!(!is_stale_marker(f64::NAN));
    }
}
