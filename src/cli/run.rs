//! `slowburn run`: the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::wiring::StartFailure;
use super::{Exit, SourceArgs, asked_to_stop, complain, wiring};
use crate::app::{self, Handle, Options, StartError};
use crate::clock::Clock;
use crate::config::{Auth, LogFormat, Settings};
use crate::prometheus::backfill::Progress;
use crate::telemetry::compat::Switch;
use crate::telemetry::detail::Detail;
use crate::{telemetry, web};

/// Flags of `slowburn run`; they win over the settings file.
#[derive(Debug, Args)]
#[command(mut_arg("rules", |rules| rules.required(false)))]
pub struct RunArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Follow the daemon at this URL instead of asking a Prometheus: repeat one service (--service) of it beside the service
    #[arg(long, value_name = "URL")]
    follow: Option<String>,
    /// The service that is followed
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Read rules that live in Kubernetes, too: ServiceLevels and ActionPolicies (cluster in --config reads other kinds)
    #[arg(long)]
    cluster: bool,
    /// Of the rules in Kubernetes only those of a namespace (metadata.namespace=NAME) or with a label (team=checkout) (repeatable)
    #[arg(long, value_name = "TERM")]
    select: Vec<String>,
    /// An Alertmanager peer (repeatable: name every peer of a cluster)
    #[arg(long, value_name = "URL")]
    alertmanager_url: Vec<String>,
    /// A receiver of webhooks in Alertmanager's form (repeatable)
    #[arg(long, value_name = "URL")]
    webhook_url: Vec<String>,
    /// Where to serve the page, the API and /metrics [default: 127.0.0.1:9595]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let anybody read who reaches the address, without a credential
    #[arg(long)]
    listen_anywhere: bool,
    /// File of people, robots and pipelines: who may decide, approve, halt and reload
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
    /// Where state survives a restart; without it a restart reads history from Prometheus again
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where other daemons that share the audit log reach this one
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// Length of a slice [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    resolution: Option<crate::spec::TimeSpan>,
    /// Time between polls, a multiple of the resolution [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    poll_interval: Option<crate::spec::TimeSpan>,
    /// How long after a slice's end it is read, seconds [default: 5]
    #[arg(long, value_name = "SECONDS")]
    evaluation_delay: Option<f64>,
    /// Series of other tools in /metrics, for dashboards made for them: sloth, sloth-alerts, pyrra [default: none]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compat: Vec<Switch>,
    /// Series of each SLO in /metrics: lean (at most ten) or full (every window ready-made) [default: lean]
    #[arg(long, value_name = "lean|full")]
    metrics_detail: Option<Detail>,
    /// URL under which people reach the page, for links in alerts
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// Look at the files of the rules this often, and read them again when they have changed [default of the value: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, num_args = 0..=1, default_missing_value = "10s")]
    watch: Option<Duration>,
    /// Do not read history at a cold start
    #[arg(long)]
    no_backfill: bool,
    /// Log level: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log as JSON
    #[arg(long)]
    log_json: bool,
    /// For tests: the clock begins at this Unix time, and the server's clock is not looked at
    #[arg(long, value_name = "SECONDS", hide = true, requires = "clock_speed")]
    clock_start: Option<f64>,
    /// For tests: the clock runs this many times as fast as the wall's
    #[arg(long, value_name = "FACTOR", hide = true, requires = "clock_start")]
    clock_speed: Option<f64>,
}

impl RunArgs {
    fn clock(&self) -> (Clock, Option<Clock>) {
        match (self.clock_start, self.clock_speed) {
            (Some(start_s), Some(speed)) => (Clock::scaled((start_s * 1000.0) as i64, speed), None),
            _ => (Clock::wall(), Some(Clock::wall())),
        }
    }
}

pub(super) fn duration(text: &str) -> Result<crate::spec::TimeSpan, String> {
    crate::spec::TimeSpan::parse(text).map_err(|fault| fault.what)
}

