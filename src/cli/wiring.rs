//! From settings to the parts of a daemon: clients, destinations, the source's options.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

use super::ImportFlags;
use crate::app::lead;
use crate::audit;
use crate::audit::witness::client::Client;
use crate::audit::witness::policy::WitnessPolicy;
use crate::audit::witness::watch::{Stops, Watch};
use crate::clock::Clock;
use crate::cluster::{Cluster, Scope};
use crate::config::{self, Auth, CheckpointSink, MissingStops, SecretFile, Settings, TokenIssuer};
use crate::gate::identity::Identities;
use crate::notify::{self, Destination, Endpoint, SigningKey};
use crate::outbound::{ApiServer, Authorization, SecretSource, Transport};
use crate::prometheus::{ClientOptions, SourceOptions};
use crate::spec::identity::UnusableIdentities;
use crate::spec::{self, Loaded, RuleKind, Severity};
use crate::web::auth::issuer::Issuer;
use crate::web::auth::oidc::{SignIn, SignInSettings};
use crate::web::auth::session::Sessions;
use crate::web::auth::{MachineTokens, TokenReview};
use crate::web::{self, Tls, TlsFiles};

/// Why a process did not start; for people.
pub(super) enum StartFailure {
    /// A setting cannot be used.
    Config(String),
    /// Something else is in the way.
    Start(String),
}

/// Reads the settings file if there is one. Problems are printed; errors end the command.
pub fn settings(path: Option<&Path>) -> Result<Settings, String> {
    let Some(path) = path else { return Ok(Settings::default()) };
    let loaded = config::load(path);
    if loaded.is_fatal() {
        return Err(loaded.render(super::colour_on(&std::io::stderr())));
    }
    drop(write!(std::io::stderr().lock(), "{}", loaded.render(super::colour_on(&std::io::stderr()))));
    Ok(loaded.settings)
}

