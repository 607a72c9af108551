//! Daemon settings: where Prometheus and Alertmanager are, where to listen, how often to look.
//!
//! One YAML file (`slowburn run --config FILE`), read strictly: every problem at once, each with its line. Flags of
//! the command line are laid over it by `cli`, and [`Settings::faults`] judges the result. Secrets never stand in
//! the file: it names files that hold them, which are read when they are used.
//!
//! Deliberately absent: anything about SLOs. What an SLO means must not depend on which daemon looks at it.

mod check;
mod endpoint;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::severity::Sev;
use crate::spec::resource::ResourceKind;
use crate::spec::{RuleKind, TimeSpan};
use crate::telemetry::compat::Compat;
use crate::telemetry::detail::Detail;

pub use crate::outbound::{SecretFault, SecretFile};
pub use check::Fault;
pub use endpoint::{EndpointFault, endpoint};
pub use read::{LoadedSettings, load, load_text};

/// Where a pod finds its own token and the API server's authority.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The documented example, compiled in; a test holds it equal to [`Settings::default`].
pub const EXAMPLE: &str = include_str!("config/example.yaml");

/// Everything the daemon can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where samples come from.
    pub prometheus: Prometheus,
    /// The daemon that is followed instead of a Prometheus; `None`: this is a daemon itself.
    pub follow: Option<Follow>,
    /// Rules that live in Kubernetes; `None`: they stand in files alone.
    pub cluster: Option<Cluster>,
    /// Every peer of the Alertmanager cluster; each alert goes to all of them.
    pub alertmanagers: Vec<Alertmanager>,
    /// Receivers of webhook v4 bodies.
    pub webhooks: Vec<Webhook>,
    /// Where HTTP is served. Default 127.0.0.1:9595.
    pub listen: SocketAddr,
    /// Whether those on other machines may read without a credential. It allows a `listen` that others can reach where
    /// no identities are configured.
    pub listen_anywhere: bool,
    /// Who may do more than read.
    pub auth: Authentication,
    /// TLS of the server; `None`: plain HTTP.
    pub tls: Option<ServerTls>,
    /// Where the ledger and alert states survive a restart; `None`: memory only, and a restart fills them again.
    pub data_dir: Option<PathBuf>,
    /// How the audit log is kept.
    pub audit: Audit,
    /// Length of a slice; divides 5 minutes. Default 30 s.
    pub resolution: TimeSpan,
    /// Time between polls; a multiple of `resolution`. Default 30 s.
    pub poll_interval: TimeSpan,
    /// How long after a slice's end it is read: time for scrapes to be written. 0 to 10 min, default 5 s.
    pub evaluation_delay: Duration,
    /// How far each read reaches back over the one before, for samples that came late. 0 to 10 min, default 15 s.
    pub overlap: Duration,
    /// How the past is filled at a cold start.
    pub backfill: Backfill,
    /// A metric with more raw series than this per query is summed by the server. Default 20,000.
    pub raw_series_max: u64,
    /// Time after which a firing alert is sent again; Alertmanager forgets it after four. 10 s to 1 h, default 60 s.
    pub resend: TimeSpan,
    /// Where people reach this daemon, for links in alerts; `None`: no links.
    pub external_url: Option<String>,
    /// Which series of other tools `/metrics` shows. Default none.
    pub compat: Compat,
    /// How many series `/metrics` shows of each SLO. Default lean: at most ten.
    pub metrics_detail: Detail,
    /// What the log looks like.
    pub log: Log,
}

/// A Prometheus, or what speaks its query API.
#[derive(Debug, Clone, PartialEq)]
pub struct Prometheus {
    /// Base URL without a trailing slash; `None` until a flag gives it.
    pub url: Option<String>,
    /// How to authenticate.
    pub auth: Auth,
    /// Further headers of each request, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authority; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for one answer. Default 10 s.
    pub timeout: TimeSpan,
    /// Largest answer that is read, bytes. Default 64 MiB.
    pub max_response_bytes: u64,
    /// Most queries at once. Default 4.
    pub max_concurrency: u32,
}