fn resolve(args: &RunArgs) -> Result<Settings, String> {
    let mut settings = wiring::settings(args.source.config.as_deref())?;
    let endpoint = |url: &String| {
        crate::config::endpoint(url).map_err(|fault| {
            format!(
                "error: {}{}",
                fault.what,
                fault.instead.map(|text| format!("\n  = write: {text}")).unwrap_or_default()
            )
        })
    };
    if args.follow.is_some() || args.service.is_some() {
        let follow = settings.follow.get_or_insert_default();
        if let Some(url) = &args.follow {
            follow.url = Some(endpoint(url)?);
        }
        follow.service = args.service.clone().or(follow.service.take());
    }
    if args.cluster || !args.select.is_empty() {
        let cluster = settings.cluster.get_or_insert_default();
        for term in &args.select {
            cluster.select(term).map_err(|fault| format!("error: --select: {fault}"))?;
        }
    }
    if let Some(url) = &args.source.prometheus_url {
        settings.prometheus.url = Some(endpoint(url)?);
    }
    for url in &args.alertmanager_url {
        let url = endpoint(url)?;
        settings.alertmanagers.push(crate::config::Alertmanager {
            url,
            auth: Auth::None,
            headers: Default::default(),
            ca_file: None,
        });
    }
    for url in &args.webhook_url {
        settings.webhooks.push(crate::config::Webhook {
            url: endpoint(url)?,
            secret_file: None,
            min_severity: None,
            ca_file: None,
            headers: Default::default(),
        });
    }
    settings.listen = args.listen.unwrap_or(settings.listen);
    settings.listen_anywhere |= args.listen_anywhere;
    settings.auth.identities = args.identities.clone().or(settings.auth.identities);
    settings.data_dir = args.data_dir.clone().or(settings.data_dir);
    if let Some(url) = &args.advertise {
        settings.audit.advertise = Some(endpoint(url)?);
    }
    settings.resolution = args.resolution.unwrap_or(settings.resolution);
    settings.poll_interval = args.poll_interval.unwrap_or(settings.poll_interval);
    if let Some(delay) = args.evaluation_delay {
        settings.evaluation_delay = Duration::try_from_secs_f64(delay).map_err(|error| error.to_string())?;
    }
    settings.metrics_detail = args.metrics_detail.unwrap_or(settings.metrics_detail);
    args.compat.iter().for_each(|switch| settings.compat.switch_on(*switch));
    settings.external_url = args.external_url.clone().or(settings.external_url);
    settings.backfill.enabled &= !args.no_backfill;
    wiring::judge(&settings)?;
    Ok(settings)
}

/// Whether what was typed fits together: rules are what a daemon has, and what a sidecar has not.
fn fits(args: &RunArgs, settings: &Settings) -> Result<(), String> {
    match (&settings.follow, args.source.paths().as_slice()) {
        (None, []) if settings.cluster.is_some() => Ok(()),
        (Some(_), _) if settings.cluster.is_some() => {
            Err("error: a process that follows a daemon (--follow) has no rules of its own: leave out --cluster, --select \
                 and cluster in --config"
                .into())
        }
        (None, []) => {
            Err("error: no rules are given: add --rules PATH (or --cluster, for rules that live in Kubernetes; or --follow URL --service NAME, to repeat one \
                           service of another daemon)"
                .into())
        }
        (Some(_), [_, ..]) => {
            Err("error: a process that follows a daemon (--follow) has no rules of its own: leave out \
                                   --rules and --presets"
                .into())
        }
        (Some(follow), []) if follow.url.is_none() => {
            Err("error: it is not said whom to follow: add --follow https://HOST:9595".into())
        }
        (Some(follow), []) if follow.service.as_deref().is_none_or(str::is_empty) => {
            Err("error: it is not said which service to follow: add --service NAME".into())
        }
        _ => Ok(()),
    }
}

/// Runs until SIGTERM or Ctrl-C.
pub(super) fn run(args: &RunArgs) -> Exit {
    let settings = match resolve(args).and_then(|settings| fits(args, &settings).map(|()| settings)) {
        Ok(settings) => settings,
        Err(text) => {
            complain(text.trim_end());
            return Exit::BadConfig;
        }
    };
    let format = match settings.log.format {
        LogFormat::Json => telemetry::LogFormat::Json,
        LogFormat::Text if args.log_json => telemetry::LogFormat::Json,
        LogFormat::Text => telemetry::LogFormat::Text,
    };
    let level = args.log_level.clone().unwrap_or_else(|| settings.log.level.as_str().to_owned());
    if let Err(error) = telemetry::init_logging(format, &level) {
        complain(&error.to_string());
        return Exit::BadConfig;
    }
    match &settings.follow {
        Some(follow) => {
            super::block_on_one_thread(async { ended(super::follow::follow(&settings, follow, args.clock().0).await) })
        }
        None => super::block_on(async { ended(start(args, &settings).await) }),
    }
}

fn ended(outcome: Result<(), StartFailure>) -> Exit {
    match outcome {
        Ok(()) => Exit::Ok,
        Err(StartFailure::Config(text)) => {
            complain(text.trim_end());
            Exit::BadConfig
        }
        Err(StartFailure::Start(text)) => {
            complain(text.trim_end());
            Exit::Findings
        }
    }
}

