//! Wiring: one function that owns the daemon's life.
//!
//! The tick is one function, in `tick`. What it works on are parts that know nothing of each other: the rules in force
//! (`rules`), what is known of the past (`history`), what survives (`saved`), what evaluations leave for the next one
//! (`evaluation`), and what is looked up beside it (`survey_schedule`, `workloads`). `daemon` holds them together.
//!
//! Nothing leaves the process before it is stored. The caller brings the listener, the clock and the stop signal, so a
//! test runs two daemons in one process and the demo runs one on a fast clock.

pub mod access;
pub mod corrections;
pub mod daemon;
pub mod evaluation;
pub(crate) mod heap;
pub mod history;
mod incidents;
pub mod lead;
pub mod reach;
pub mod rules;
mod saved;
mod silences;
mod stages;
pub mod survey_schedule;
mod tick;
mod workloads;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Log};
use crate::clock::Clock;
use crate::engine::Snapshot;
use crate::gate_service::{self, GateService};
use crate::incident::Incident;
use crate::notify::{self, Destination, Notifier};
use crate::prometheus::backfill::Progress;
use crate::prometheus::{ClientOptions, SourceOptions};
use crate::telemetry::compat::Compat;
use crate::telemetry::detail::Detail;
use crate::{store, web};

use access::Access;
pub use daemon::Daemon;

/// What a daemon is made of.
pub struct Options {
    /// Its time.
    pub clock: Clock,
    /// The Prometheus it reads.
    pub client: ClientOptions,
    /// How it polls.
    pub source: SourceOptions,
    /// How long after a slice's end it is read, seconds.
    pub evaluation_delay_s: i64,
    /// Where state is kept; `None` keeps none.
    pub data_dir: Option<PathBuf>,
    /// Incidents that are known beside those of the state file, which go before them.
    pub incidents: Vec<Incident>,
    /// How the audit log is kept; `None` keeps none.
    pub audit: Option<audit::Options>,
    /// The same, asked for again when it could not be opened and is tried once more; `None`: it is not.
    pub audit_again: Option<lead::LogOptions>,
    /// The election of whoever decides; `None` where the log's own lock does that.
    pub lease: Option<lead::Lease>,
    /// Whether history is read at a cold start.
    pub backfill: bool,
    /// Reads the rules; called at the start and at each reload.
    pub rules: rules::ReadRules,
    /// How alerts are sent.
    pub notify: notify::Settings,
    /// To whom.
    pub destinations: Vec<Destination>,
    /// What HTTP clients may take.
    pub limits: web::Limits,
    /// Who may do more than read.
    pub auth: web::auth::Settings,
    /// Reads them again at each reload; `None` where they stay as they are.
    pub identities: Option<access::ReadIdentities>,
    /// The server's TLS; `None` serves plain HTTP.
    pub tls: Option<Arc<web::Tls>>,
    /// Where people reach the page.
    pub external_url: Option<String>,
    /// Which series of other tools `/metrics` shows.
    pub compat: Compat,
    /// How many series it shows of each SLO.
    pub metrics_detail: Detail,
    /// The process's own metrics.
    pub metrics: PrometheusHandle,
    /// Told how far history has been read.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// Longest wait for the lease to be given back at the end; without that it runs out by itself.
const RESIGN_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Does work that waits for the disk or takes long. On a runtime with several threads the others go on meanwhile.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Why a daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The rules have errors; they were rendered for people.
    Rules(String),
    /// A setting cannot be used.
    Settings(String),
    /// The state file cannot be used.
    Store(crate::store::StoreError),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Rules(text) => write!(f, "{text}"),
            StartError::Settings(text) => write!(f, "{text}"),
            StartError::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Handles of a running daemon for whoever embeds it.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Every evaluation.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Ask for a reload.
    pub reload: mpsc::Sender<web::Reload>,
    /// The audit log; `None` where none is kept, or it cannot be written.
    pub audit: Option<Log>,
}