/// A daemon that is followed: one service of it is repeated here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Follow {
    /// Base URL without a trailing slash; `None` until a flag gives it.
    pub url: Option<String>,
    /// Name of the service; `None` until a flag gives it.
    pub service: Option<String>,
    /// How to authenticate.
    pub auth: Auth,
    /// Further headers of each request.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authority; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Rules that live in Kubernetes, and how to reach the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Kinds of objects that are read. Default: ours.
    pub kinds: Vec<RuleKind>,
    /// Namespaces whose objects are read; empty: all.
    pub namespaces: Vec<String>,
    /// Label selector of the objects that are read; `None`: all.
    pub labels: Option<String>,
    /// Label selector of ConfigMaps, besides. Default `slowburn.dev/rules`: those that have this label.
    pub config_map_labels: String,
    /// The API server, without a trailing slash. Default `https://kubernetes.default.svc`.
    pub url: String,
    /// Our token. Default: the pod's.
    pub token_file: SecretFile,
    /// The API server's authority. Default: the pod's; none for plain http.
    pub ca_file: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            kinds: ResourceKind::ALL.map(RuleKind::Own).to_vec(),
            namespaces: Vec::new(),
            labels: None,
            config_map_labels: "slowburn.dev/rules".into(),
            url: "https://kubernetes.default.svc".into(),
            token_file: SecretFile::new(Path::new(POD).join("token")),
            ca_file: Some(Path::new(POD).join("ca.crt")),
        }
    }
}

impl Cluster {
    /// Reads less of it: a term is a namespace (`metadata.namespace=NAME`), or a part of a label selector.
    ///
    /// # Errors
    /// It is neither; for people.
    pub fn select(&mut self, term: &str) -> Result<(), String> {
        if let Some(namespace) = term.strip_prefix("metadata.namespace=") {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if namespace.is_empty() || namespace.len() > 63 || !namespace.chars().all(fits) {
                return Err(format!("{namespace:?} is no namespace"));
            }
            self.namespaces.push(namespace.to_owned());
            return Ok(());
        }
        if !is_selector(term) {
            return Err(format!("{term:?} is no label selector: write team=checkout, or metadata.namespace=shop"));
        }
        self.labels = Some(self.labels.take().map_or(term.to_owned(), |labels| format!("{labels},{term}")));
        Ok(())
    }
}

/// Whether a text could be a label selector; the API server says whether it is.
fn is_selector(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./=!,() ".contains(c);
    (1..=1_000).contains(&text.trim().len()) && text.chars().all(fits)
}

/// How a client says who it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Auth {
    /// It does not.
    #[default]
    None,
    /// A bearer token.
    Bearer(SecretFile),
    /// User name and password (RFC 7617).
    Basic {
        /// User name.
        username: String,
        /// File of the password.
        password_file: SecretFile,
    },
}

/// Who may decide, approve, halt and reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Authentication {
    /// File of people, robots and pipelines; `None`: nobody may do more than read.
    pub identities: Option<PathBuf>,
    /// The Kubernetes API server that knows service accounts' tokens.
    pub token_review: Option<TokenReview>,
    /// Whose tokens machines may bring.
    pub jwt: Vec<TokenIssuer>,
    /// Where people sign in; `None`: they bring tokens or certificates.
    pub oidc: Option<Oidc>,
    /// Most requests of one principal a minute. 1 to 100,000, default 600.
    pub requests_per_minute: u32,
    /// Names, without ports, that the server is asked by. Addresses, `external_url`, the names of the server's
    /// certificate and names that are of no public zone (`localhost`, `slowburn.ops.svc`) need not stand here.
    pub hosts: Vec<String>,
}

/// How to ask the Kubernetes API server whose a token is.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenReview {
    /// Base URL. Default `https://kubernetes.default.svc`.
    pub url: String,
    /// Audience that callers' tokens must be for.
    pub audience: String,
    /// Slowburn's own token. Default that of the pod.
    pub token_file: SecretFile,
    /// PEM file of the API server's authority. Default that of the pod.
    pub ca_file: Option<PathBuf>,
}