async fn start(args: &RunArgs, settings: &Settings) -> Result<(), StartFailure> {
    let (clock, to_compare) = args.clock();
    let config = StartFailure::Config;
    let metrics = telemetry::install_recorder().map_err(|error| StartFailure::Start(error.to_string()))?;
    let paths = args.source.paths();
    let for_rules = settings.clone();
    let flags = args.source.import.clone();
    let for_identities = settings.clone();
    let cluster = wiring::cluster(settings, &clock).await.map_err(config)?;
    let objects = cluster.clone();
    let options = Options {
        clock,
        client: wiring::client(settings).map_err(config)?,
        source: wiring::source(settings, to_compare),
        evaluation_delay_s: settings.evaluation_delay.as_secs_f64().ceil() as i64,
        data_dir: settings.data_dir.clone(),
        audit: wiring::audit(settings).map_err(config)?,
        audit_again: Some(wiring::audit_again(settings)),
        incidents: Vec::new(),
        lease: wiring::lease(settings).map_err(config)?,
        backfill: settings.backfill.enabled,
        rules: Arc::new(move || wiring::rules_of_daemon(&paths, &for_rules, &flags, objects.as_deref())),
        notify: wiring::notify(settings).map_err(config)?,
        destinations: wiring::destinations(settings).map_err(config)?,
        limits: web::Limits::default(),
        compat: settings.compat,
        metrics_detail: settings.metrics_detail,
        auth: wiring::auth(settings).map_err(config)?,
        identities: Some(Box::new(move || wiring::identities(&for_identities, false))),
        tls: wiring::tls(settings).map_err(config)?,
        external_url: settings.external_url.clone(),
        metrics: metrics.clone(),
        progress: progress(),
    };
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| StartFailure::Start(format!("cannot listen on {}: {error}", settings.listen)))?;
    let address = listener.local_addr().map_err(|error| StartFailure::Start(error.to_string()))?;
    let stop = CancellationToken::new();
    tokio::spawn(telemetry::run_upkeep(metrics, stop.clone()));
    let stopping = stop.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        info!("stopping");
        stopping.cancel();
    });
    let watched = args.watch.map(|every| (every, watched(args, settings)));
    let started = |handle: Handle| {
        if let Some((every, paths)) = watched {
            tokio::spawn(super::watch::watch(paths, every.max(Duration::from_millis(100)), handle.reload.clone()));
        }
        if let Some(cluster) = cluster {
            tokio::spawn(super::watch::follow(cluster, handle.reload.clone()));
        }
        info!(version = env!("CARGO_PKG_VERSION"), page = %format!("http://{address}/"), "slowburn runs");
        tokio::spawn(reload_on_hangup(handle));
    };
    app::run(options, listener, stop, started).await.map_err(|error| match error {
        StartError::Rules(_) | StartError::Settings(_) => StartFailure::Config(error.to_string()),
        StartError::Store(_) => StartFailure::Start(error.to_string()),
    })
}

/// Files that a reload reads: rules, and the identities that are read with them.
fn watched(args: &RunArgs, settings: &Settings) -> Vec<PathBuf> {
    let mut paths = args.source.paths();
    paths.extend(settings.auth.identities.clone());
    paths
}

async fn reload_on_hangup(handle: Handle) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let (answer, answered) = tokio::sync::oneshot::channel();
        if handle.reload.send(web::Reload { answer, by: "signal".into() }).await.is_err() {
            return;
        }
        drop(answered.await);
    }
}

/// Lines in the log on how far history is read are at least this far apart.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal, a line in the log now and then elsewhere.
pub fn progress() -> Arc<dyn Fn(Progress) + Send + Sync> {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        let told = std::sync::Mutex::new(std::time::Instant::now());
        return Arc::new(move |done| {
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() >= PROGRESS_EVERY {
                *told = std::time::Instant::now();
                info!(days = done.done_s / 86_400, of = done.total_s / 86_400, "reading history");
            }
        });
    }
    let style = indicatif::ProgressStyle::with_template("reading history {bar:40} {pos}/{len} days")
        .expect("the template is a constant that indicatif reads");
    let bar = indicatif::ProgressBar::no_length().with_style(style);
    Arc::new(move |done| {
        bar.set_length((done.total_s / 86_400).unsigned_abs());
        bar.set_position((done.done_s / 86_400).unsigned_abs());
        if done.done_s >= done.total_s {
            bar.finish_and_clear();
        }
    })
}