/// Judges the settings as a whole: errors are returned, warnings printed.
pub fn judge(settings: &Settings) -> Result<(), String> {
    let mut errors = String::new();
    for fault in settings.faults() {
        let instead = fault.instead.map(|text| format!("\n  = write: {text}")).unwrap_or_default();
        match fault.severity {
            Severity::Error => errors.push_str(&format!("error: {}: {}{instead}\n", fault.key, fault.what)),
            Severity::Warning => {
                drop(writeln!(std::io::stderr().lock(), "warning: {}: {}{instead}", fault.key, fault.what));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Reads rules as the settings want them read.
pub(super) fn rules(paths: &[PathBuf], settings: &Settings, flags: &ImportFlags) -> Loaded {
    let people = people(settings);
    let options = spec::Options { resolution: settings.resolution, people, ..spec::Options::default() };
    spec::load_with(paths, &flags.options(options))
}

/// Rules as the daemon of these settings takes them, with those of the cluster where it has some.
pub(super) fn rules_of_daemon(
    paths: &[PathBuf],
    settings: &Settings,
    flags: &ImportFlags,
    cluster: Option<&Cluster>,
) -> Loaded {
    let options = options_of_daemon(settings, flags);
    match cluster {
        Some(cluster) => cluster.load(paths, &options),
        None => spec::load_with(paths, &options),
    }
}

/// How a daemon reads rules. One that decides, and knows nobody, can ask nobody.
fn options_of_daemon(settings: &Settings, flags: &ImportFlags) -> spec::Options {
    let nobody = || settings.audit_dir().map(|_| Arc::default());
    let people = people(settings).or_else(nobody);
    flags.options(spec::Options { resolution: settings.resolution, people, ..spec::Options::default() })
}

/// Longest wait for the first lists of the API server; after it the daemon starts with what was in force last.
const LISTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// The rules that live in Kubernetes, listed; `None` where the settings say nothing of them.
pub(super) async fn cluster(settings: &Settings, clock: &Clock) -> Result<Option<Arc<Cluster>>, String> {
    let Some(cluster) = &settings.cluster else { return Ok(None) };
    let server = api_server(&cluster.url, cluster.ca_file.as_deref(), &cluster.token_file)
        .map_err(|error| format!("cluster: {error}"))?;
    let everywhere = [None];
    let named: Vec<Option<String>> = cluster.namespaces.iter().cloned().map(Some).collect();
    let namespaces = if named.is_empty() { &everywhere[..] } else { &named };
    let scopes = cluster.kinds.iter().flat_map(|kind| {
        let of_kind = (*kind == RuleKind::ConfigMap).then(|| cluster.config_map_labels.clone());
        let labels: Vec<String> = of_kind.into_iter().chain(cluster.labels.clone()).collect();
        let labels = (!labels.is_empty()).then(|| labels.join(","));
        namespaces.iter().map(move |namespace| Scope {
            kind: *kind,
            namespace: namespace.clone(),
            labels: labels.clone(),
        })
    });
    if let Some(dir) = &settings.data_dir {
        std::fs::create_dir_all(dir).map_err(|error| format!("data_dir {}: {error}", dir.display()))?;
    }
    let cluster = Cluster::start(server, scopes.collect(), settings.data_dir.clone(), clock.clone());
    cluster.listed(LISTED_WITHIN).await;
    Ok(Some(Arc::new(cluster)))
}

/// Who there is, where the settings say so. A file that cannot be used is told of by whoever needs it.
fn people(settings: &Settings) -> Option<Arc<Identities>> {
    let loaded = spec::identity::load(settings.auth.identities.as_ref()?);
    (!loaded.is_fatal()).then(|| Arc::new(loaded.identities))
}

/// Who may do more than read: identities, the API server that is asked, and limits. Problems of the identities file
/// are printed; errors end the command.
pub fn auth(settings: &Settings) -> Result<web::auth::Settings, String> {
    let auth = &settings.auth;
    let review = match &auth.token_review {
        None => None,
        Some(review) => {
            let server = api_server(&review.url, review.ca_file.as_deref(), &review.token_file)?;
            Some(TokenReview::new(server, review.audience.clone()))
        }
    };
    Ok(web::auth::Settings {
        identities: identities(settings, super::colour_on(&std::io::stderr())).map_err(|unusable| unusable.why)?,
        review,
        machine_tokens: machine_tokens(&auth.jwt)?,
        sign_in: sign_in(settings)?,
        per_minute: auth.requests_per_minute,
        burst: auth.requests_per_minute.div_ceil(5).max(10),
        reads_open: settings.listen_anywhere,
        hosts: auth.hosts.clone(),
    })
}

/// Whose tokens machines may bring; `None` where the settings say nothing of it.
fn machine_tokens(all: &[TokenIssuer]) -> Result<Option<MachineTokens>, String> {
    let issuer = |one: &TokenIssuer| {
        let transport = Transport::new(&one.issuer, one.ca_file.as_deref(), HeaderMap::new());
        let transport = transport.map_err(|why| format!("auth.jwt: {}: {why}", one.issuer))?;
        Ok(Issuer::new(one.issuer.clone(), one.audience.clone(), None, transport))
    };
    let issuers: Vec<Issuer> = all.iter().map(issuer).collect::<Result<_, String>>()?;
    Ok((!issuers.is_empty()).then(|| MachineTokens::new(issuers)))
}

/// Where people sign in; `None` where the settings say nothing of it.
fn sign_in(settings: &Settings) -> Result<Option<SignIn>, String> {
    let Some(oidc) = &settings.auth.oidc else { return Ok(None) };
    let said = |why: String| format!("auth.oidc: {why}");
    let page = settings.external_url.as_deref().unwrap_or_default();
    let page = Url::parse(page).map_err(|error| format!("external_url {page:?}: {error}"))?;
    let transport = Transport::new(&oidc.issuer, oidc.ca_file.as_deref(), HeaderMap::new()).map_err(said)?;
    let secret = oidc
        .client_secret_file
        .clone()
        .map(|file| -> SecretSource { Box::new(move || file.read().map_err(|fault| fault.to_string())) });
    // One that cannot be read now is told of now, not by the first person who signs in.
    if let Some(Err(why)) = secret.as_ref().map(|read| read()) {
        return Err(said(why));
    }
    let key = oidc.session_key_file.as_ref().map(SecretFile::read).transpose();
    let key = key.map_err(|fault| said(fault.to_string()))?;
    let bound_to = format!("{}\n{}", oidc.issuer, oidc.client_id);
    let sessions =
        Sessions::new(key.as_ref().map(|key| key.expose_secret()), &bound_to, &page, oidc.session.seconds())?;
    Ok(Some(SignIn::new(SignInSettings {
        issuer: Issuer::new(oidc.issuer.clone(), oidc.client_id.clone(), secret, transport),
        sessions,
        page,
        person_claim: oidc.person_claim.clone(),
        scopes: oidc.scopes.clone(),
        groups: oidc.groups.as_ref().map(|groups| (groups.claim.clone(), groups.rights.clone())),
    })))
}

/// The API server of Kubernetes, asked in our own name.
fn api_server(url: &str, ca_file: Option<&Path>, token: &SecretFile) -> Result<ApiServer, String> {
    let token = token.clone();
    ApiServer::new(url, ca_file, Box::new(move || token.read().map_err(|fault| fault.to_string())))
}

/// Reads the identities file; nobody is known without one. Its problems are told in `colour` or without.
pub fn identities(settings: &Settings, colour: bool) -> Result<Identities, UnusableIdentities> {
    let Some(path) = &settings.auth.identities else { return Ok(Identities::default()) };
    let loaded = spec::identity::load(path);
    match loaded.is_fatal() {
        true => Err(UnusableIdentities { why: loaded.render(colour), texts: loaded.texts }),
        false => Ok(loaded.identities),
    }
}

/// The server's TLS.
pub fn tls(settings: &Settings) -> Result<Option<Arc<Tls>>, String> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    let files = TlsFiles {
        cert_file: tls.cert_file.clone(),
        key_file: tls.key_file.clone(),
        client_ca_file: tls.client_ca_file.clone(),
    };
    Tls::load(files).map(|tls| Some(Arc::new(tls)))
}

/// How to reach Prometheus.
pub fn client(settings: &Settings) -> Result<ClientOptions, String> {
    let prometheus = &settings.prometheus;
    let Some(url) = &prometheus.url else {
        return Err(
            "no Prometheus is given: add --prometheus-url http://HOST:9090, or prometheus.url to --config".into()
        );
    };
    let mut options = ClientOptions::new(url);
    options.authorization = authorization(&prometheus.auth)?;
    options.headers =
        prometheus.headers.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))).collect();
    options.ca_file = prometheus.ca_file.clone();
    options.timeout = std::time::Duration::from_secs(prometheus.timeout.seconds().unsigned_abs());
    options.max_response_bytes = usize::try_from(prometheus.max_response_bytes).unwrap_or(usize::MAX);
    Ok(options)
}

