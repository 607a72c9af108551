//! The settings file: strict, every problem at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::spec::files::FILE_BYTES_MAX;
use crate::spec::reader::{At, Fields, Report};
use crate::spec::{Code, Place, Problem, Severity, tree};
use crate::telemetry::compat::{Compat, Switch};
use crate::telemetry::detail::Detail;

mod cluster;
mod oidc;

use super::{
    Alertmanager, Audit, Auth, Authentication, CheckpointSink, Follow, Lease, LogFormat, LogLevel, MissingStops, POD,
    Prometheus, SecretFile, ServerTls, Settings, TokenReview, Webhook, Witnesses, endpoint,
};

/// What came of reading a settings file.
#[derive(Debug, Clone)]
pub struct LoadedSettings {
    /// The settings; complete only where [`LoadedSettings::is_fatal`] is false.
    pub settings: Settings,
    /// All problems, in the order of the file.
    pub problems: Vec<Problem>,
    /// The text of the file, to show lines of it.
    pub text: String,
}

impl LoadedSettings {
    /// Whether the daemon must not start with them.
    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All problems as text for people.
    pub fn render(&self, colour: bool) -> String {
        self.problems.iter().map(|problem| problem.render(Some(&self.text), colour)).collect()
    }
}

/// Most Alertmanager peers, and most webhooks.
const ENDPOINTS_MAX: usize = 100;

/// Reads a settings file. Paths in it are relative to its folder.
pub fn load(path: &Path) -> LoadedSettings {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    let reason = match read {
        Ok(bytes) if bytes > FILE_BYTES_MAX => format!("is over {} KiB", FILE_BYTES_MAX / 1024),
        Ok(_) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            return parse(&name, &text, folder);
        }
        Err(error) => error.to_string(),
    };
    let mut report = Report::new(&name, "");
    report.error_at(Place::default(), "", Code::Unreadable, format!("cannot be read: {reason}"));
    LoadedSettings { settings: Settings::default(), problems: report.problems, text: String::new() }
}

/// Reads settings from a text, as if it were a file of this name.
pub fn load_text(name: &str, text: &str) -> LoadedSettings {
    parse(name, text, Path::new(""))
}

fn parse(name: &str, text: &str, folder: &Path) -> LoadedSettings {
    let mut report = Report::new(name, text);
    let mut settings = Settings::default();
    match tree::parse(text) {
        Ok(documents) => match documents.as_slice() {
            [] => {}
            [document] => {
                let root = At::root(document);
                let reader = SettingsReader { folder };
                reader.settings(&root, &mut settings, &mut report);
                if !report.problems.iter().any(|problem| problem.severity == Severity::Error) {
                    place_faults(&root, &settings, &mut report);
                }
            }
            [_, second, ..] => {
                let what = "settings are one document, and here a second one begins";
                report.error_at(second.place, "", Code::UnknownShape, what);
            }
        },
        Err(fault) => {
            report.error_at(fault.place, "", Code::Syntax, fault.what).instead = fault.instead;
        }
    }
    let mut problems = report.problems;
    problems.sort_by(|a, b| (a.line, a.column, &a.what).cmp(&(b.line, b.column, &b.what)));
    LoadedSettings { settings, problems, text: text.to_string() }
}

/// Puts what is wrong with the whole at the key it is about; where the key is not written, at the document.
fn place_faults(root: &At<'_>, settings: &Settings, report: &mut Report<'_>) {
    for fault in settings.faults() {
        let node = fault.key.split('.').try_fold(root.node, |node, key| node.get(key));
        let at = At { node: node.unwrap_or(root.node), path: fault.key.to_string() };
        let problem = match fault.severity {
            Severity::Error => report.error(&at, Code::InvalidSetting, fault.what),
            Severity::Warning => report.warn(&at, Code::InvalidSetting, fault.what),
        };
        problem.instead = fault.instead;
    }
}

struct SettingsReader<'p> {
    folder: &'p Path,
}

/// Sets `target` where a value was read.
fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

