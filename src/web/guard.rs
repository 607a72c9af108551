//! From where a request may come, and what every answer says about itself.
//!
//! A browser lends its user's place and certificate to any page: a page can make it post to 127.0.0.1 or to a server
//! that knows its user's certificate (so `Origin`, `Sec-Fetch-Site` and the type of the body are checked), and with a
//! name that it rebinds it even is its own origin (so `Host` has to be a name of this server). Every request that
//! changes something is held to that, whatever its credential.
//!
//! Deliberately absent: who is asking (`auth`).

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Problem, Site, private_name};

/// Paths that probes and scrapes ask for, which bring no credentials.
pub(super) const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Longest body of a request to this path, bytes: reviews of the API server hold whole objects, and notifications many alerts.
pub(super) fn body_bytes_max(path: &str, max: usize) -> usize {
    match path {
        path if path.starts_with("/admission") => max.max(REVIEW_BYTES_MAX),
        "/v1/webhooks/alertmanager" => max.max(NOTIFICATION_BYTES_MAX),
        _ => max,
    }
}

/// Longest notification of an Alertmanager, bytes: some hundred alerts with long annotations. One that is refused for its length is
/// not sent again.
pub(super) const NOTIFICATION_BYTES_MAX: usize = 1 << 20;

/// Longest review of the API server, bytes: an object before and after, each as large as etcd takes it, and what is added.
pub(super) const REVIEW_BYTES_MAX: usize = 8 << 20;

/// Refuses a body that announces more than `max` bytes; extractors bound those that announce nothing.
pub async fn cap_body(State(max): State<usize>, request: Request, next: Next) -> Response {
    let max = body_bytes_max(request.uri().path(), max);
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

/// Layer: requests that another site's page may have sent, or that ask for a name that is none of this server, end here.
pub async fn guard_site(State(site): State<Site>, request: Request, next: Next) -> Response {
    let external_url = site.app.info.borrow().external_url.clone();
    let own =
        OwnNames { hosts: site.app.auth.hosts(), tls: site.app.tls.as_deref(), external_url: external_url.as_deref() };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let open = !changes && OPEN.contains(&request.uri().path());
    let passed = match (open, changes) {
        (true, _) => Ok(()),
        (false, false) => known_host(request.headers(), &own).map(drop),
        (false, true) => may_change(request.headers(), &own),
    };
    match passed {
        Ok(()) => next.run(request).await,
        // AuthZEN has a 400 for whatever cannot be read.
        Err(problem) if problem.status.as_u16() == 415 && request.uri().path().starts_with("/access/v1") => {
            Problem { status: StatusCode::BAD_REQUEST, ..problem }.into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// The names of this server.
pub struct OwnNames<'a> {
    /// Those of the settings.
    pub hosts: &'a [String],
    /// Its certificate has some.
    pub tls: Option<&'a super::tls::Tls>,
    /// Where people reach the page.
    pub external_url: Option<&'a str>,
}

impl OwnNames<'_> {
    /// Authority of the external URL.
    fn external(&self) -> Option<Authority> {
        self.external_url.and_then(|url| url.parse::<Uri>().ok()).and_then(|url| url.authority().cloned())
    }

    /// Whether `host`, with or without a port, can be a name of this server that nobody else can own.
    fn has(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_end_matches('.');
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let external = self.external().is_some_and(|own| own.host().eq_ignore_ascii_case(name));
        let listed = self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name));
        let certified = self.tls.is_some_and(|tls| tls.has_name(name));
        // An address is not rebound, and a private name is of no public zone.
        address.is_ok() || external || listed || certified || private_name::is_private(name)
    }
}

fn refuse<T>(error: String, hint: &str) -> Result<T, Problem> {
    Err(Problem::new(StatusCode::FORBIDDEN, error, hint))
}

/// The header, if it is there once and is text; two of them are as good as a wrong one.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut given = headers.get_all(name).iter();
    match (given.next().map(HeaderValue::to_str), given.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => refuse(format!("the header {name} is given twice, or is no text"), "Send it once."),
    }
}

/// The `Host` header, where it is a name of this server.
pub(super) fn known_host<'h>(headers: &'h HeaderMap, own: &OwnNames<'_>) -> Result<&'h str, Problem> {
    let Some(host) = only(headers, &header::HOST)? else {
        return refuse("the request has no Host header".into(), "Use an HTTP/1.1 client.");
    };
    if !own.has(host) {
        let hint = "Ask for it by its address, or name it in the settings: external_url, or auth.hosts.";
        return refuse(format!("host {host:?} is not a name of this server"), hint);
    }
    Ok(host)
}

