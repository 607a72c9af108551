//! What a report must keep to: so many pages at most, and a page at a moment that was an incident.

use super::report::{Lived, Report};
use crate::engine::alert::AlertKind;

/// A page that must have been out.
#[derive(Debug, Clone, PartialEq)]
pub struct Must {
    text: String,
    labels: Vec<(String, String)>,
    at: i64,
}

impl Must {
    /// Reads `slo=checkout-availability,region=eu@2026-11-01T12:00:00Z`; a bare word is an SLO.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("--must-page {text:?}: write slo=ID,label=value@TIME, the time in RFC 3339 or Unix seconds");
        let (labels, at) = text.rsplit_once('@').ok_or_else(wrong)?;
        let at = super::events::time(at).ok_or_else(wrong)?;
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or(("slo", pair));
            (name.trim().to_owned(), value.trim().to_owned())
        };
        let labels: Vec<(String, String)> = labels.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
        Ok(Must { text: text.to_owned(), labels, at })
    }

    fn is_kept(&self, lived: &Lived) -> bool {
        lived.episodes.iter().any(|episode| {
            let is = |(name, value): &(String, String)| match name.as_str() {
                "slo" | "slo_id" => episode.slo == *value,
                name => episode.series.get(name) == Some(value),
            };
            episode.kind == AlertKind::FastBurn
                && episode.from <= self.at
                && episode.to.is_none_or(|to| self.at < to)
                && self.labels.iter().all(is)
        })
    }
}

/// What is broken, in words; of policies that are no peers.
pub fn broken(report: &Report, max_pages: Option<usize>, musts: &[Must]) -> Vec<String> {
    let mut broken = Vec::new();
    for lived in report.lived.iter().filter(|lived| !lived.peer) {
        let pages = lived.of(AlertKind::FastBurn).count();
        if let Some(most) = max_pages.filter(|most| pages > *most) {
            broken.push(format!("{}: {pages} pages, and {most} are allowed", lived.name));
        }
        for must in musts.iter().filter(|must| !must.is_kept(lived)) {
            broken.push(format!("{}: no page was out for {}", lived.name, must.text));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_must_names_labels_and_a_moment() {
        let must = Must::parse("slo=a-b,region=eu@1700000000").expect("it can be read");
        assert_eq!((must.labels.len(), must.at), (2, 1_700_000_000));
        assert_eq!(Must::parse("a-b@2026-11-01T12:00:00Z").expect("a bare id").labels, [("slo".into(), "a-b".into())]);
        assert!(Must::parse("a-b").is_err() && Must::parse("a-b@noon").is_err());
    }
}
