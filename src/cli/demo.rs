//! `slowburn demo`: the real daemon on a simulated fleet, with a GPU node that is drained, an incident that begins within
//! seconds and is like one of January, and an AI operator that asks before it acts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use clap::Args;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Exit, asked_to_stop, colour_on, complain, print_out};
use crate::app::{self, Options};
use crate::audit;
use crate::clock::Clock;
use crate::demo::story::{Delivery, Line, tell};
use crate::demo::{self, fleet};
use crate::engine::Snapshot;
use crate::notify::{self, Destination, Endpoint};
use crate::outbound::Transport;
use crate::prometheus::{ClientOptions, SourceOptions};
use crate::telemetry::compat::Compat;
use crate::telemetry::detail::Detail;
use crate::{spec, telemetry, web};
use cast::{Cast, Stage, Tokens};

mod cast;
mod january;

/// Simulated seconds from the start to what else goes wrong: time to read the past and show a quiet fleet. Checkout's
/// incident comes when the cast brings it.
const ONSET_S: i64 = 480;
/// Simulated seconds in which checkout stays well by itself.
const WELL_S: i64 = 30 * 86_400;
/// When the configuration is changed that breaks checkout, where simulated time does not go as the wall's.
const CHANGED_AT: &str = "2025-04-03T02:06:00Z";
/// Simulated seconds that everything before it takes, at the least.
const BEFORE_S: i64 = 7 * 60;
/// Seconds of the wall that the daemon has to read the past, at the least.
const READING_S: f64 = 5.0;

/// Flags of `slowburn demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many times as fast as the wall the simulated time runs, 1 to 600; at 1 it is the time on the wall
    #[arg(long, default_value_t = 60.0, value_parser = speed)]
    speed: f64,
    /// Where to serve the page; if the port is taken, a free one is used
    #[arg(long, default_value = "127.0.0.1:9595", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Seed of the fleet: the same seed tells the same story
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// End when the page has been resolved and the rollback judged (after about a minute), instead of running until
    /// Ctrl-C
    #[arg(long)]
    once: bool,
    /// Log level of the daemon: error, warn, info, debug
    #[arg(long, default_value = "error", value_name = "LEVEL")]
    log_level: String,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1.0..=600.0).contains(&speed) => Ok(speed),
        _ => Err("write a number from 1 to 600".into()),
    }
}

/// Runs the demo until Ctrl-C, or with `--once` until its page is resolved and its rollback judged.
pub async fn demo(args: DemoArgs) -> Exit {
    match tell_story(&args).await {
        Ok(()) => Exit::Ok,
        Err(text) => {
            complain(&text);
            Exit::Findings
        }
    }
}

async fn tell_story(args: &DemoArgs) -> Result<(), String> {
    telemetry::init_logging(telemetry::LogFormat::Text, &args.log_level).map_err(|error| error.to_string())?;
    let metrics = telemetry::install_recorder().map_err(|error| error.to_string())?;
    let changes_at = changes_at(args.speed);
    let now = changes_at - lead_s(args.speed);
    let fleet = fleet::fleet(args.seed, now, ONSET_S).ill_from(now + WELL_S);
    let clock = Clock::scaled(now * 1000, args.speed);
    let stop = CancellationToken::new();

    let (prometheus, prometheus_url) = bound("127.0.0.1:0".parse().expect("a constant address")).await?;
    let (world, seen) = watch::channel(Arc::new(fleet.scenario.clone()));
    tokio::spawn(demo::prometheus::serve_changing(prometheus, seen, clock.clone(), stop.clone()));
    let (receiver, receiver_url) = bound("127.0.0.1:0".parse().expect("a constant address")).await?;
    let (delivered, deliveries) = mpsc::unbounded_channel();
    let inbox = Router::new().route("/", post(receive)).with_state(delivered);
    tokio::spawn(async move { axum::serve(receiver, inbox).await });

    let (listener, page) = match bound(args.listen).await {
        Ok(bound) => bound,
        Err(_) => bound(SocketAddr::new(args.listen.ip(), 0)).await?,
    };
    let folder = tempfile::Builder::new().prefix("slowburn-demo-").tempdir();
    let folder = folder.map_err(|error| format!("no temporary folder for the audit log: {error}"))?;
    let tokens = Tokens::new()?;
    let mut options = options(args, &clock, metrics, &prometheus_url, &receiver_url, &page)?;
    options.audit = Some(audit::Options::new(folder.path().join("audit")));
    options.incidents = vec![january::incident()];
    options.auth = web::auth::Settings { identities: tokens.identities(), ..Default::default() };
    print_out(&format!(
        "Four simulated services, {} times as fast as the wall. Ctrl-C ends it.\n\n  \
         page        {page}\n  \
         Prometheus  {prometheus_url}  (simulated; {})\n  \
         audit log   {}  (gone when the demo ends)\n  \
         token       {}  (of @ada, who is on call: with it you can answer on the page)\n\n",
        args.speed,
        if args.speed == 1.0 {
            "other commands can be tried on it"
        } else {
            "a night of April 2025; with --speed 1 it is now, and other commands can be tried on it"
        },
        folder.path().display(),
        tokens.person(),
    ));
    let (told, lines) = mpsc::unbounded_channel();
    let audit_dir = folder.path().join("audit");
    let stage = Stage { base: page, prometheus: prometheus_url, clock: clock.clone(), changes_at, audit_dir };
    let cast = Cast::new(stage, fleet, world, tokens, told)?;
    let (started, handle) = oneshot::channel();
    let daemon = tokio::spawn(app::run(options, listener, stop.clone(), |handle| drop(started.send(handle.snapshots))));
    let story = async {
        if let Ok(snapshots) = handle.await {
            tokio::join!(cast.play(snapshots.clone()), narrate(snapshots, deliveries, lines, args.once));
        }
    };
    tokio::select! {
        () = asked_to_stop() => {}
        () = story => {}
    }
    stop.cancel();
    match daemon.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the daemon stopped: {error}")),
    }
}