/// How to poll it.
pub fn source(settings: &Settings, clock: Option<Clock>) -> SourceOptions {
    SourceOptions {
        resolution_s: settings.resolution.seconds(),
        poll_interval_s: settings.poll_interval.seconds(),
        overlap_s: settings.overlap.as_secs() as i64,
        raw_series_max: usize::try_from(settings.raw_series_max).unwrap_or(usize::MAX),
        concurrency: settings.prometheus.max_concurrency as usize,
        clock,
        ..SourceOptions::default()
    }
}

/// How alerts are sent. Links lead to `external_url`, or to where we listen.
pub fn notify(settings: &Settings) -> Result<notify::Settings, String> {
    let external = settings.external_url.clone().unwrap_or_else(|| format!("http://{}", settings.listen));
    let external = Url::parse(&external).map_err(|error| format!("external_url {external:?}: {error}"))?;
    let mut notify = notify::Settings::new(external);
    notify.resend = std::time::Duration::from_secs(settings.resend.seconds().unsigned_abs());
    Ok(notify)
}

/// Everybody who is told of alerts.
pub fn destinations(settings: &Settings) -> Result<Vec<Destination>, String> {
    let mut all = Vec::new();
    for peer in &settings.alertmanagers {
        let endpoint = endpoint(&peer.url, peer.ca_file.as_deref(), &peer.auth)?;
        all.push(Destination::Alertmanager(with_headers(endpoint, &peer.headers)?));
    }
    for (place, webhook) in settings.webhooks.iter().enumerate() {
        let key = match &webhook.secret_file {
            Some(file) => Some(signing_key(file)?),
            None => None,
        };
        let endpoint = endpoint(&webhook.url, webhook.ca_file.as_deref(), &Auth::None)?;
        let endpoint = with_headers(endpoint, &webhook.headers)?;
        let receiver = format!("webhook-{}", place + 1);
        all.push(Destination::Webhook { endpoint, receiver, key, min_severity: webhook.min_severity });
    }
    Ok(all)
}

fn signing_key(file: &SecretFile) -> Result<SigningKey, String> {
    SigningKey::of_file(file.clone()).map_err(|error| format!("a webhook's secret_file cannot be used: {error}"))
}

fn with_headers(mut endpoint: Endpoint, headers: &BTreeMap<String, String>) -> Result<Endpoint, String> {
    for (name, value) in headers {
        endpoint = endpoint.header(name, &SecretString::from(value.as_str()))?;
    }
    Ok(endpoint)
}

pub(super) fn authorization(auth: &Auth) -> Result<Authorization, String> {
    match auth {
        Auth::None => Ok(Authorization::None),
        Auth::Bearer(file) => Authorization::bearer(file.clone()),
        Auth::Basic { username, password_file } => Authorization::basic(username.clone(), password_file.clone()),
    }
}

fn endpoint(url: &str, ca_file: Option<&Path>, auth: &Auth) -> Result<Endpoint, String> {
    let url = Url::parse(url).map_err(|error| format!("a destination's URL cannot be used: {error}"))?;
    let origin = url.origin().ascii_serialization();
    let transport = Transport::new(url.as_str(), ca_file, HeaderMap::new())
        .map_err(|error| format!("no client for {origin}: {error}"))?;
    let authorization = authorization(auth).map_err(|error| format!("the credentials for {origin}: {error}"))?;
    Ok(Endpoint::new(url, transport).authorization(authorization))
}

