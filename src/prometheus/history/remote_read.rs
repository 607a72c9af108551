//! Remote read: raw history as compressed chunks, the cheapest and the only exact way to read 30 days.
//!
//! A request is one snappy block of protobuf; the answer is a stream of frames ([`super::wire`]). VictoriaMetrics, Mimir's
//! query frontend and many others have no such endpoint; then the coarse range queries of [`super::backfill`] take over.
//!
//! One request may hold many queries, and their answers come one after the other. So thirty days are asked for at once,
//! a day after the other, and no more than a day of them is ever in memory.

use std::collections::BTreeSet;

use prost::Message;
use reqwest::header::{HeaderMap, HeaderValue};

use promql_parser::label::MatchOp;

use super::chunk::{Chunk, Encoding};
use super::wire::{ChunkedReadResponse, LabelMatcher, Query, ReadRequest, ResponseType, WireChunk, broken, frame};
use crate::prometheus::client::{Body, Client};
use crate::prometheus::fault::Fault;
use crate::query::samples::label_of;
use crate::query::{RawLabels, RawSeries, Samples, Selector};

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
    labels: RawLabels,
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

fn query(selector: &Selector, from_ms: i64, to_ms: i64) -> Query {
    let name = LabelMatcher { kind: 0, name: "__name__".into(), value: selector.metric.clone() };
    let others = selector.matchers.iter().map(|matcher| LabelMatcher {
        kind: match matcher.op {
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

impl History {
    fn take(&mut self, frame: ChunkedReadResponse) -> Result<(), Fault> {
        for series in frame.chunked_series {
            let mut chunks = Vec::with_capacity(series.chunks.len());
            for WireChunk { min_time_ms, max_time_ms, kind, data } in series.chunks {
                let encoding = Encoding::of(kind)?;
                chunks.extend(encoding.map(|encoding| Chunk { min_time_ms, max_time_ms, encoding, data }));
            }
            let mut labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            labels.sort();
            match self.series.last_mut() {
                // A long series comes in several frames.
                Some(last) if *last.labels == *labels => last.chunks.extend(chunks),
                _ => self.series.push(Chunks { labels: labels.into(), chunks }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::history::wire::ChunkedSeries;

    #[test]
    fn a_chunk_of_an_encoding_that_is_not_known_is_a_fault_and_one_of_a_histogram_is_not() {
        let frame = |numbers: &[i32]| {
            let data = crate::demo::prometheus::chunk::xor2(&[(500, 1000, 1.0)]);
            let chunk = |kind| WireChunk { min_time_ms: 1000, max_time_ms: 1000, kind, data: data.clone() };
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