/// An issuer of tokens for machines.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenIssuer {
    /// The issuer, to the letter as its tokens name it.
    pub issuer: String,
    /// Audience that its tokens must be for.
    pub audience: String,
    /// PEM file of the issuer's authority; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How people sign in at an OpenID Connect issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct Oidc {
    /// The issuer, to the letter as its tokens name it.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; `None`: a public client.
    pub client_secret_file: Option<SecretFile>,
    /// PEM file of the issuer's authority; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The claim that says which person it is. Default `sub`, the only one that an issuer never gives to another person.
    pub person_claim: String,
    /// Scopes that are asked for besides `openid`.
    pub scopes: Vec<String>,
    /// What groups may do; `None`: everybody may what stands in the identities file.
    pub groups: Option<OidcGroups>,
    /// How long a sign-in lasts. 5 min to 24 h, default 8 h.
    pub session: TimeSpan,
    /// The key of sessions, which replicas share; `None`: one that is made at each start.
    pub session_key_file: Option<SecretFile>,
}

/// What groups of an issuer may do.
#[derive(Debug, Clone, PartialEq)]
pub struct OidcGroups {
    /// The claim with the groups of a person.
    pub claim: String,
    /// The rights of each group.
    pub rights: BTreeMap<String, crate::spec::identity::Rights>,
}

/// Files of the server's TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTls {
    /// PEM file of the certificate and those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// PEM file of the authorities that sign certificates of clients; `None`: clients bring none.
    pub client_ca_file: Option<PathBuf>,
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication {
            identities: None,
            token_review: None,
            jwt: Vec::new(),
            oidc: None,
            requests_per_minute: 600,
            hosts: Vec::new(),
        }
    }
}

/// One peer of an Alertmanager cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanager {
    /// Base URL without a trailing slash.
    pub url: String,
    /// How to authenticate.
    pub auth: Auth,
    /// Further headers of each request, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authority.
    pub ca_file: Option<PathBuf>,
}

/// A receiver of webhook v4 bodies.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// The whole URL. Its path is often a secret: log [`Webhook::shown`] instead.
    pub url: String,
    /// Key of the HMAC-SHA256 signature; `None`: unsigned.
    pub secret_file: Option<SecretFile>,
    /// Only alerts at least as bad as this; `None`: all.
    pub min_severity: Option<Sev>,
    /// PEM file of the certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Further headers of each request.
    pub headers: BTreeMap<String, String>,
}

impl Webhook {
    /// Scheme and host of its URL, without the path.
    pub fn shown(&self) -> String {
        let authority = self.url.split('/').take(3).collect::<Vec<_>>();
        authority.join("/")
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.shown())
            .field("min_severity", &self.min_severity)
            .finish_non_exhaustive()
    }
}

/// How the audit log is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// Its directory; `None`: `audit` in `data_dir`.
    pub dir: Option<PathBuf>,
    /// Its name in records and checkpoints; `None`: that of its key, or a new one.
    pub origin: Option<String>,
    /// The key that signs checkpoints; `None`: `signing.key` in its directory.
    pub key_file: Option<PathBuf>,
    /// A file of records is followed by a new one after so many bytes. 1 MiB to 1 GiB, default 64 MiB.
    pub segment_bytes: u64,
    /// Most bytes of inputs that are kept beside it; the oldest go first. Default 1 GiB.
    pub bodies_bytes_max: u64,
    /// Where checkpoints go besides its directory.
    pub checkpoints: Vec<CheckpointSink>,
    /// Who witnesses it.
    pub witnesses: Option<Witnesses>,
    /// Several daemons take turns at this log, on a volume that they share: where the others reach this one.
    pub advertise: Option<String>,
    /// A Kubernetes Lease says whose turn it is; `None`: the lock of the log does.
    pub lease: Option<Lease>,
}

