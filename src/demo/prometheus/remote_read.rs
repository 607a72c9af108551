//! Remote read: the samples of a scenario as a stream of chunks (`storage/remote/{read_handler,chunked}.go`).
//!
//! Deliberately absent: all samples in one message (every client asks for the stream), and cutting frames of more than
//! 1 MiB.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;

use super::chunk;
use super::generation::Generation;
use crate::demo::scenario::Scenario;
use crate::prometheus::history::wire::{
    self, ChunkedReadResponse, ChunkedSeries, Label, LabelMatcher, Query, ReadRequest, WireChunk,
};

/// Samples of one chunk.
const SAMPLES_PER_CHUNK: usize = 120;
/// Largest request, bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Answers a request for what has happened by `now_ms`.
pub(super) fn answer(scenario: &Scenario, generation: Generation, now_ms: i64, body: &[u8]) -> Response {
    match read(body) {
        Ok(request) => {
            let mut frames = Vec::new();
            for (index, query) in request.queries.iter().enumerate() {
                stream(scenario, generation, now_ms, index, query, &mut frames);
            }
            let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], Body::from(frames)).into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

fn read(body: &[u8]) -> Result<ReadRequest, String> {
    let size = snap::raw::decompress_len(body).map_err(|error| error.to_string())?;
    if size > REQUEST_BYTES_MAX {
        return Err(format!("the request has {size} bytes"));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| error.to_string())?;
    let request = ReadRequest::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
    match request.accepted_response_types.contains(&1) {
        true => Ok(request),
        false => Err("only streams of chunks are simulated".into()),
    }
}

/// One frame for each series that a query finds.
fn stream(scenario: &Scenario, generation: Generation, now_ms: i64, index: usize, query: &Query, frames: &mut Vec<u8>) {
    let matchers: Vec<CompiledMatcher> = query.matchers.iter().map(CompiledMatcher::new).collect();
    let mut found: Vec<usize> = (0..scenario.series().len())
        .filter(|&i| {
            let labels = &scenario.series()[i].labels;
            matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
        })
        .collect();
    found.sort_by_key(|&i| &scenario.series()[i].labels);
    for i in found {
        let to_ms = query.end_timestamp_ms.min(now_ms);
        let samples = scenario.samples_with_starts(i, query.start_timestamp_ms, to_ms);
        if samples.is_empty() {
            continue;
        }
        let chunks = samples.chunks(SAMPLES_PER_CHUNK).map(|samples| {
            let times = samples.iter().map(|(sample, _)| sample.at_ms);
            let (kind, data) = if generation.stores_starts() {
                let with_start = |(sample, start): &(_, Option<i64>)| {
                    let sample: &crate::demo::scenario::Sample = sample;
                    (start.unwrap_or(0), sample.at_ms, sample.value)
                };
                (4, chunk::xor2(&samples.iter().map(with_start).collect::<Vec<_>>()))
            } else {
                (1, chunk::xor(&samples.iter().map(|(s, _)| (s.at_ms, s.value)).collect::<Vec<_>>()))
            };
            let (min_time_ms, max_time_ms) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
            WireChunk { min_time_ms, max_time_ms, kind, data }
        });
        let labels = scenario.series()[i].labels.iter();
        let labels = labels.map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() });
        let series = ChunkedSeries { labels: labels.collect(), chunks: chunks.collect() };
        wire::append(&ChunkedReadResponse { chunked_series: vec![series], query_index: index as i64 }, frames);
    }
}

/// A label matcher with its pattern compiled.
struct CompiledMatcher {
    name: String,
    value: String,
    pattern: Option<regex::Regex>,
    negative: bool,
}

impl CompiledMatcher {
    fn new(wire: &LabelMatcher) -> Self {
        let pattern = || regex::Regex::new(&format!("^(?s:{})$", wire.value)).ok();
        CompiledMatcher {
            name: wire.name.clone(),
            value: wire.value.clone(),
            pattern: if wire.kind >= 2 { pattern() } else { None },
            negative: wire.kind % 2 == 1,
        }
    }

    fn matches(&self, value: &str) -> bool {
        let found = self.pattern.as_ref().map_or(self.value == value, |pattern| pattern.is_match(value));
        found != self.negative
    }
}
