//! Remote read: raw history as compressed chunks, the cheapest and the only exact way to read 30 days.
//!
//! A request is one snappy block of protobuf; the answer is a stream of frames `uvarint length, CRC-32C (big endian),
//! ChunkedReadResponse` (`storage/remote/chunked.go`, `prompb/remote.proto`). VictoriaMetrics, Mimir's query frontend and
//! many others have no such endpoint; then the coarse range queries of [`super::backfill`] take over.
//!
//! One request may hold many queries, and their answers come one after the other. So thirty days are asked for at once,
//! a day after the other, and no more than a day of them is ever in memory.

use std::collections::BTreeSet;

use prost::Message;
use reqwest::header::{HeaderMap, HeaderValue};

use promql_parser::label::MatchOp;

use super::chunk::{Chunk, Encoding};
use crate::prometheus::client::{Body, Client};
use crate::prometheus::fault::Fault;
use crate::query::samples::label_of;
use crate::query::{RawSeries, Samples, Selector};

/// What an answer in chunks is called.
const STREAMED: &str = "application/x-streamed-protobuf";

/// Raw series as they came: labels, and chunks that are decoded for one span of time after another.
#[derive(Debug, Default)]
pub struct History {
    series: Vec<Chunks>,
    /// Bytes on the wire.
    pub bytes: usize,
}

/// History that comes span by span.
#[derive(Debug)]
pub struct Spans {
    body: Body,
    /// Bytes that have come and were not read yet.
    buffer: Vec<u8>,
    /// The first frame of a later span.
    ahead: Option<ChunkedReadResponse>,
    selectors: usize,
    spans: usize,
    next: usize,
    bytes_max: usize,
}

/// One raw series, still compressed.
#[derive(Debug)]
struct Chunks {
    labels: Vec<(String, String)>,
    chunks: Vec<Chunk>,
}

impl History {
    /// The samples in `(after_ms, until_ms]`. A chunk that cannot be read is a fault, never a silent hole.
    ///
    /// # Errors
    /// A damaged chunk.
    pub fn span(&self, after_ms: i64, until_ms: i64) -> Result<Vec<RawSeries>, Fault> {
        let mut span = Vec::new();
        for Chunks { labels, chunks } in &self.series {
            let mut read = Vec::new();
            for chunk in chunks.iter().filter(|chunk| chunk.max_time_ms > after_ms && chunk.min_time_ms <= until_ms) {
                chunk.decode(|at, value, start| {
                    if at > after_ms && at <= until_ms {
                        read.push((at, value, start));
                    }
                })?;
            }
            if !read.is_empty() {
                span.push(RawSeries { labels: labels.clone(), samples: Samples::with_starts(read) });
            }
        }
        Ok(span)
    }

