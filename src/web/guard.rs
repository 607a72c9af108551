//! Who may do more than read, and what every answer says about itself.
//!
//! Reads are open to whoever reaches the port. A request that changes something has to come from this machine *and*
//! must not be a foreign web page's doing: a page can make a browser post to 127.0.0.1 (so `Origin` and
//! `Sec-Fetch-Site` are checked), and with a name that it rebinds to 127.0.0.1 it even is its own origin (so `Host` is).

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// Refuses a body that announces more than `max` bytes; extractors bound those that announce nothing.
pub async fn cap_body(State(max): State<usize>, request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let length = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    next.run(request).await
}

/// Headers of every answer: nothing is cached, sniffed or framed. The page adds its own content policy.
pub async fn set_headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Whether a request that changes something may go on.
pub fn may_change(peer: SocketAddr, headers: &HeaderMap, external_url: Option<&str>) -> Result<(), Problem> {
    let refuse = |error: String, hint: &str| Err(Problem::new(StatusCode::FORBIDDEN, error, hint));
    if !peer.ip().to_canonical().is_loopback() {
        return refuse(
            format!("requests from {} may only read", peer.ip()),
            "Ask from the machine itself (127.0.0.1), or send the process a SIGHUP.",
        );
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(host) = text(header::HOST) else {
        return refuse("the request has no Host header".into(), "Use an HTTP/1.1 client.");
    };
    let own = external_url.and_then(|url| url.parse::<Uri>().ok()).and_then(|url| url.authority().cloned());
    if !is_loopback_name(host) && own.as_ref().is_none_or(|own| !own.as_str().eq_ignore_ascii_case(host)) {
        return refuse(
            format!("host {host:?} is not a name of this server"),
            "Ask for it as localhost or 127.0.0.1, or set the external URL.",
        );
    }
    let foreign_site =
        text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin = text(header::ORIGIN)
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, at)| !at.eq_ignore_ascii_case(host)));
    if foreign_site || foreign_origin {
        return refuse("another site's page sent this request".into(), "Send it from the command line.");
    }
    Ok(())
}

/// `localhost`, 127.0.0.0/8 or `[::1]`, with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("plain text"))
        };
        pairs.iter().map(pair).collect()
    }

    fn asked(peer: &str, pairs: &[(&'static str, &str)]) -> Result<(), String> {
        let peer = peer.parse().expect("an address");
        may_change(peer, &headers(pairs), Some("https://slo.example.com/")).map_err(|problem| problem.error)
    }

    #[test]
    fn the_machine_itself_may_change_things() {
        for host in ["127.0.0.1:9595", "localhost:9595", "LOCALHOST", "[::1]:9595", "slo.example.com"] {
            assert_eq!(asked("127.0.0.1:4000", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(asked("[::1]:4000", &[("host", "[::1]:9595")]), Ok(()));
        assert_eq!(asked("[::ffff:127.0.0.1]:4000", &[("host", "127.0.0.1:9595")]), Ok(()));
        let same = [("host", "127.0.0.1:9595"), ("origin", "http://127.0.0.1:9595"), ("sec-fetch-site", "same-origin")];
        assert_eq!(asked("127.0.0.1:4000", &same), Ok(()));
    }

    #[test]
    fn other_machines_and_other_sites_may_not() {
        let refused = |peer: &str, pairs: &[(&'static str, &str)], why: &str| {
            let error = asked(peer, pairs).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused("10.0.0.7:4000", &[("host", "127.0.0.1:9595")], "may only read");
        refused("127.0.0.1:4000", &[], "no Host header");
        refused("127.0.0.1:4000", &[("host", "rebound.example.org:9595")], "not a name of this server");
        refused("127.0.0.1:4000", &[("host", "127.0.0.1.example.org")], "not a name of this server");
        let host = ("host", "127.0.0.1:9595");
        refused("127.0.0.1:4000", &[host, ("origin", "https://evil.example")], "another site");
        refused("127.0.0.1:4000", &[host, ("origin", "null")], "another site");
        refused("127.0.0.1:4000", &[host, ("sec-fetch-site", "cross-site")], "another site");
    }
}
