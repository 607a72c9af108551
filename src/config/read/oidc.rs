//! `auth.oidc`: where people sign in; `auth.jwt`: who gives tokens to machines.

use std::collections::BTreeMap;

use super::{SettingsReader, set, url};
use crate::config::{Oidc, OidcGroups, SecretFile, TokenIssuer};
use crate::spec::reader::{At, Report};
use crate::spec::{Code, TimeSpan, identity};

/// Most groups that have rights, and most further scopes.
const ENTRIES_MAX: usize = 1_000;
/// Longest name of a claim, a scope or a group, bytes.
const NAME_BYTES_MAX: usize = 253;
/// Shortest and longest session, seconds.
const SESSION_S: std::ops::RangeInclusive<i64> = 300..=86_400;

impl SettingsReader<'_> {
    pub(super) fn oidc(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Oidc> {
        let mut fields = at.map(report)?;
        let issuer_at = fields.need(report, "issuer", "https://sso.example.com");
        let issuer = issuer_at.and_then(|at| issuer(&at, report));
        let client_id = fields.need(report, "client_id", "slowburn").and_then(|at| word(&at, report));
        let client_secret_file = self.path(&mut fields, "client_secret_file", report).map(SecretFile::new);
        let ca_file = self.path(&mut fields, "ca_file", report);
        let mut person_claim = "sub".to_owned();
        set(&mut person_claim, fields.get("person_claim").and_then(|at| word(&at, report)));
        let scopes = self.each(&mut fields, "scopes", report, |_, at, report| word(at, report));
        let groups = fields.get("groups").map(|at| groups(&at, report));
        let session = match fields.get("session") {
            None => TimeSpan::from_seconds(8 * 3600),
            Some(at) => at.duration(report).filter(|span| {
                let fits = SESSION_S.contains(&span.seconds());
                if !fits {
                    report.error(&at, Code::InvalidSetting, "a sign-in lasts 5 m to 24 h").write("8h");
                }
                fits
            }),
        };
        let session_key_file = self.path(&mut fields, "session_key_file", report).map(SecretFile::new);
        fields.finish(report);
        Some(Oidc {
            issuer: issuer?,
            client_id: client_id?,
            client_secret_file,
            ca_file,
            person_claim,
            scopes,
            groups: groups.map_or(Some(None), |groups| groups.map(Some))?,
            session: session?,
            session_key_file,
        })
    }
}

impl SettingsReader<'_> {
    pub(super) fn token_issuer(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<TokenIssuer> {
        let mut fields = at.map(report)?;
        let issuer_at = fields.need(report, "issuer", "https://token.actions.githubusercontent.com");
        let issuer = issuer_at.and_then(|at| issuer(&at, report));
        let audience = fields.need(report, "audience", "https://slowburn.example.com").and_then(|at| word(&at, report));
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        Some(TokenIssuer { issuer: issuer?, audience: audience?, ca_file })
    }
}

/// The issuer to the letter: a slash at its end is part of its name.
fn issuer(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    url(at, report)?;
    let text = at.text(report)?.trim().to_owned();
    if text.contains('?') {
        report.error(at, Code::InvalidSetting, "an issuer has no ?query").write("https://sso.example.com");
        return None;
    }
    Some(text)
}

fn groups(at: &At<'_>, report: &mut Report<'_>) -> Option<OidcGroups> {
    let mut fields = at.map(report)?;
    let claim = fields.need(report, "claim", "groups").and_then(|at| word(&at, report));
    let rights_at = fields.need(report, "rights", "{sre: [halt, resume, break_glass]}");
    fields.finish(report);
    let inner = rights_at.and_then(|at| at.map(report))?;
    let mut rights = BTreeMap::new();
    for (key, value) in inner.entries() {
        if key.name.is_empty() || key.name.len() > NAME_BYTES_MAX || rights.len() >= ENTRIES_MAX {
            let what =
                format!("a group has a name of 1 to {NAME_BYTES_MAX} bytes, and there are at most {ENTRIES_MAX}");
            report.error_at(key.place, "rights", Code::InvalidSetting, what);
            continue;
        }
        rights.insert(key.name.clone(), identity::rights(&value, report));
    }
    Some(OidcGroups { claim: claim?, rights })
}

/// A word without blanks: a claim, a scope, the name of a client.
fn word(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(|c| c.is_ascii_graphic()) {
        let what = format!("{text:?} is no word of 1 to {NAME_BYTES_MAX} printable ASCII characters");
        report.error(at, Code::InvalidSetting, what);
        return None;
    }
    Some(text.to_string())
}