/// Runs a daemon until `stop`: server, poll loop and notifiers, then drains them. `started` gets its handles.
pub async fn run(
    options: Options,
    listener: TcpListener,
    stop: CancellationToken,
    started: impl FnOnce(Handle),
) -> Result<(), StartError> {
    let (reload, reloads) = mpsc::channel(1);
    let limits = options.limits.clone();
    let clock = options.clock.clone();
    let metrics = options.metrics.clone();
    let notify_stop = CancellationToken::new();
    let mut options = options;
    let destinations = std::mem::take(&mut options.destinations);
    let (auth, tls) = (std::mem::take(&mut options.auth), options.tls.clone());
    let (audit, lease, again) = (options.audit.take(), options.lease.take(), options.audit_again.take());
    let audit_dir = audit.as_ref().map(|audit| audit.dir.clone());
    let read = options.identities.take();
    let options_of_gate = (auth.identities.clone(), options.external_url.clone());
    let settings = options.notify.clone();
    // State of an earlier process wants its log; asked before this one makes its own.
    let had_state = had_state(options.data_dir.as_deref());
    // And therefore the log is begun before the state: a process that dies between them leaves a log without state, and
    // never state without its log.
    let (mut turns, mut stands) = (None, None);
    let audit = match (audit, lease) {
        // Nobody has the lease at a start: it is stood for when all else is there, and until it is had, another one decides.
        (Some(audit), Some(lease)) => {
            let dir = audit.dir.clone();
            stands = Some(lead::Candidate::new(lease, audit, had_state, clock.clone())?);
            Some(Log::of_another(dir.clone(), &audit::OpenError::InUse(dir)))
        }
        (Some(audit), None) => {
            // Where replicas take turns each has state of its own, which knows nothing of what was accepted elsewhere.
            let recalled = options.data_dir.as_deref().filter(|_| audit.turns.is_none()).and_then(store::anchor);
            let audit = audit::Options { expected: had_state, recalled, ..audit };
            let turn = lead::Turn::new(audit.dir.clone(), audit.turns.clone());
            match turn.take() {
                // Others take turns at it, and one of them has it.
                Err(error @ audit::OpenError::InUse(_)) if audit.turns.is_some() => {
                    tracing::info!(%error, "another process decides: this one explains, and takes over when it is gone");
                    turns = Some((turn, true));
                    Some(Log::of_another(audit.dir.clone(), &error))
                }
                Err(error) => {
                    turns = error.may_pass().then_some((turn, false));
                    Some(without_log(audit.dir, &error))
                }
                Ok(seat) => {
                    let (log, may_pass) = open_log(audit::Options { seat: Some(seat), ..audit }, clock.clone()).await;
                    turns = may_pass.then_some((turn, false));
                    log
                }
            }
        }
        (None, _) => None,
    };
    let (mut daemon, views) = match Daemon::new(options) {
        Ok(both) => both,
        Err(error) => {
            close(audit).await;
            return Err(error);
        }
    };
    let gate_service = match (&audit, audit_dir) {
        (Some(log), Some(dir)) => {
            let follows = stands.is_some() || matches!(turns, Some((_, true)));
            open_gate(log, dir, &options_of_gate, &clock, follows).await
        }
        _ => None,
    };
    let authenticator = Arc::new(web::auth::Authenticator::new(auth, clock.clone()));
    let access = Access { read, authenticator: Arc::clone(&authenticator), tls: tls.clone() };
    daemon.guard(gate_service.clone(), access);
    if let (Some((turn, follows)), Some(again), Some(gate_service)) = (turns, again, gate_service.clone()) {
        let expected = had_state || follows;
        tokio::spawn(lead::wait(turn, again, expected, gate_service, clock.clone(), stop.clone()));
    }
    let resigns = CancellationToken::new();
    let election = match (stands, gate_service.clone()) {
        (Some(candidate), Some(gate_service)) => Some(tokio::spawn(candidate.stand(gate_service, resigns.clone()))),
        _ => None,
    };
    let decides = gate_service.clone();
    let peers: Vec<_> = destinations.iter().filter_map(Destination::alertmanager).cloned().collect();
    if let Some(gate_service) = gate_service.clone().filter(|_| !peers.is_empty()) {
        let snapshots = views.snapshot.clone();
        let (within, clock, stop) = (settings.timeout, clock.clone(), stop.clone());
        tokio::spawn(silences::follow(peers, gate_service, snapshots, within, clock, stop));
    }
    let notifier = Notifier::start(&settings, destinations, &clock, &notify_stop);
    let app = web::App {
        snapshot: views.snapshot.clone(),
        readiness: views.readiness,
        metrics,
        info: views.info,
        reload: Some(reload.clone()),
        auth: authenticator,
        tls,
        gate_service,
        ledger: Some(views.ledger),
        incidents: views.incidents,
        clock,
        limits,
    };
    let server = tokio::spawn(web::serve(listener, app, stop.clone()));
    started(Handle { snapshots: views.snapshot, reload, audit: audit.clone() });
    daemon.run(&notifier, reloads, &stop).await;
    // The last state is stored and published: let the dispatchers say it, and the readers finish.
    notify_stop.cancel();
    notifier.drained().await;
    drop(server.await);
    // The log of whoever decides at the end.
    close(decides.map(|gate_service| gate_service.log()).or(audit)).await;
    // Only then the lease is given back: the next one reads a log that is closed.
    resigns.cancel();
    if let Some(election) = election {
        drop(tokio::time::timeout(RESIGN_WITHIN, election).await);
    }
    Ok(())
}