/// The audit log; `None` where the settings keep nothing.
pub fn audit(settings: &Settings) -> Result<Option<audit::Options>, String> {
    let Some(dir) = settings.audit_dir() else { return Ok(None) };
    let mut options = audit::Options::new(dir);
    options.origin = settings.audit.origin.clone();
    options.key_file = settings.audit.key_file.clone();
    // Beside the log: whoever takes turns at it shares what remembers it, too.
    options.memory_file = Some(options.dir.with_extension("head"));
    options.turns = settings.audit.advertise.clone();
    options.segment_bytes = settings.audit.segment_bytes;
    options.bodies_bytes_max = settings.audit.bodies_bytes_max;
    for place in &settings.audit.checkpoints {
        options.sinks.push(match place {
            CheckpointSink::Stdout => Box::new(audit::sink::Stdout),
            CheckpointSink::File(path) => Box::new(audit::sink::NoteFile(path.clone())),
            CheckpointSink::Webhook { url, bearer, ca_file } => {
                Box::new(checkpoint_webhook(url, bearer.as_ref(), ca_file.as_deref())?)
            }
        });
    }
    if let Some(witnesses) = &settings.audit.witnesses {
        let policy = witness_policy(&witnesses.policy_file)?;
        let watch = Arc::new(Watch::new(policy.clone()));
        for row in policy.witnesses {
            let Some(text) = row.url.clone() else { continue };
            let fault = |what: &dyn std::fmt::Display| format!("witness {}: {text}: {what}", row.name);
            let url = Url::parse(&format!("{text}/add-checkpoint")).map_err(|error| fault(&error))?;
            let transport = Transport::new(url.as_str(), None, HeaderMap::new()).map_err(|error| fault(&error))?;
            options.sinks.push(Box::new(Client::new(row, url, transport, &options.dir, Arc::clone(&watch))));
        }
        let stops = match witnesses.missing_stops {
            MissingStops::Nothing => Stops::Nothing,
            MissingStops::Risks => Stops::Risks,
            MissingStops::Cures => Stops::Cures,
        };
        options.watch = Some((watch, stops));
    }
    Ok(Some(options))
}

/// How the audit log is kept, for each time that it is opened.
pub fn audit_again(settings: &Settings) -> lead::LogOptions {
    let settings = settings.clone();
    Arc::new(move || audit(&settings)?.ok_or_else(|| "no audit log is kept".to_owned()))
}

/// The election of whoever decides; `None` where no lease says who.
pub(super) fn lease(settings: &Settings) -> Result<Option<lead::Lease>, String> {
    /// Where a pod finds its namespace.
    const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    let Some(lease) = &settings.audit.lease else { return Ok(None) };
    if settings.audit.advertise.is_none() {
        return Err("audit.lease: the others have to know where whoever holds the lease is reached: add --advertise \
                    http://$(POD_NAME).slowburn-peers:9595, or audit.advertise"
            .into());
    }
    let namespace = match &lease.namespace {
        Some(namespace) => namespace.clone(),
        None => std::fs::read_to_string(NAMESPACE).map(|text| text.trim().to_owned()).map_err(|error| {
            format!("audit.lease: the namespace of this pod is not known ({NAMESPACE}: {error}); write namespace: NAME")
        })?,
    };
    let server = api_server(&lease.url, lease.ca_file.as_deref(), &lease.token_file)
        .map_err(|error| format!("audit.lease: {error}"))?;
    // One that gets no answer is followed by another before what is held ends, at two thirds.
    let api = lead::Api::new(server, namespace, lease.name.clone(), lease.duration / 3);
    Ok(Some(lead::Lease { api, duration: lease.duration, log: audit_again(settings) }))
}

/// Reads a policy of witnesses.
pub(super) fn witness_policy(path: &Path) -> Result<WitnessPolicy, String> {
    let said = |what: String| format!("{}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| said(error.to_string()))?;
    WitnessPolicy::parse(&text).map_err(said)
}

fn checkpoint_webhook(
    url: &str,
    bearer: Option<&config::SecretFile>,
    ca_file: Option<&Path>,
) -> Result<audit::sink::Webhook, String> {
    let url = Url::parse(url).map_err(|error| format!("audit.checkpoints: a webhook's URL cannot be used: {error}"))?;
    let origin = url.origin().ascii_serialization();
    let transport = Transport::new(url.as_str(), ca_file, HeaderMap::new())
        .map_err(|error| format!("audit.checkpoints: no client for {origin}: {error}"))?;
    let authorization = bearer.map(|file| Authorization::bearer(file.clone())).transpose()?.unwrap_or_default();
    Ok(audit::sink::Webhook::new(url, transport, authorization))
}
