//! URLs of the other side: http or https, with a host, without credentials.

use reqwest::Url;

/// Why a text is no URL to call. Never quotes it: webhook URLs hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFault {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: Option<String>,
}

/// Reads a URL and takes slashes off its end.
///
/// # Errors
/// No URL, another scheme than http and https, credentials in it, a fragment.
pub fn endpoint(text: &str) -> Result<String, EndpointFault> {
    let fault = |what: &str, instead: Option<String>| EndpointFault { what: what.into(), instead };
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(_) if !text.contains("://") => {
            let instead = format!("http://{}", text.trim()).parse::<Url>().ok().map(|url| url.to_string());
            return Err(fault("this URL has no scheme", instead));
        }
        Err(error) => return Err(fault(&format!("this is no URL: {error}"), Some("http://prometheus:9090".into()))),
    };
    if !matches!(url.scheme(), "http" | "https") {
        let instead = (!text.contains("://")).then(|| format!("http://{}", text.trim()));
        return Err(fault("a URL here starts with http:// or https://", instead));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let instead = "basic: {username: ..., password_file: ...} beside the URL".to_string();
        return Err(fault("a URL here holds no user name or password: they would reach logs", Some(instead)));
    }
    if url.fragment().is_some() {
        return Err(fault("a URL here has no #fragment", None));
    }
    Ok(url.as_str().trim_end_matches('/').to_string())
}

/// Whether a request to `url` would carry a secret in the clear to another machine.
pub(super) fn is_clear_text(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        url.scheme() == "http" && !local
    })
}