/// A Lease in Kubernetes (`coordination.k8s.io/v1`), and how to reach the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name. Default slowburn.
    pub name: String,
    /// Its namespace; `None`: that of the pod.
    pub namespace: Option<String>,
    /// How long it is held without being renewed. 3 s to 1 m, default 15 s.
    pub duration: Duration,
    /// The API server, without a trailing slash. Default `https://kubernetes.default.svc`.
    pub url: String,
    /// Our token. Default: the pod's.
    pub token_file: SecretFile,
    /// The API server's authority. Default: the pod's; none for plain http.
    pub ca_file: Option<PathBuf>,
}

/// Who witnesses the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses {
    /// A C2SP `tlog-policy`: their keys and addresses, and how many are enough.
    pub policy_file: PathBuf,
    /// What machines may not do while they are too few. Default: risks.
    pub missing_stops: MissingStops,
}

/// What machines may not do without enough witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingStops {
    /// They may do everything.
    Nothing,
    /// No risk.
    Risks,
    /// No risk and no cure.
    Cures,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            dir: None,
            origin: None,
            key_file: None,
            segment_bytes: 64 << 20,
            bodies_bytes_max: 1 << 30,
            checkpoints: Vec::new(),
            witnesses: None,
            advertise: None,
            lease: None,
        }
    }
}

/// One place that checkpoints of the audit log go to.
#[derive(Clone, PartialEq)]
pub enum CheckpointSink {
    /// A line of JSON on stdout.
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
    /// A URL that is posted to.
    Webhook {
        /// The whole URL; its path is often a secret.
        url: String,
        /// Token of the `Authorization` header.
        bearer: Option<SecretFile>,
        /// PEM file of the certificate authority.
        ca_file: Option<PathBuf>,
    },
}

impl std::fmt::Debug for CheckpointSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CheckpointSink::Stdout => f.write_str("Stdout"),
            CheckpointSink::File(path) => f.debug_tuple("File").field(path).finish(),
            CheckpointSink::Webhook { url, .. } => {
                let shown = url.split('/').take(3).collect::<Vec<_>>().join("/");
                f.debug_tuple("Webhook").field(&shown).finish()
            }
        }
    }
}

impl Settings {
    /// Where the audit log is; `None` where nothing is kept.
    pub fn audit_dir(&self) -> Option<PathBuf> {
        self.audit.dir.clone().or_else(|| Some(self.data_dir.as_ref()?.join("audit")))
    }
}

/// How the past is filled at a cold start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Whether it is filled at all. Default true.
    pub enabled: bool,
    /// How far back; `None`: as far as the longest window.
    pub window: Option<TimeSpan>,
}

/// What the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines. Default text.
    pub format: LogFormat,
    /// Least important level that is written. Default info.
    pub level: LogLevel,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Log levels, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What happens in normal operation, seldom.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// `error`, `warn`, ...: as filters of `tracing` have it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// A span that is a constant of this file.
fn seconds(seconds: i64) -> TimeSpan {
    TimeSpan::from_seconds(seconds).expect("a positive constant")
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            prometheus: Prometheus::default(),
            follow: None,
            cluster: None,
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9595)),
            listen_anywhere: false,
            auth: Authentication::default(),
            tls: None,
            data_dir: None,
            audit: Audit::default(),
            resolution: crate::spec::defaults().resolution,
            poll_interval: seconds(30),
            evaluation_delay: Duration::from_secs(5),
            overlap: Duration::from_secs(15),
            backfill: Backfill { enabled: true, window: None },
            raw_series_max: 20_000,
            resend: seconds(60),
            external_url: None,
            compat: Compat::default(),
            metrics_detail: Detail::default(),
            log: Log { format: LogFormat::Text, level: LogLevel::Info },
        }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Prometheus {
            url: None,
            auth: Auth::None,
            headers: BTreeMap::new(),
            ca_file: None,
            timeout: seconds(10),
            max_response_bytes: 64 << 20,
            max_concurrency: 4,
        }
    }
}
