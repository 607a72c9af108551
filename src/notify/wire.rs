//! What the bodies of all integrations share: times, links, fingerprints.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::engine::{Alert, Labels};

/// RFC 3339 in UTC. A time outside jiff's years becomes the epoch, which is old, not wrong in form.
pub(super) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// `path` below `base`, whose own path is kept as a prefix.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Links back to Slowburn's page.
#[derive(Debug)]
pub(super) struct Links(Url);

impl Links {
    pub(super) fn new(external_url: &Url) -> Self {
        Links(below(external_url, ""))
    }

    /// The whole page.
    pub(super) fn page(&self) -> String {
        self.0.to_string()
    }

    /// The page at one SLO.
    pub(super) fn slo(&self, slo_id: &str) -> String {
        let mut url = self.0.clone();
        url.set_fragment(Some(&format!("slo-{slo_id}")));
        url.into()
    }
}

/// The annotation that holds the link to the page at the SLO of an alert: receivers show annotations, and hide where an
/// alert came from.
const PAGE: &str = "slo_url";

/// The annotations of an alert with the link to its SLO. One that the user wrote under this name stays.
pub(super) fn annotations(alert: &Alert, links: &Links) -> BTreeMap<String, String> {
    let mut texts = alert.annotations.clone();
    texts.entry(PAGE.to_owned()).or_insert_with(|| links.slo(&alert.slo_id));
    texts
}

/// Alertmanager's fingerprint of a label set: FNV-1a over names and values, each followed by 0xff
/// (prometheus/common `model/signature.go`), as 16 hex digits.
pub(super) fn fingerprint(labels: &Labels) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels.iter() {
        for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Label sets for a log line: the first five, and how many more.
pub(super) fn listed<'a>(labels: impl ExactSizeIterator<Item = &'a Labels>) -> String {
    let more = labels.len().saturating_sub(5);
    let mut text = labels.take(5).map(Labels::to_string).collect::<Vec<_>>().join(" ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_prefixes_are_kept() {
        let below = |base: &str| below(&base.parse().expect("a URL"), "api/v2/alerts").to_string();
        assert_eq!(below("http://am:9093"), "http://am:9093/api/v2/alerts");
        assert_eq!(below("http://am:9093/team/a/?x=1#y"), "http://am:9093/team/a/api/v2/alerts");
        let links = Links::new(&"https://slo.example/slowburn".parse().expect("a URL"));
        assert_eq!(links.slo("checkout-availability"), "https://slo.example/slowburn/#slo-checkout-availability");
        assert_eq!(links.page(), "https://slo.example/slowburn/");
    }

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(1_700_000_000_500), "2023-11-14T22:13:20.5Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn the_empty_fingerprint_is_the_fnv_offset() {
        assert_eq!(fingerprint(&Labels::new()), "cbf29ce484222325");
    }
}
