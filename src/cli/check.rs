//! `slowburn check`: problems of rule files, resolved thresholds, and whether Prometheus has what they need.

mod text;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::table::counted;
use super::{Exit, ImportFlags, complain, endpoint, moment, print_out, wiring};
use crate::clock::Clock;
use crate::config::Settings;
use crate::inspect::doctor::{self, Finding};
use crate::inspect::dry_run::{self, Looked};
use crate::inspect::fit::{self, Fit, Retention};
use crate::inspect::presence::{self, Found};
use crate::prometheus::Client;
use crate::prometheus::lookback::{Range, STEP_S};
use crate::prometheus::survey::{far_off, survey};
use crate::query::Plan;
use crate::query::plan::Survey;
use crate::spec::{self, Explained, Loaded, Severity};

/// Most days that are looked back.
const DAYS_MAX: u16 = 90;

/// Flags of `slowburn check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also ask this Prometheus whether the series exist, how the SLOs fit, and how the last days would have looked
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
    /// With --prometheus-url: days to look back (up to 90; 0: not at all)
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(..=i64::from(DAYS_MAX)))]
    days: u16,
    /// With --prometheus-url: the moment to ask about, RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Files or directories of presets of your own, which win over the compiled-in ones; presets among the files are
    /// read as well (repeatable)
    #[arg(long, value_name = "PATH")]
    presets: Vec<PathBuf>,
    /// Daemon settings: authentication, headers, timeouts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: CheckFormat,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    import: ImportFlags,
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people
    Text,
    /// For machines
    Json,
    /// For code scanning (SARIF 2.1.0)
    Sarif,
}

/// Checks and prints.
pub async fn check(args: CheckArgs) -> Exit {
    let mut settings = match wiring::settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(text) => return usage(&text),
    };
    let paths: Vec<PathBuf> = args.paths.iter().chain(&args.presets).cloned().collect();
    if let Some(path) = paths.iter().find(|path| !path.exists()) {
        return usage(&format!("{}: there is no such file or directory", path.display()));
    }
    if let Some(url) = &args.prometheus_url {
        match endpoint(url) {
            Ok(url) => settings.prometheus.url = Some(url),
            Err(text) => return usage(&text),
        }
    }
    // With settings it is known which daemon will read them, and whom it can ask.
    let loaded = match args.config {
        Some(_) => wiring::rules_of_daemon(&paths, &settings, &args.import, None),
        None => wiring::rules(&paths, &settings, &args.import),
    };
    let wanted = args.prometheus_url.is_some() && !loaded.is_fatal();
    let at_s = match args.at.as_deref().map(|at| moment(Some(at), &settings)) {
        None => Clock::wall().now(),
        Some(Ok(at_s)) => at_s,
        Some(Err(text)) => return usage(&text),
    };
    let found = if wanted { Some(ask(&settings, &loaded.model, at_s, args.days).await) } else { None };
    let explained: Vec<Explained> = loaded.model.slos.iter().map(spec::explain).collect();
    let unplanned = unplanned(&loaded);
    let answered = found.as_ref().and_then(|found| found.as_ref().ok());
    print_out(&match args.format {
        CheckFormat::Text => text::text(&loaded, &explained, &unplanned, answered),
        CheckFormat::Json => json(&loaded, &explained, &unplanned, answered),
        CheckFormat::Sarif => format!("{:#}\n", spec::sarif(&loaded.problems)),
    });
    if let Some(Err((exit, text))) = found {
        complain(text.trim_end());
        return exit;
    }
    let (errors, warnings) = counts(&loaded);
    let errors = errors + unplanned.len();
    let missing = answered.map_or(0, |asked| asked.found.iter().filter(|found| found.problem.is_some()).count());
    let (wrong, doubtful) = answered.map_or((0, 0), Asked::findings);
    let (errors, warnings) = (errors + wrong, warnings + doubtful);
    if args.format == CheckFormat::Text {
        let read = [counted(loaded.files.len(), "file"), counted(errors, "error"), counted(warnings, "warning")];
        let missing = answered.map(|_| format!(", {}", counted(missing, "missing source"))).unwrap_or_default();
        complain(&format!("{}{missing}", read.join(", ")));
    }
    if errors > 0 || missing > 0 || (args.strict && warnings > 0) { Exit::Findings } else { Exit::Ok }
}

fn usage(text: &str) -> Exit {
    complain(text.trim_end());
    Exit::Usage
}

fn counts(loaded: &Loaded) -> (usize, usize) {
    let of = |severity| loaded.problems.iter().filter(|problem| problem.severity == severity).count();
    (of(Severity::Error), of(Severity::Warning))
}