/// Whether a request that changes something may go on: of this server's own page, or of no page.
fn may_change(headers: &HeaderMap, own: &OwnNames<'_>) -> Result<(), Problem> {
    let host = known_host(headers, own)?;
    let site = only(headers, &HeaderName::from_static("sec-fetch-site"))?;
    let foreign_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let external = own.external();
    let is_own = |at: &str| at.eq_ignore_ascii_case(host) || external.as_ref().is_some_and(|own| own == at);
    let foreign_origin = only(headers, &header::ORIGIN)?
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, at)| !is_own(at)));
    if foreign_site || foreign_origin {
        return refuse("another site's page sent this request".into(), "Send it from the command line.");
    }
    let length = only(headers, &header::CONTENT_LENGTH)?;
    let has_body = headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    match only(headers, &header::CONTENT_TYPE)? {
        Some(kind) if is_json(kind) => Ok(()),
        // Without a body there is nothing that a form could have sent.
        None if !has_body => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not said to be JSON",
            "Send the header content-type: application/json.",
        )),
    }
}

/// `application/json`, with or without parameters.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Whether a request is of this machine itself. A proxy on it or beside it (127.0.0.6 is Istio's) speaks for others.
pub fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let ip = peer.ip().to_canonical();
    let itself = ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    itself && !["forwarded", "via", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

/// Where no identities are configured, only the machine itself changes anything.
pub fn of_this_machine(peer: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
    match is_local(peer, headers) {
        true => Ok(()),
        false => refuse(
            format!("requests from {} may only read", peer.ip()),
            "Ask from the machine itself (127.0.0.1), or send the process a SIGHUP.",
        ),
    }
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

    fn asked(pairs: &[(&'static str, &str)]) -> Result<(), String> {
        let hosts = ["slo.ops".to_owned()];
        let own = OwnNames { hosts: &hosts, tls: None, external_url: Some("https://slo.example.com/") };
        may_change(&headers(pairs), &own).map_err(|problem| problem.error)
    }

    #[test]
    fn what_no_page_sent_may_change_things() {
        let names = [
            "127.0.0.1:9595",
            "localhost:9595",
            "LOCALHOST",
            "[::1]:9595",
            "slo.example.com",
            "10.1.2.3:9595",
            "slowburn.ops.svc:9595",
            "slowburn.ops.svc.cluster.local",
            "slowburn:9595",
            "slowburn.monitoring:9595",
            "slo.ops:80",
        ];
        for host in names {
            assert_eq!(asked(&[("host", host), ("content-type", "application/json")]), Ok(()), "{host}");
            assert_eq!(asked(&[("host", host)]), Ok(()), "{host}: no body");
        }
        let same = [("host", "127.0.0.1:9595"), ("origin", "http://127.0.0.1:9595"), ("sec-fetch-site", "same-origin")];
        assert_eq!(asked(&same), Ok(()));
        // Behind a proxy the page's origin is the external one.
        assert_eq!(asked(&[("host", "slowburn:9595"), ("origin", "https://slo.example.com")]), Ok(()));
        let length =
            [("host", "slowburn"), ("content-type", "application/json; charset=utf-8"), ("content-length", "2")];
        assert_eq!(asked(&length), Ok(()));
    }

    /// Whatever a browser can be made to send by another site: its origin shows, or the type of the body, or the name.
    #[test]
    fn what_another_site_may_have_sent_changes_nothing() {
        let refused = |pairs: &[(&'static str, &str)], why: &str| {
            let error = asked(pairs).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused(&[], "no Host header");
        for host in [
            "rebound.example.org:9595",
            "rebound.evil",
            "slowburn.dev",
            "127.0.0.1.example.org",
            "localhost.evil.example",
            "slo.example.com.evil",
            "",
        ] {
            refused(&[("host", host)], "not a name of this server");
        }
        let host = ("host", "127.0.0.1:9595");
        for origin in
            ["https://evil.example", "null", "http://127.0.0.1:9596", "https://slo.example.com.evil.example", ""]
        {
            refused(&[host, ("origin", origin), ("content-type", "application/json")], "another site");
        }
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            refused(&[host, ("sec-fetch-site", site), ("content-type", "application/json")], "another site");
        }
        for kind in [
            "text/plain",
            "text/plain;application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            refused(&[host, ("content-type", kind), ("content-length", "2")], "not said to be JSON");
            refused(&[host, ("content-type", kind)], "not said to be JSON");
        }
        refused(&[host, ("content-length", "2")], "not said to be JSON");
        refused(&[host, ("transfer-encoding", "chunked")], "not said to be JSON");
    }

    #[test]
    fn a_proxy_is_not_the_machine_itself() {
        let peer = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (from, pairs, expected) in [
            ("127.0.0.1:4000", &[][..], true),
            ("[::1]:4000", &[], true),
            ("[::ffff:127.0.0.1]:4000", &[], true),
            ("127.0.0.6:4000", &[], false),
            ("10.0.0.7:4000", &[], false),
            ("127.0.0.1:4000", &[("x-forwarded-for", "192.0.2.1")], false),
            ("127.0.0.1:4000", &[("forwarded", "for=192.0.2.1")], false),
        ] {
            assert_eq!(is_local(peer(from), &headers(pairs)), expected, "{from} {pairs:?}");
            assert_eq!(of_this_machine(peer(from), &headers(pairs)).is_ok(), expected);
        }
    }
}