impl SettingsReader<'_> {
    fn settings(&self, root: &At<'_>, settings: &mut Settings, report: &mut Report<'_>) {
        let Some(mut fields) = root.map(report) else { return };
        if let Some(at) = fields.get("prometheus") {
            self.prometheus(&at, &mut settings.prometheus, report);
        }
        settings.follow = fields.get("follow").and_then(|at| self.follow(&at, report));
        settings.cluster = fields.get("cluster").and_then(|at| self.cluster(&at, report));
        settings.alertmanagers = self.each(&mut fields, "alertmanagers", report, Self::alertmanager);
        settings.webhooks = self.each(&mut fields, "webhooks", report, Self::webhook);
        set(&mut settings.listen, fields.get("listen").and_then(|at| listen(&at, report)));
        set(&mut settings.listen_anywhere, fields.get("listen_anywhere").and_then(|at| at.flag(report)));
        if let Some(at) = fields.get("auth") {
            self.authentication(&at, &mut settings.auth, report);
        }
        settings.tls = fields.get("tls").and_then(|at| self.tls(&at, report));
        settings.data_dir = self.path(&mut fields, "data_dir", report);
        if let Some(at) = fields.get("audit") {
            self.audit(&at, &mut settings.audit, report);
        }
        set(&mut settings.resolution, fields.get("resolution").and_then(|at| at.duration(report)));
        set(&mut settings.poll_interval, fields.get("poll_interval").and_then(|at| at.duration(report)));
        set(&mut settings.evaluation_delay, fields.get("evaluation_delay").and_then(|at| delay(&at, report)));
        set(&mut settings.overlap, fields.get("overlap").and_then(|at| delay(&at, report)));
        if let Some(mut inner) = fields.get("backfill").and_then(|at| at.map(report)) {
            set(&mut settings.backfill.enabled, inner.get("enabled").and_then(|at| at.flag(report)));
            settings.backfill.window = inner.get("window").and_then(|at| at.duration(report));
            inner.finish(report);
        }
        let series = fields.get("raw_series_max").and_then(|at| at.whole(report, 1..=10_000_000));
        set(&mut settings.raw_series_max, series);
        set(&mut settings.resend, fields.get("resend").and_then(|at| at.duration(report)));
        settings.external_url = fields.get("external_url").and_then(|at| url(&at, report));
        if let Some(at) = fields.get("compat") {
            settings.compat = compat(&at, report);
        }
        let detail = fields.get("metrics_detail").and_then(|at| at.choice(report, &Detail::WRITTEN));
        set(&mut settings.metrics_detail, detail);
        if let Some(mut inner) = fields.get("log").and_then(|at| at.map(report)) {
            let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
                .map(|level| (level.as_str(), level));
            set(&mut settings.log.format, inner.get("format").and_then(|at| at.choice(report, &formats)));
            set(&mut settings.log.level, inner.get("level").and_then(|at| at.choice(report, &levels)));
            inner.finish(report);
        }
        fields.finish(report);
    }

    fn prometheus(&self, at: &At<'_>, prometheus: &mut Prometheus, report: &mut Report<'_>) {
        let Some(mut fields) = at.map(report) else { return };
        prometheus.url = fields.get("url").and_then(|at| url(&at, report));
        prometheus.auth = self.auth(&mut fields, report);
        prometheus.headers = headers(&mut fields, report);
        prometheus.ca_file = self.path(&mut fields, "ca_file", report);
        set(&mut prometheus.timeout, fields.get("timeout").and_then(|at| at.duration(report)));
        let bytes = fields.get("max_response_bytes").and_then(|at| at.whole(report, 65_536..=4_294_967_296));
        set(&mut prometheus.max_response_bytes, bytes);
        let most = fields.get("max_concurrency").and_then(|at| at.whole(report, 1..=64));
        set(&mut prometheus.max_concurrency, most.and_then(|n| u32::try_from(n).ok()));
        fields.finish(report);
    }

    fn follow(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Follow> {
        let mut fields = at.map(report)?;
        let url = fields.get("url").and_then(|at| url(&at, report));
        let service = fields.get("service").and_then(|at| at.text(report)).map(str::to_owned);
        let auth = self.auth(&mut fields, report);
        let headers = headers(&mut fields, report);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        Some(Follow { url, service, auth, headers, ca_file })
    }

    fn authentication(&self, at: &At<'_>, auth: &mut Authentication, report: &mut Report<'_>) {
        let Some(mut fields) = at.map(report) else { return };
        auth.identities = self.path(&mut fields, "identities", report);
        auth.token_review = fields.get("token_review").and_then(|at| self.token_review(&at, report));
        auth.jwt = self.each(&mut fields, "jwt", report, Self::token_issuer);
        auth.oidc = fields.get("oidc").and_then(|at| self.oidc(&at, report));
        let most = fields.get("requests_per_minute").and_then(|at| at.whole(report, 1..=100_000));
        set(&mut auth.requests_per_minute, most.and_then(|n| u32::try_from(n).ok()));
        auth.hosts = self.each(&mut fields, "hosts", report, Self::host);
        fields.finish(report);
    }

    fn host(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
        let text = at.text(report)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
            report.error(at, Code::InvalidName, format!("{text:?} is no host name")).write("slowburn.monitoring");
            return None;
        }
        Some(text.to_string())
    }

    fn token_review(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<TokenReview> {
        let mut fields = at.map(report)?;
        let api = fields.get("url").map(|at| url(&at, report));
        let audience = fields.need(report, "audience", "slowburn").and_then(|at| at.text(report));
        let token = self.path(&mut fields, "token_file", report);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        Some(TokenReview {
            url: api.unwrap_or_else(|| Some("https://kubernetes.default.svc".into()))?,
            audience: audience?.to_string(),
            token_file: SecretFile::new(token.unwrap_or_else(|| Path::new(POD).join("token"))),
            ca_file: Some(ca_file.unwrap_or_else(|| Path::new(POD).join("ca.crt"))),
        })
    }

    fn tls(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<ServerTls> {
        let mut fields = at.map(report)?;
        fields.need(report, "cert_file", "tls.crt");
        fields.need(report, "key_file", "tls.key");
        let cert_file = self.path(&mut fields, "cert_file", report);
        let key_file = self.path(&mut fields, "key_file", report);
        let client_ca_file = self.path(&mut fields, "client_ca_file", report);
        fields.finish(report);
        Some(ServerTls { cert_file: cert_file?, key_file: key_file?, client_ca_file })
    }

    fn alertmanager(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Alertmanager> {
        let mut fields = at.map(report)?;
        let url = fields.need(report, "url", "http://alertmanager-0:9093").and_then(|at| url(&at, report));
        let auth = self.auth(&mut fields, report);
        let headers = headers(&mut fields, report);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        Some(Alertmanager { url: url?, auth, headers, ca_file })
    }

    fn webhook(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Webhook> {
        let mut fields = at.map(report)?;
        let url = fields.need(report, "url", "https://hooks.example.com/slowburn").and_then(|at| url(&at, report));
        let secret_file = self.path(&mut fields, "secret_file", report).map(SecretFile::new);
        let severity = fields.get("min_severity");
        let min_severity = severity.and_then(|at| crate::spec::severity(&at, report));
        let ca_file = self.path(&mut fields, "ca_file", report);
        let headers = headers(&mut fields, report);
        fields.finish(report);
        Some(Webhook { url: url?, secret_file, min_severity, ca_file, headers })
    }

    fn audit(&self, at: &At<'_>, audit: &mut Audit, report: &mut Report<'_>) {
        let Some(mut fields) = at.map(report) else { return };
        audit.dir = self.path(&mut fields, "dir", report);
        if let Some(at) = fields.get("origin") {
            audit.origin = origin(&at, report);
        }
        audit.key_file = self.path(&mut fields, "key_file", report);
        let bytes = fields.get("segment_bytes").and_then(|at| at.whole(report, 1 << 20..=1 << 30));
        set(&mut audit.segment_bytes, bytes);
        let bytes = fields.get("bodies_bytes_max").and_then(|at| at.whole(report, 32 << 20..=1 << 40));
        set(&mut audit.bodies_bytes_max, bytes);
        audit.checkpoints = self.each(&mut fields, "checkpoints", report, Self::checkpoint_sink);
        audit.advertise = fields.get("advertise").and_then(|at| url(&at, report));
        if let (Some(at), None) = (fields.get("advertise"), &audit.dir) {
            let what = "daemons that take turns share a log, and need audit.dir on a volume that all of them have";
            report.error(&at, Code::InvalidSetting, what).write("dir: /shared/audit");
        }
        audit.lease = fields.get("lease").and_then(|at| self.lease(&at, report));
        audit.witnesses = fields.get("witnesses").and_then(|at| self.witnesses(&at, report));
        fields.finish(report);
    }

    fn lease(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Lease> {
        let mut fields = at.map(report)?;
        let name = fields.get("name").map_or(Some("slowburn".into()), |at| resource_name(&at, report));
        let namespace = fields.get("namespace").map(|at| resource_name(&at, report));
        let duration = match fields.get("duration") {
            None => Some(15),
            Some(at) => at.duration(report).map(|span| span.seconds()).filter(|seconds| {
                let fits = (3..=60).contains(seconds);
                if !fits {
                    report.error(&at, Code::InvalidSetting, "a lease lasts 3 s to 1 m").write("15s");
                }
                fits
            }),
        };
        let api = fields.get("url").map_or(Some("https://kubernetes.default.svc".into()), |at| url(&at, report));
        let token = self.path(&mut fields, "token_file", report);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        let url = api?;
        let is_plain = url.starts_with("http://");
        Some(Lease {
            name: name?,
            namespace: namespace.map_or(Some(None), |name| name.map(Some))?,
            duration: Duration::from_secs(duration?.unsigned_abs()),
            token_file: SecretFile::new(token.unwrap_or_else(|| Path::new(POD).join("token"))),
            ca_file: ca_file.or_else(|| (!is_plain).then(|| Path::new(POD).join("ca.crt"))),
            url,
        })
    }

    fn witnesses(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Witnesses> {
        let mut fields = at.map(report)?;
        fields.need(report, "policy_file", "witnesses.policy");
        let policy_file = self.path(&mut fields, "policy_file", report);
        let missing_stops = fields.get("missing_stops").map_or(Some(MissingStops::Risks), |at| {
            let word = at.text(report)?;
            let all =
                [("nothing", MissingStops::Nothing), ("risks", MissingStops::Risks), ("cures", MissingStops::Cures)];
            let known = all.into_iter().find(|(name, _)| *name == &*word).map(|(_, stops)| stops);
            if known.is_none() {
                let what = format!("{word:?} is nothing that a missing witness can stop");
                report.error(&at, Code::InvalidSetting, what).write("nothing, risks or cures");
            }
            known
        });
        fields.finish(report);
        Some(Witnesses { policy_file: policy_file?, missing_stops: missing_stops? })
    }

    fn checkpoint_sink(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<CheckpointSink> {
        let mut fields = at.map(report)?;
        let stdout = fields.get("stdout").and_then(|at| at.flag(report)).filter(|on| *on);
        let file = self.path(&mut fields, "file", report);
        let webhook = fields.get("webhook");
        let bearer = self.path(&mut fields, "bearer_token_file", report).map(SecretFile::new);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        match (stdout, file, webhook) {
            (Some(_), None, None) => Some(CheckpointSink::Stdout),
            (None, Some(file), None) => Some(CheckpointSink::File(file)),
            (None, None, Some(at)) => Some(CheckpointSink::Webhook { url: url(&at, report)?, bearer, ca_file }),
            _ => {
                let what = "a place for checkpoints is one of stdout, file and webhook";
                report.error(at, Code::InvalidSetting, what).write("stdout: true, file: PATH or webhook: URL");
                None
            }
        }
    }

    fn each<T>(
        &self,
        fields: &mut Fields<'_>,
        key: &'static str,
        report: &mut Report<'_>,
        read: impl Fn(&Self, &At<'_>, &mut Report<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(at) = fields.get(key) else { return Vec::new() };
        let items = at.list(report).unwrap_or_default();
        if items.len() > ENDPOINTS_MAX {
            report.error(&at, Code::InvalidValue, format!("over {ENDPOINTS_MAX} {key}"));
            return Vec::new();
        }
        items.iter().filter_map(|item| read(self, item, report)).collect()
    }

    fn auth(&self, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Auth {
        let bearer_at = fields.get("bearer_token_file");
        let bearer = self.path(fields, "bearer_token_file", report).map(SecretFile::new);
        let basic_at = fields.get("basic");
        if let (Some(_), Some(basic)) = (&bearer_at, &basic_at) {
            let what = "bearer_token_file and basic are both given, and a request has one Authorization";
            report.error(basic, Code::InvalidSetting, what).write("one of them");
        }
        let basic = basic_at.and_then(|at| {
            let mut inner = at.map(report)?;
            let username = inner.need(report, "username", "slowburn").and_then(|at| at.text(report));
            inner.need(report, "password_file", "/etc/slowburn/password");
            let password_file = self.path(&mut inner, "password_file", report).map(SecretFile::new);
            inner.finish(report);
            let username = username?;
            if username.contains(':') || username.chars().any(char::is_control) {
                report.error(&at, Code::InvalidSetting, "a user name has no colon and no control characters");
                return None;
            }
            Some(Auth::Basic { username: username.to_string(), password_file: password_file? })
        });
        bearer.map(Auth::Bearer).or(basic).unwrap_or(Auth::None)
    }

    fn path(&self, fields: &mut Fields<'_>, key: &'static str, report: &mut Report<'_>) -> Option<PathBuf> {
        let at = fields.get(key)?;
        let text = at.text(report)?;
        Some(self.folder.join(text))
    }
}

fn compat(at: &At<'_>, report: &mut Report<'_>) -> Compat {
    let mut compat = Compat::default();
    for item in at.list(report).unwrap_or_default() {
        if let Some(switch) = item.choice(report, &Switch::WRITTEN) {
            compat.switch_on(switch);
        }
    }
    compat
}

fn url(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    match endpoint(at.text(report)?) {
        Ok(url) => Some(url),
        Err(fault) => {
            report.error(at, Code::InvalidSetting, fault.what).instead = fault.instead;
            None
        }
    }
}

/// A name that Kubernetes takes, and that a path can be made of.
fn resource_name(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let fits = (1..=253).contains(&text.len()) && text.chars().all(inner) && !text.contains("..");
    if !fits || text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        report.error(at, Code::InvalidName, format!("{text:?} is no name of Kubernetes")).write("slowburn");
        return None;
    }
    Some(text.to_string())
}

fn origin(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    if text.is_empty() || text.len() > 200 || !text.chars().all(|c| c.is_ascii_graphic() && c != '+') {
        let what = "the name of a log is up to 200 printable ASCII characters without + and space";
        report.error(at, Code::InvalidSetting, what).write("origin: checkout.prod.example/slowburn");
        return None;
    }
    Some(text.to_owned())
}

fn listen(at: &At<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let text = at.text(report)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(9595);
    report
        .error(at, Code::InvalidSetting, format!("{text:?} is no address and port"))
        .write(format!("listen: 127.0.0.1:{port}"));
    None
}

/// A duration that may be zero.
fn delay(at: &At<'_>, report: &mut Report<'_>) -> Option<Duration> {
    match &at.node.value {
        tree::Value::Text(text) if text.trim() == "0s" => Some(Duration::ZERO),
        tree::Value::Number(number) if *number == 0.0 => Some(Duration::ZERO),
        _ => at.duration(report).map(|span| span.duration()),
    }
}

fn headers(fields: &mut Fields<'_>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let Some(inner) = fields.get("headers").and_then(|at| at.map(report)) else { return headers };
    for (key, value) in inner.entries() {
        let Some(text) = value.spelled(report) else { continue };
        let name = key.name.to_ascii_lowercase();
        if ["authorization", "proxy-authorization", "cookie"].contains(&name.as_str()) {
            let what = format!("the header {} is a secret, and secrets do not stand in this file", key.name);
            report
                .error_at(key.place, "headers", Code::InvalidSetting, what)
                .write("bearer_token_file: PATH or basic: {username: ..., password_file: PATH}");
        } else if ["host", "content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            let what = format!("the header {} is set by the client itself", key.name);
            report.error_at(key.place, "headers", Code::InvalidSetting, what);
        } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            let what = format!("{:?} is no header name", key.name);
            report.error_at(key.place, "headers", Code::InvalidSetting, what);
        } else if text.chars().any(|c| c.is_control() || !c.is_ascii()) {
            report.error(&value, Code::InvalidSetting, "a header value is printable ASCII");
        } else {
            headers.insert(key.name.clone(), text);
        }
    }
    headers
}
