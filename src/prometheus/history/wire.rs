//! Messages of remote read and the frames they come in: `uvarint length, CRC-32C (big endian), ChunkedReadResponse`
//! (`storage/remote/chunked.go`, `prompb/remote.proto`).
//!
//! The simulated Prometheus (`demo`) sends what is read here.

use prost::Message;

use crate::prometheus::fault::Fault;

/// An answer that is damaged.
pub(super) fn broken(why: &str) -> Fault {
    Fault::NotAnAnswer(format!("remote read: {why}"))
}

/// The frame at the start of `buffer`, and its length; `None` while part of it is missing.
///
/// # Errors
/// A frame that is damaged, or longer than `bytes_max`.
pub fn frame(buffer: &[u8], bytes_max: usize) -> Result<Option<(ChunkedReadResponse, usize)>, Fault> {
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

/// Appends `frame` as it goes over the wire.
pub fn append(frame: &ChunkedReadResponse, to: &mut Vec<u8>) {
    let bytes = frame.encode_to_vec();
    prost::encode_length_delimiter(bytes.len(), to).expect("a Vec takes everything");
    to.extend(crc32c::crc32c(&bytes).to_be_bytes());
    to.extend(bytes);
}

/// How an answer may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    /// All samples in one message.
    Samples = 0,
    /// A stream of frames.
    StreamedXorChunks = 1,
}

/// A request: several queries, answered one after the other.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// The queries.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// How the answer may come, best first.
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// The series that all matchers match, between two moments, both within.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// From here on, milliseconds.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// Up to here, milliseconds.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// All of them hold.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

/// One matcher.
#[derive(Clone, PartialEq, Message)]
pub struct LabelMatcher {
    /// Which of them: of a matcher `=`, `!=`, `=~`, `!~` from 0 on; of a chunk its encoding.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// One frame of an answer.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedReadResponse {
    /// Series, each with some of its chunks.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which query it answers.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// A part of one series.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedSeries {
    /// Its labels, `__name__` among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its chunks, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<WireChunk>,
}

/// A label.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Some samples, encoded.
#[derive(Clone, PartialEq, Message)]
pub struct WireChunk {
    /// The oldest sample, milliseconds.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// The newest sample, milliseconds.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// Which of them: of a matcher `=`, `!=`, `=~`, `!~` from 0 on; of a chunk its encoding.
    #[prost(int32, tag = "3")]
    pub kind: i32,
    /// The samples.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
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
}
