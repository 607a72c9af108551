//! What settings must hold together, wherever they came from: file or flags.

use std::time::Duration;

use crate::engine::ledger::RESOLUTIONS_S;
use crate::spec::Severity;

use super::endpoint::is_clear_text;
use super::{Auth, Settings};

/// A setting that is unsafe or contradicts another.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The key it is about, e.g. `listen` or `prometheus.timeout`.
    pub key: &'static str,
    /// Whether the daemon refuses to start.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: Option<String>,
}

const LATE_MAX: Duration = Duration::from_secs(600);

impl Settings {
    /// Everything that is wrong with the settings as a whole.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut error = |key, what: String, instead: Option<&str>| {
            let instead = instead.map(str::to_string);
            faults.push(Fault { key, severity: Severity::Error, what, instead });
        };
        if !self.listen.ip().is_loopback() && !self.listen_anywhere && self.auth.identities.is_none() {
            let what = format!("{} can be reached from other machines, and no identities are configured", self.listen);
            error(
                "listen",
                what,
                Some("127.0.0.1:9595, or auth.identities, or listen_anywhere: true to let anybody read"),
            );
        }
        if self.auth.identities.is_none() {
            let nobody = "knows nobody without auth.identities, which says who is who";
            if self.auth.token_review.is_some() {
                error(
                    "auth.token_review",
                    format!("a TokenReview {nobody}"),
                    Some("auth: {identities: identities.yaml}"),
                );
            }
            if self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some()) {
                error(
                    "tls.client_ca_file",
                    format!("a client certificate {nobody}"),
                    Some("auth: {identities: identities.yaml}"),
                );
            }
        }
        for (n, one) in self.auth.jwt.iter().enumerate() {
            if self.auth.identities.is_none() {
                let what = "a token is of nobody without auth.identities, which says who is who";
                error("auth.jwt", what.into(), Some("auth: {identities: identities.yaml}"));
            }
            if is_clear_text(&one.issuer) {
                let what = "an issuer that is asked over plain http can be feigned by whoever is in between";
                error("auth.jwt", what.into(), Some("issuer: https://..."));
            }
            if self.auth.jwt[..n].iter().any(|earlier| earlier.issuer == one.issuer) {
                error("auth.jwt", format!("{} stands there twice", one.issuer), Some("one audience for each issuer"));
            }
            let signs_in = |oidc: &super::Oidc| oidc.issuer == one.issuer && oidc.client_id == one.audience;
            if self.auth.oidc.as_ref().is_some_and(signs_in) {
                let what = "the audience of machines is the client that people sign in to: their tokens would be alike";
                error("auth.jwt", what.into(), Some("audience: another name than auth.oidc.client_id"));
            }
        }
        if let Some(oidc) = &self.auth.oidc {
            if self.auth.identities.is_none() {
                let what = "a sign-in knows nobody without auth.identities, which says who is who";
                error("auth.oidc", what.into(), Some("auth: {identities: identities.yaml}"));
            }
            if self.external_url.is_none() {
                let what = "the issuer sends people back to external_url, and there is none";
                error("auth.oidc", what.into(), Some("external_url: https://slowburn.example.com"));
            }
            if is_clear_text(&oidc.issuer) {
                let what = "an issuer that is asked over plain http can be feigned by whoever is in between";
                error("auth.oidc", what.into(), Some("issuer: https://..."));
            }
            if self.audit.advertise.is_some() && oidc.session_key_file.is_none() {
                let what = "several daemons take turns, and a sign-in at one is none at the others";
                error(
                    "auth.oidc",
                    what.into(),
                    Some("session_key_file: a file of 32 or more random bytes that all of them have"),
                );
            }
        }
        if self.follow.is_some() {
            let surplus = [
                ("prometheus.url", self.prometheus.url.is_some(), "asks no Prometheus"),
                ("alertmanagers", !self.alertmanagers.is_empty(), "raises no alerts"),
                ("webhooks", !self.webhooks.is_empty(), "raises no alerts"),
                ("data_dir", self.data_dir.is_some(), "keeps nothing"),
                ("auth.oidc", self.auth.oidc.is_some(), "has no page to sign in to"),
                ("auth.jwt", !self.auth.jwt.is_empty(), "decides nothing"),
                ("audit", self.audit.dir.is_some(), "decides nothing, and so has no audit log"),
            ];
            for (key, is_given, why) in surplus {
                if is_given {
                    let what = format!("a process that follows a daemon (follow) {why}");
                    error(key, what, Some("one of the two: follow, or what a daemon needs"));
                }
            }
        }
        if self.audit.lease.is_some() && self.audit.dir.is_none() {
            let what = "a lease says whose turn it is at a log that all share, and there is none";
            error("audit.lease", what.into(), Some("audit: {dir: /shared/audit}"));
        }
        let (resolution, poll) = (self.resolution.seconds(), self.poll_interval.seconds());
        if !RESOLUTIONS_S.contains(&resolution) {
            let why = match 300 % resolution == 0 {
                true => "is shorter than 10 s, the shortest that the ledger holds",
                false => "does not divide 5 minutes, the next tier of the ledger",
            };
            let what = format!("a slice of {} {why}", self.resolution);
            error("resolution", what, Some("10s, 15s, 20s, 30s or 60s"));
        } else if poll % resolution != 0 {
            let what = format!("polls every {} do not fall on slices of {}", self.poll_interval, self.resolution);
            error("poll_interval", what, Some("a multiple of resolution"));
        }
        if poll > 3_600 {
            error(
                "poll_interval",
                format!("polls every {} would see an outage too late", self.poll_interval),
                Some("30s"),
            );
        }
        for (key, value) in [("evaluation_delay", self.evaluation_delay), ("overlap", self.overlap)] {
            if value > LATE_MAX {
                error(key, "over 10 minutes of delay".into(), Some("0s to 10m"));
            }
        }
        if !(10..=3_600).contains(&self.resend.seconds()) {
            error("resend", format!("resend is {}", self.resend), Some("10s to 1h"));
        }
        if self.compat.sloth_alerts && !self.compat.sloth {
            let what = "sloth-alerts shows alerts of SLOs that only sloth describes".to_owned();
            error("compat", what, Some("[sloth, sloth-alerts]"));
        }
        let mut warn = |key, what: String, instead: Option<&str>| {
            let instead = instead.map(str::to_string);
            faults.push(Fault { key, severity: Severity::Warning, what, instead });
        };
        if self.listen.ip().is_unspecified() && self.external_url.is_none() && self.follow.is_none() {
            let what = format!("links in alerts lead to http://{}, which nobody can open", self.listen);
            warn("external_url", what, Some("external_url: the address under which people reach the page"));
        }
        if self.prometheus.timeout > self.poll_interval {
            let what = format!(
                "a Prometheus that hangs would hold up polls: the timeout {} is longer than poll_interval {}",
                self.prometheus.timeout, self.poll_interval
            );
            warn("prometheus.timeout", what, None);
        }
        if !self.listen.ip().is_loopback() && self.auth.identities.is_some() && self.tls.is_none() {
            let what = "callers' tokens come over plain http from other machines".into();
            warn(
                "listen",
                what,
                Some("tls: {cert_file: tls.crt, key_file: tls.key}, or a proxy before it that speaks TLS"),
            );
        }
        if self.auth.oidc.is_some() && self.external_url.as_deref().is_some_and(is_clear_text) {
            let what = "sign-ins of people come over plain http from other machines".into();
            warn("external_url", what, Some("https://, with tls or a proxy before it that speaks TLS"));
        }
        let clear = |url: &str, auth: &Auth| *auth != Auth::None && is_clear_text(url);
        if self.prometheus.url.as_deref().is_some_and(|url| clear(url, &self.prometheus.auth)) {
            warn("prometheus.url", "credentials go over plain http to another machine".into(), Some("https://"));
        }
        let followed = self.follow.as_ref().and_then(|follow| Some((follow.url.as_deref()?, &follow.auth)));
        if followed.is_some_and(|(url, auth)| clear(url, auth)) {
            warn("follow", "credentials go over plain http to another machine".into(), Some("https://"));
        }
        if self.alertmanagers.iter().any(|peer| clear(&peer.url, &peer.auth)) {
            warn("alertmanagers", "credentials go over plain http to another machine".into(), Some("https://"));
        }
        faults
    }
}
