//! Large answers on the wire: gzip where the client takes it, and 304 where it has the answer already.
//!
//! A page that follows a fleet reads `/v1/slos` after every evaluation, and so does each open tab. The list is made once
//! for an evaluation, compressed once, and named by an ETag (RFC 9110, section 8.8.3); a client that comes with that name
//! gets a 304 without a body.
//!
//! Deliberately absent: other codings, and compression of small answers, where it costs more than it saves.

use std::io::Write;
use std::sync::{Arc, Weak};

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::engine::Snapshot;

/// Answers smaller than this go out as they are, bytes.
const GZIP_MIN: usize = 1024;
/// Larger ones too: they would be held twice.
const COMPRESSED_MAX: u64 = 16 << 20;

/// Whether a client takes gzip: named (or `*`) in `Accept-Encoding` and not with `q=0`.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let mut any = None;
    for item in listed.flat_map(|list| list.split(',')) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let refused = parameters.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()) == Some(0.0);
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return !refused,
            "*" => any = Some(!refused),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// An answer of text, compressed where the client takes that and it pays.
pub(super) fn text(headers: &HeaderMap, content_type: &'static str, body: Vec<u8>) -> Response {
    let kind = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept-encoding")];
    if takes_gzip(headers) && body.len() >= GZIP_MIN {
        (kind, [(header::CONTENT_ENCODING, "gzip")], gzip(&body)).into_response()
    } else {
        (kind, body).into_response()
    }
}

/// Layer: answers that are whole and of text go out compressed where the client takes that and it pays.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let wanted = takes_gzip(request.headers());
    let answer = next.run(request).await;
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_text = ["application/json", "text/html", "image/svg+xml"].iter().any(|text| kind.starts_with(text));
    // A stream has no length: it is sent as it comes.
    let length = answer.body().size_hint().exact().unwrap_or(0);
    let whole = (GZIP_MIN as u64..=COMPRESSED_MAX).contains(&length);
    if !wanted || !is_text || !whole || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(body) = axum::body::to_bytes(body, COMPRESSED_MAX as usize).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let packed = tokio::task::spawn_blocking(move || gzip(&body)).await;
    let Ok(packed) = packed else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, packed.into())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::default());
    encoder.write_all(body).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

/// The answer made of one snapshot, kept until the next one is asked about.
#[derive(Debug, Default)]
pub(super) struct RenderedAnswer(Option<KeptAnswer>);

#[derive(Debug)]
struct KeptAnswer {
    /// The snapshot it was made of; it does not keep the snapshot alive.
    of: Weak<Snapshot>,
    etag: HeaderValue,
    gzip: Bytes,
}

impl RenderedAnswer {
    /// The JSON that `render` makes of `snapshot`, as this client wants it. `render` runs at most once for a snapshot
    /// where clients take gzip.
    pub fn answer(
        &mut self,
        headers: &HeaderMap,
        snapshot: &Arc<Snapshot>,
        render: impl FnOnce() -> Vec<u8>,
    ) -> Response {
        let kept = self.0.take().filter(|kept| std::ptr::eq(kept.of.as_ptr(), Arc::as_ptr(snapshot)));
        let (kept, plain) = match kept {
            Some(kept) if takes_gzip(headers) || is_known(headers, &kept.etag) => (kept, None),
            _ => {
                let plain = render();
                (KeptAnswer::new(snapshot, &plain), Some(plain))
            }
        };
        let common = [
            (header::ETAG, kept.etag.clone()),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            // A browser keeps the answer and asks each time whether it still holds.
            (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        ];
        let json = [(header::CONTENT_TYPE, "application/json")];
        let answer = if is_known(headers, &kept.etag) {
            (StatusCode::NOT_MODIFIED, common).into_response()
        } else if takes_gzip(headers) {
            (common, json, [(header::CONTENT_ENCODING, "gzip")], kept.gzip.clone()).into_response()
        } else {
            (common, json, plain.unwrap_or_default()).into_response()
        };
        self.0 = Some(kept);
        answer
    }
}

impl KeptAnswer {
    fn new(snapshot: &Arc<Snapshot>, plain: &[u8]) -> Self {
        let digest = Sha256::digest(plain);
        let name: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        // Weak, because the same name stands for the plain and the compressed form.
        let etag = HeaderValue::from_str(&format!("W/\"{name}\"")).expect("hexadecimal digits are a header value");
        KeptAnswer { of: Arc::downgrade(snapshot), etag, gzip: gzip(plain).into() }
    }
}

/// Whether the client has the answer of this name already.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let bare = |name: &str| name.trim().trim_start_matches("W/").to_owned();
    let own = etag.to_str().map(bare).unwrap_or_default();
    let named = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|list| list.split(',')).any(|name| name.trim() == "*" || bare(name) == own)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::body::to_bytes;
    use flate2::read::GzDecoder;

    use super::*;

    fn headers(lines: &[(header::HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    async fn body_of(answer: Response) -> Vec<u8> {
        to_bytes(answer.into_body(), 1 << 20).await.expect("a body").to_vec()
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |text: &str| takes_gzip(&headers(&[(header::ACCEPT_ENCODING, text)]));
        for yes in ["gzip", "GZIP", "deflate, gzip;q=0.5", "*", "br, *;q=0.1", "gzip;q=1.0"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip; q=0.000", "*, gzip;q=0"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn one_evaluation_is_rendered_once_and_known_answers_are_not_sent_again() {
        let (mut rendered, snapshot) = (RenderedAnswer::default(), Arc::new(Snapshot::default()));
        let gzip = headers(&[(header::ACCEPT_ENCODING, "gzip")]);
        let first = rendered.answer(&gzip, &snapshot, || b"[1]\n".to_vec());
        let etag = first.headers()[header::ETAG].to_str().expect("text").to_owned();
        let mut text = String::new();
        GzDecoder::new(body_of(first).await.as_slice()).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "[1]\n");
        let again = rendered.answer(&gzip, &snapshot, || panic!("rendered twice"));
        assert_eq!(again.headers()[header::CONTENT_ENCODING], "gzip");
        let known = headers(&[(header::IF_NONE_MATCH, &etag)]);
        let known = rendered.answer(&known, &snapshot, || panic!("rendered for nothing"));
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert!(body_of(known).await.is_empty());
        let plain = rendered.answer(&HeaderMap::new(), &snapshot, || b"[1]\n".to_vec());
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(body_of(plain).await, b"[1]\n");

        let next = Arc::new(Snapshot { at: 30, ..Snapshot::default() });
        let stale = headers(&[(header::IF_NONE_MATCH, &etag)]);
        let other = rendered.answer(&stale, &next, || b"[2]\n".to_vec());
        assert_eq!(other.status(), StatusCode::OK);
        assert_eq!(body_of(other).await, b"[2]\n");
    }
}