    /// The values that a label has.
    pub fn values(&self, name: &str) -> BTreeSet<String> {
        let value = |chunks: &Chunks| label_of(&chunks.labels, name).to_owned();
        self.series.iter().map(value).collect()
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

/// Reads the raw samples of all selectors between two moments, milliseconds, in one request.
pub async fn read(client: &Client, selectors: &[Selector], from_ms: i64, to_ms: i64) -> Result<History, Fault> {
    let mut spans = read_spans(client, selectors, &[(from_ms, to_ms)]).await?;
    Ok(spans.next().await?.unwrap_or_default())
}

/// Asks for the raw samples of all selectors in several spans (from and to in milliseconds, both included), in one
/// request.
pub async fn read_spans(client: &Client, selectors: &[Selector], spans: &[(i64, i64)]) -> Result<Spans, Fault> {
    let queries = spans
        .iter()
        .flat_map(|&(from_ms, to_ms)| selectors.iter().map(move |selector| query(selector, from_ms, to_ms)));
    let request = ReadRequest {
        queries: queries.collect(),
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
    // Some servers send all samples as one message, whatever is asked for; and some pages are of no server at all.
    if !body.content_type().contains(STREAMED) {
        return Err(broken(&format!("an answer of the type {:?}, and no stream of chunks", body.content_type())));
    }
    Ok(Spans {
        body,
        buffer: Vec::new(),
        ahead: None,
        selectors: selectors.len().max(1),
        spans: spans.len(),
        next: 0,
        bytes_max: client.max_response_bytes(),
    })
}

impl Spans {
    /// What the next span holds, which may be nothing; `None` when all spans have come.
    pub async fn next(&mut self) -> Result<Option<History>, Fault> {
        if self.next == self.spans {
            return Ok(None);
        }
        let mut history = History::default();
        loop {
            let frame = match self.ahead.take() {
                Some(frame) => frame,
                None => match self.frame(&mut history.bytes).await? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            let span = usize::try_from(frame.query_index).map_or(usize::MAX, |query| query / self.selectors);
            if span < self.next || span >= self.spans {
                return Err(broken("a frame belongs to no query, or comes too late"));
            }
            if span > self.next {
                self.ahead = Some(frame);
                break;
            }
            if history.bytes > self.bytes_max {
                return Err(Fault::TooLarge(self.bytes_max));
            }
            history.take(frame)?;
        }
        self.next += 1;
        Ok(Some(history))
    }

    /// The next frame; `None` at the end of the answer.
    async fn frame(&mut self, bytes: &mut usize) -> Result<Option<ChunkedReadResponse>, Fault> {
        loop {
            if let Some((frame, length)) = frame(&self.buffer, self.bytes_max)? {
                self.buffer.drain(..length);
                *bytes += length;
                return Ok(Some(frame));
            }
            match self.body.chunk().await? {
                Some(more) => self.buffer.extend_from_slice(&more),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(broken("the last frame is cut off")),
            }
        }
    }
}

fn broken(why: &str) -> Fault {
    Fault::NotAnAnswer(format!("remote read: {why}"))
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

/// The frame at the start of `buffer`, and its length; `None` while part of it is missing.
fn frame(buffer: &[u8], bytes_max: usize) -> Result<Option<(ChunkedReadResponse, usize)>, Fault> {
    /// Bytes of the longest length there is.
    const LENGTH_MAX: usize = 10;
    let mut rest = buffer;
    let size = match prost::decode_length_delimiter(&mut rest) {
        Ok(size) if size > bytes_max => return Err(Fault::TooLarge(bytes_max)),
        Ok(size) => size,
        Err(_) if buffer.len() < LENGTH_MAX => return Ok(None),
        Err(_) => return Err(broken("a frame has no length")),
    };
    let (Some(sum), Some(data)) = (rest.get(..4), rest.get(4..4 + size)) else { return Ok(None) };
    if crc32c::crc32c(data).to_be_bytes() != sum {
        return Err(broken("a frame's checksum is wrong"));
    }
    let read = ChunkedReadResponse::decode(data).map_err(|error| broken(&error.to_string()))?;
    Ok(Some((read, buffer.len() - rest.len() + 4 + size)))
}

impl History {
    fn take(&mut self, frame: ChunkedReadResponse) -> Result<(), Fault> {
        for series in frame.chunked_series {
            let mut chunks = Vec::with_capacity(series.chunks.len());
            for WireChunk { min_time_ms, max_time_ms, r#type, data } in series.chunks {
                let encoding = Encoding::of(r#type)?;
                chunks.extend(encoding.map(|encoding| Chunk { min_time_ms, max_time_ms, encoding, data }));
            }
            let mut labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            labels.sort();
            match self.series.last_mut() {
                // A long series comes in several frames.
                Some(last) if last.labels == labels => last.chunks.extend(chunks),
                _ => self.series.push(Chunks { labels, chunks }),
            }
        }
        Ok(())
    }
}

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
    chunks: Vec<WireChunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireChunk {
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
    fn damaged_frames_are_faults_and_half_ones_wait() {
        let answer = ChunkedReadResponse { chunked_series: vec![], query_index: 3 }.encode_length_delimited_to_vec();
        let mut body = vec![answer[0]];
        body.extend(crc32c::crc32c(&answer[1..]).to_be_bytes());
        body.extend(&answer[1..]);
        let length = body.len();
        body.extend(b"next");
        let read = frame(&body, 1000).expect("whole").expect("there");
        assert_eq!((read.0.query_index, read.1), (3, length));
        for cut in 0..length {
            assert!(frame(&body[..cut], 1000).is_ok_and(|read| read.is_none()), "{cut}");
        }
        body[1] ^= 1;
        assert!(frame(&body, 1000).is_err());
        assert!(matches!(frame(b"<html>", 20), Err(Fault::TooLarge(20))));
        assert!(frame(&[0xff; 12], 1000).is_err());
    }

    #[test]
    fn a_chunk_of_an_encoding_that_is_not_known_is_a_fault_and_one_of_a_histogram_is_not() {
        let frame = |numbers: &[i32]| {
            let data = crate::demo::prometheus::chunk::xor2(&[(500, 1000, 1.0)]);
            let chunk = |r#type| WireChunk { min_time_ms: 1000, max_time_ms: 1000, r#type, data: data.clone() };
            let chunks = numbers.iter().copied().map(chunk).collect();
            ChunkedReadResponse { chunked_series: vec![ChunkedSeries { labels: vec![], chunks }], query_index: 0 }
        };
        let read = |numbers: &[i32]| {
            let mut history = History::default();
            history.take(frame(numbers)).and_then(|()| history.span(0, 2000))
        };
        let series = read(&[2, 4, 6]).expect("what is known is read");
        assert_eq!((series[0].samples.as_slice(), series[0].samples.start_ms(1000)), (&[(1000, 1.0)][..], Some(500)));
        assert!(matches!(read(&[4, 7]), Err(Fault::NotAnAnswer(_))));
        assert!(read(&[2, 3]).is_ok_and(|series| series.is_empty()));
    }
}
