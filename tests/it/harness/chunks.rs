//! Answers of remote read, changed on their way: frames are taken apart, their chunks changed or left out, and put
//! together again with right checksums.

use axum::body::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
    #[prost(int64, tag = "2")]
    query_index: i64,
}

/// One series of a frame.
#[derive(Clone, PartialEq, Message)]
pub struct Series {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A chunk.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// The stream with its chunks changed by `change`, and without those for which it says no.
pub fn rewritten(body: &Bytes, change: impl Fn(&[Label], &mut Chunk) -> bool) -> Bytes {
    let mut rest: &[u8] = body;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let size = prost::decode_length_delimiter(&mut rest).expect("a frame has a length");
        let (frame, after) = rest[4..].split_at(size);
        rest = after;
        let mut frame = Frame::decode(frame).expect("a frame");
        for series in &mut frame.series {
            let Series { labels, chunks } = series;
            chunks.retain_mut(|chunk| change(labels, chunk));
        }
        frame.series.retain(|series| !series.chunks.is_empty());
        let bytes = frame.encode_to_vec();
        prost::encode_length_delimiter(bytes.len(), &mut out).expect("a Vec takes everything");
        out.extend(crc32c::crc32c(&bytes).to_be_bytes());
        out.extend(bytes);
    }
    out.into()
}
