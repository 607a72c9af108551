//! A daemon of the library, driven by the test: ticks at moments of its choosing, no clock of its own.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use slowburn::app::{Daemon, Options, daemon::Views};
use slowburn::clock::Clock;
use slowburn::engine::Snapshot;
use slowburn::notify::{self, Destination, Notifier};
use slowburn::prometheus::{ClientOptions, SourceOptions};
use slowburn::telemetry::compat::Compat;
use slowburn::{spec, telemetry, web};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The process has one recorder.
pub fn metrics() -> metrics_exporter_prometheus::PrometheusHandle {
    static RECORDER: OnceLock<metrics_exporter_prometheus::PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| telemetry::install_recorder().expect("the first recorder of this process")).clone()
}

/// Options for a daemon of `rules` (file name, YAML) on the Prometheus at `url`, without destinations.
pub fn options(url: &str, rules: &[(&str, String)], data_dir: Option<PathBuf>) -> Options {
    let rules: Vec<(String, String)> = rules.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    Options {
        clock: Clock::wall(),
        client: ClientOptions::new(url),
        source: SourceOptions::default(),
        evaluation_delay_s: 0,
        data_dir,
        audit: None,
        audit_again: None,
        incidents: Vec::new(),
        lease: None,
        backfill: true,
        rules: Arc::new(move || {
            let texts: Vec<(&str, &str)> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            spec::load_texts(&texts, &spec::Options::default())
        }),
        notify: notify::Settings::new("http://127.0.0.1:1/".parse().expect("a constant URL")),
        destinations: Vec::new(),
        limits: web::Limits::default(),
        auth: Default::default(),
        identities: None,
        tls: None,
        external_url: None,
        compat: Compat::default(),
        metrics_detail: slowburn::telemetry::detail::Detail::default(),
        metrics: metrics(),
        progress: Arc::new(|_| {}),
    }
}

/// A daemon that ticks when told to.
pub struct Driven {
    pub daemon: Daemon,
    pub views: Views,
    notifier: Notifier,
    _stop: DropGuard,
}

impl Driven {
    pub fn new(options: Options) -> Self {
        Driven::telling(options, Vec::new())
    }

    /// One that tells somebody of its alerts. What is still to be said when it is dropped is not said.
    pub fn telling(options: Options, destinations: Vec<Destination>) -> Self {
        let stop = CancellationToken::new();
        let notifier = Notifier::start(&options.notify, destinations, &options.clock, &stop);
        let (daemon, views) = Daemon::new(options).expect("a daemon that starts");
        Driven { daemon, views, notifier, _stop: stop.drop_guard() }
    }

    /// Everything up to `at_s`, older history included.
    pub async fn tick(&mut self, at_s: i64) -> Arc<Snapshot> {
        self.daemon.tick(at_s, &self.notifier).await;
        self.daemon.settled().await;
        self.snapshot()
    }

    /// Ticks each 30 s in (from_s, to_s].
    pub async fn live(&mut self, from_s: i64, to_s: i64) -> Arc<Snapshot> {
        let mut at_s = from_s;
        while at_s < to_s {
            at_s += 30;
            self.daemon.tick(at_s, &self.notifier).await;
        }
        self.snapshot()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.views.snapshot.borrow().clone()
    }
}
