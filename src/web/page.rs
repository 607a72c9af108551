//! `GET /`: the page, one document with its style and script inside.
//!
//! What the server writes into it is a plain table of the last snapshot, so it says something before (and without)
//! the script; the script then replaces the table and follows `/v1/stream`. The content policy allows exactly this
//! style and this script, by hash: nothing that found its way into the page could run.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::view::{self, Word};
use super::{Site, api};
use crate::engine::status::DataReason;
use crate::engine::text::is_unseen;
use crate::engine::{SloSnapshot, Snapshot};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/page.js"),
    include_str!("page/person.js"),
    include_str!("page/gate.js"),
    include_str!("page/incident.js")
);
const DOCUMENT: &str = include_str!("page/page.html");

/// The document with style and script in it; `{rows}` and `{version}` are still open.
static PAGE: LazyLock<String> =
    LazyLock::new(|| DOCUMENT.replacen("{style}", STYLE, 1).replacen("{script}", SCRIPT, 1));

/// The content policy of the page.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data: 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// `GET /`.
pub async fn page(State(site): State<Site>) -> Response {
    let (snapshot, info) = (site.snapshot(), site.app.info.borrow().clone());
    api::apart(move || {
        let hash = info.config_hash.get(..12).unwrap_or(&info.config_hash);
        let document = PAGE
            .replacen("{version}", &escape(&info.version), 1)
            .replacen("{config}", &escape(hash), 1)
            .replacen("{rows}", &rows(&snapshot), 1);
        ([(header::CONTENT_SECURITY_POLICY, POLICY.as_str())], Html(document)).into_response()
    })
    .await
}

/// One plain row an SLO, in id order.
fn rows(snapshot: &Snapshot) -> String {
    let mut rows = String::new();
    for entry in &snapshot.slos {
        let state = Word(view::worst(&entry.series)).to_string();
        writeln!(
            rows,
            "<tr><td>{}</td><td class=\"state {state}\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&entry.slo.id),
            state.replace('_', " "),
            budget(entry),
            data(entry)
        )
        .expect("a String takes every write");
    }
    rows
}

/// The least budget that any series has left.
fn budget(entry: &SloSnapshot) -> String {
    let known = entry.series.iter().filter_map(|series| series.least_budget());
    known.reduce(f64::min).map_or("unknown".to_owned(), |left| format!("{:.2} %", left * 100.0))
}

/// The worst data state of its series.
fn data(entry: &SloSnapshot) -> String {
    let worst = entry.series.iter().map(|series| (series.data.state, series.data.reason)).max();
    match worst {
        None => "absent".to_owned(),
        Some((state, DataReason::None)) => Word(state).to_string(),
        Some((state, reason)) => format!("{} ({})", Word(state), Word(reason)),
    }
}

/// Text that is safe between tags and in quoted attributes. What is not seen is shown to be there.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if is_unseen(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
