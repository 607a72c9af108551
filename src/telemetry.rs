//! Logging, and the recorder behind every metric Slowburn counts of itself.
//!
//! Logs go to stderr: stdout belongs to data. What is logged where is the business of the modules; this file only
//! decides form and level. Deliberately absent: exporting traces, and any metric name (`names` has them all).

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

pub mod compat;
pub mod detail;
pub mod names;

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not start.
#[derive(Debug)]
pub enum StartError {
    /// The filter is not a valid level or directive list; why, where the parser says it.
    Filter(String, Option<ParseError>),
    /// A subscriber or recorder is already installed in this process.
    Installed(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Filter(text, why) => {
                let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                write!(
                    f,
                    "log level {text:?} is not understood{why}: write error, warn, info, debug or trace, or directives \
                     such as slowburn::notify=debug,info"
                )
            }
            StartError::Installed(what) => write!(f, "telemetry is already set up in this process: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Parses a level (`info`) or directives (`slowburn::notify=debug,info`). A single word has to be a level: to the parser
/// `inof` is a module of which everything is logged.
fn filter(text: &str) -> Result<EnvFilter, StartError> {
    let is_word = text.chars().all(|c| c.is_ascii_alphanumeric());
    if is_word && (text.is_empty() || text.parse::<LevelFilter>().is_err()) {
        return Err(StartError::Filter(text.to_owned(), None));
    }
    EnvFilter::builder().parse(text).map_err(|why| StartError::Filter(text.to_owned(), Some(why)))
}

/// Starts logging to stderr. `level` is the setting; the environment variable `RUST_LOG` wins over it. Colour appears
/// only on a terminal and never when `NO_COLOR` is set.
pub fn init_logging(format: LogFormat, level: &str) -> Result<(), StartError> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(wanted.as_deref().unwrap_or(level))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A line that stderr does not take is lost: on a full disk the complaint about it, to stderr as well, would end the process.
    let base = tracing_subscriber::fmt().log_internal_errors(false);
    let base = base.with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match format {
        LogFormat::Text => base.with_target(false).try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    }
    .map_err(|why| StartError::Installed(why.to_string()))
}

/// Bucket bounds of durations, seconds: a poll takes milliseconds when all is well and its deadline when it is not.
const DURATION_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Bucket bounds of disk writes, seconds: a good disk takes one millisecond, and whoever asks the gate waits for it.
const SYNC_BUCKETS: &[f64] = &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(names::AUDIT_SYNC_DURATION_SECONDS.to_owned()), SYNC_BUCKETS)
}

/// Installs the process-wide recorder and describes every metric; a process has one.
pub fn install_recorder() -> Result<PrometheusHandle, StartError> {
    let installed = |why: BuildError| StartError::Installed(why.to_string());
    let handle = builder().and_then(PrometheusBuilder::install_recorder).map_err(installed)?;
    names::describe();
    Ok(handle)
}

/// How often histograms are folded, which is what keeps their memory bounded between scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Folds the recorder's histograms until `stop`.
pub async fn run_upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await.is_some() {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_histograms_with_help_and_counters_keep_their_name() {
        let recorder = builder().expect("bounds are not empty").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            names::describe();
            metrics::histogram!(names::POLL_DURATION_SECONDS).record(0.02);
            metrics::counter!(names::POLLS_TOTAL, "outcome" => "ok").increment(1);
        });
        let text = recorder.handle().render();
        assert!(text.contains("# HELP slowburn_poll_duration_seconds Wall time of a whole poll.\n"), "{text}");
        assert!(text.contains("slowburn_poll_duration_seconds_bucket{le=\"0.025\"} 1\n"), "{text}");
        assert!(text.contains("slowburn_polls_total{outcome=\"ok\"} 1\n"), "{text}");
        assert!(!text.contains("slowburn_slo_burn_rate"), "what was never set must not appear: {text}");
    }

    #[test]
    fn a_bad_level_is_refused_with_what_to_write() {
        for bad in ["slowburn=loud", "loud", "inof", ""] {
            let message = filter(bad).expect_err("this is no level").to_string();
            assert!(message.contains("write error, warn, info, debug or trace"), "{message}");
        }
        assert!(filter("slowburn::notify=debug,info").is_ok());
    }
}