async fn close(audit: Option<Log>) {
    if let Some(log) = audit {
        drop(tokio::task::spawn_blocking(move || log.close()).await);
    }
}

/// Whether an earlier process left its state in this data directory.
fn had_state(data_dir: Option<&Path>) -> bool {
    data_dir.is_some_and(|dir| dir.join(crate::store::FILE).exists())
}

/// Builds the gate from its log. Where it cannot be built the daemon runs on without: nothing is allowed then.
async fn open_gate(
    log: &Log,
    dir: PathBuf,
    (identities, external_url): &(crate::gate::Identities, Option<String>),
    clock: &Clock,
    follows: bool,
) -> Option<GateService> {
    let options = gate_service::Options {
        log: log.clone(),
        dir,
        clock: clock.clone(),
        identities: identities.clone(),
        external_url: external_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
        follows,
    };
    match tokio::task::spawn_blocking(move || GateService::new(options)).await {
        Ok(Ok(gate_service)) => Some(gate_service),
        Ok(Err(error)) => {
            tracing::error!(error, "the gate decides nothing until this is mended");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the gate decides nothing: it could not be built");
            None
        }
    }
}

/// Opens the audit log. Where it cannot be opened the daemon runs on with one that refuses everything: nothing is allowed
/// then but what a person does in an emergency, and alerts go out. Also whether it may be opened a little later.
async fn open_log(options: audit::Options, clock: Clock) -> (Option<Log>, bool) {
    if options.sinks.is_empty() {
        tracing::info!("audit checkpoints are kept beside the log only (audit.checkpoints sends them elsewhere)");
    }
    let dir = options.dir.clone();
    match tokio::task::spawn_blocking(move || Log::open(options, clock)).await {
        Ok(Ok(log)) => {
            tracing::info!(origin = log.public_key().name(), records = log.checkpoint().size, "the audit log is open");
            (Some(log), false)
        }
        Ok(Err(error)) => (Some(without_log(dir, &error)), error.may_pass()),
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be opened: no change is allowed until it can");
            (None, false)
        }
    }
}

/// One that refuses everything.
fn without_log(dir: PathBuf, error: &audit::OpenError) -> Log {
    tracing::error!(%error, "the audit log cannot be opened: no change is allowed until it can");
    metrics::gauge!(crate::telemetry::names::AUDIT_WRITABLE).set(0.0);
    Log::refusing(dir, error)
}

#[cfg(test)]
mod tests;