/// Simulated seconds from the start of the clock to the change that breaks checkout.
fn lead_s(speed: f64) -> i64 {
    BEFORE_S + (READING_S * speed) as i64
}

/// When that change is made. A night of April, so that the same seed tells the same story; but at the wall's own pace
/// simulated time is the wall's, so that other commands can be tried on the simulated Prometheus.
fn changes_at(speed: f64) -> i64 {
    match speed {
        1.0 => Clock::wall().now() + lead_s(speed),
        _ => CHANGED_AT.parse::<jiff::Timestamp>().expect("a constant moment").as_second(),
    }
}

async fn bound(address: SocketAddr) -> Result<(TcpListener, String), String> {
    let failed = |error: std::io::Error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let url = format!("http://{}/", listener.local_addr().map_err(failed)?);
    Ok((listener, url))
}

fn options(
    args: &DemoArgs,
    clock: &Clock,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    prometheus: &str,
    receiver: &str,
    page: &str,
) -> Result<Options, String> {
    let url = |text: &str| Url::parse(text).map_err(|error| error.to_string());
    let transport = Transport::new(receiver, None, reqwest::header::HeaderMap::new())?;
    let webhook = Destination::Webhook {
        endpoint: Endpoint::new(url(receiver)?, transport),
        receiver: "on-call".into(),
        key: None,
        min_severity: None,
    };
    Ok(Options {
        clock: clock.clone(),
        client: ClientOptions::new(prometheus),
        // A month by range queries, so that the story begins at once.
        source: SourceOptions { clock: Some(clock.clone()), queried_samples_max: 0, ..SourceOptions::default() },
        // Simulated scrapes arrive at once; on the wall this is a fraction of a second.
        evaluation_delay_s: if args.speed > 10.0 { 1 } else { 5 },
        data_dir: None,
        audit: None,
        audit_again: None,
        incidents: Vec::new(),
        lease: None,
        backfill: true,
        rules: Arc::new(|| spec::load_texts(&demo::rules(), &spec::Options::default())),
        notify: notify::Settings::new(url(page)?),
        destinations: vec![webhook],
        limits: web::Limits::default(),
        compat: Compat::default(),
        metrics_detail: Detail::default(),
        auth: Default::default(),
        identities: None,
        tls: None,
        external_url: Some(page.trim_end_matches('/').to_owned()),
        metrics,
        progress: Arc::new(|_| {}),
    })
}

async fn receive(State(inbox): State<mpsc::UnboundedSender<Vec<Delivery>>>, body: String) -> &'static str {
    match Delivery::from_webhook(&body) {
        Ok(deliveries) => drop(inbox.send(deliveries)),
        Err(error) => complain(&format!("the webhook receiver got a body it cannot read: {error}")),
    }
    "ok"
}

/// Prints the story as snapshots, notifications and acts come; with `once`, ends when the page was resolved and the cast
/// has nothing more to do.
async fn narrate(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut inbox: mpsc::UnboundedReceiver<Vec<Delivery>>,
    mut acts: mpsc::UnboundedReceiver<Line>,
    once: bool,
) {
    let began = Instant::now();
    let colour = colour_on(&std::io::stdout());
    let print = |line: &Line| print_out(&format!("{}\n", line.render(began.elapsed().as_secs_f64(), colour)));
    let (mut paged, mut over, mut acting) = (false, false, true);
    let mut previous = Arc::new(Snapshot::default());
    loop {
        let mut deliveries = tokio::select! {
            changed = snapshots.changed() => match changed {
                Ok(()) => Vec::new(),
                Err(_) => return,
            },
            Some(deliveries) = inbox.recv() => deliveries,
            line = acts.recv(), if acting => match line {
                Some(line) => {
                    print(&line);
                    continue;
                }
                None => {
                    acting = false;
                    Vec::new()
                }
            },
        };
        while let Ok(more) = inbox.try_recv() {
            deliveries.extend(more);
        }
        let next = snapshots.borrow_and_update().clone();
        for line in tell(&previous, &next, &deliveries) {
            print(&line);
        }
        previous = next;
        let burned = |firing| {
            let of_fast_burn = |delivery: &&Delivery| delivery.labels.get("kind") == Some("fast_burn");
            deliveries.iter().filter(of_fast_burn).any(|delivery| delivery.firing == firing)
        };
        paged |= burned(true);
        let resolved = paged && !over && burned(false);
        over |= resolved;
        if once && over && !acting {
            return;
        }
        if !once && resolved {
            print_out("\nThe incident is over; the daemon goes on, and so does the page. Ctrl-C ends it.\n\n");
        }
    }
}