/// An SLO whose source is well written, and of which no request can be made all the same.
#[derive(Debug, serde::Serialize)]
struct Unplanned {
    slo: String,
    reason: String,
}

fn unplanned(loaded: &Loaded) -> Vec<Unplanned> {
    if loaded.is_fatal() {
        return Vec::new();
    }
    let slis = Plan::new(&loaded.model).0.slis.into_iter();
    slis.filter_map(|sli| Some(Unplanned { slo: sli.id, reason: sli.refused? })).collect()
}

/// What a Prometheus says of the SLOs.
struct Asked {
    found: Vec<Found>,
    findings: Vec<Finding>,
    fits: Vec<Fit>,
    looked: Vec<Looked>,
}

impl Asked {
    /// How many complaints are errors, and how many are not.
    fn findings(&self) -> (usize, usize) {
        let errors = self.findings.iter().filter(|finding| finding.complaint.is_error()).count();
        (errors, self.findings.len() - errors)
    }
}

/// What Prometheus has of everything the SLOs read at `at_s`, and how the days before would have looked.
async fn ask(settings: &Settings, model: &spec::Model, at_s: i64, days: u16) -> Result<Asked, (Exit, String)> {
    let client =
        wiring::client(settings).and_then(|options| Client::new(&options)).map_err(|text| (Exit::Usage, text))?;
    let url = settings.prometheus.url.as_deref().unwrap_or_default();
    let options = wiring::source(settings, None);
    let mut known = Survey::default();
    known.learn(survey(&client, model, true, at_s, &options, far_off()).await.known);
    let found = presence::look(&client, model, &known, at_s).await;
    let found = found.map_err(|fault| (Exit::NoData, format!("{url}: {fault}")))?;
    let findings = doctor::examine(&client, model, &found, at_s).await;
    let plan = Plan::surveyed(model, &known).0;
    let mut looked = Vec::new();
    if days > 0 {
        let to_s = at_s.div_euclid(STEP_S) * STEP_S;
        let count_from_s = to_s - i64::from(days) * 86_400;
        let clauses = model.slos.iter().flat_map(|spec| &spec.slo.burn);
        let before_s = clauses.map(|clause| clause.long_s.max(clause.short_s)).max().unwrap_or(0);
        let mut scrapes: Vec<i64> = found.iter().filter_map(|found| found.scrape_s).collect();
        scrapes.sort_unstable();
        let scrape_s = scrapes.get(scrapes.len() / 2).copied().unwrap_or(options.resolution_s);
        let range = Range { from_s: (count_from_s - before_s).div_euclid(STEP_S) * STEP_S, to_s, scrape_s };
        let back = crate::prometheus::lookback::lookback(&client, &plan, &options, range, bar()).await;
        let of_slo = |(spec, seen): (&spec::SloSpec, _)| {
            dry_run::look(&spec.slo, seen, count_from_s, to_s, options.resolution_s)
        };
        let readable = model.slos.iter().zip(&back.seen).filter(|(spec, _)| spec.source.is_ok());
        looked = readable.map(of_slo).collect();
    }
    let state = client.get("api/v1/status/runtimeinfo", &[]).await.ok();
    let kept = state.as_ref().and_then(|state| state["storageRetention"].as_str());
    let kept = kept.map(Retention::parse).unwrap_or_default();
    let of_slo = |spec: &spec::SloSpec| {
        let own = looked.iter().find(|looked| looked.slo == spec.slo.id);
        fit::fit(spec, &found, own, options.resolution_s, &kept)
    };
    let fits = model.slos.iter().filter(|spec| spec.source.is_ok()).map(of_slo).collect();
    Ok(Asked { found, findings, fits, looked })
}

/// A bar on a terminal, and nothing elsewhere.
fn bar() -> impl Fn(usize, usize) {
    use std::io::IsTerminal;
    let style = indicatif::ProgressStyle::with_template("looking back {bar:40} {pos}/{len} groups of queries")
        .expect("the template is a constant that indicatif reads");
    let bar = std::io::stderr().is_terminal().then(|| indicatif::ProgressBar::no_length().with_style(style));
    move |done, all| {
        let Some(bar) = &bar else { return };
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        if done >= all {
            bar.finish_and_clear();
        }
    }
}

fn json(loaded: &Loaded, explained: &[Explained], unplanned: &[Unplanned], asked: Option<&Asked>) -> String {
    let report = serde_json::json!({
        "problems": loaded.problems,
        "slos": explained,
        "unplanned": unplanned,
        "found": asked.map(|asked| &asked.found),
        "findings": asked.map(|asked| &asked.findings),
        "fits": asked.map(|asked| &asked.fits),
        "lookback": asked.map(|asked| &asked.looked),
    });
    format!("{report:#}\n")
}
