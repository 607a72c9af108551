//! `slowburn check`: problems of rule files, resolved thresholds, and whether Prometheus has what they need.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::table::{Table, counted};
use super::{Exit, ImportFlags, colour_on, complain, endpoint, moment, print_out, wiring};
use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::Speed;
use crate::engine::duration::exact;
use crate::inspect::doctor::{self, Finding};
use crate::inspect::dry_run::{self, Looked};
use crate::inspect::fit::{self, Fit, Retention};
use crate::inspect::presence::{self, Found};
use crate::prometheus::Client;
use crate::prometheus::lookback::{Range, STEP_S};
use crate::prometheus::survey::{far_off, survey};
use crate::query::Plan;
use crate::query::plan::Survey;
use crate::spec::{self, Explained, ExplainedClause, Loaded, Severity, TimeSpan, shown};

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
        Some(_) => wiring::rules_of_daemon(&paths, &settings, &args.import),
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
        CheckFormat::Text => text(&loaded, &explained, &unplanned, answered),
        CheckFormat::Json => json(&loaded, &explained, &unplanned, answered),
        CheckFormat::Sarif => format!("{:#}\n", spec::sarif(&loaded.problems)),
    });
    if let Some(Err(text)) = found {
        return usage(&text);
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
async fn ask(settings: &Settings, model: &spec::Model, at_s: i64, days: u16) -> Result<Asked, String> {
    let client = Client::new(&wiring::client(settings)?)?;
    let url = settings.prometheus.url.as_deref().unwrap_or_default();
    let options = wiring::source(settings, None);
    let mut known = Survey::default();
    known.learn(survey(&client, model, true, at_s, &options, far_off()).await.known);
    let found = presence::look(&client, model, &known, at_s).await.map_err(|fault| format!("{url}: {fault}"))?;
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

fn text(loaded: &Loaded, explained: &[Explained], unplanned: &[Unplanned], asked: Option<&Asked>) -> String {
    let mut out = loaded.render(colour_on(&std::io::stdout()));
    if loaded.is_fatal() {
        return out;
    }
    if !explained.is_empty() {
        out += &thresholds(explained).print();
    }
    for slo in explained.iter().filter(|slo| slo.source.is_none()) {
        out += &format!("{}: {}\n", slo.id, slo.note.as_deref().unwrap_or("no source of events"));
    }
    for Unplanned { slo, reason } in unplanned {
        out += &format!("{slo}: error: no request can be made of its source: {reason}\n");
    }
    if let Some(asked) = asked {
        out += &format!("\n{}", sources(&asked.found).print());
        for found in &asked.found {
            let remark = match (&found.problem, &found.note) {
                (Some(problem), _) => problem,
                (None, Some(note)) => note,
                (None, None) => continue,
            };
            out += &format!("{}: {}: {remark}\n", found.slo, found.part);
        }
        for finding in &asked.findings {
            let kind = if finding.complaint.is_error() { "error" } else { "warning" };
            out += &format!("{}: {kind}: {}\n", finding.slo, finding.evidence);
            out.extend(finding.advice.iter().map(|advice| format!("  = {advice}\n")));
        }
        out += &format!("\n{}", fits(&asked.fits, &asked.looked).print());
        for fit in &asked.fits {
            out.extend(fit.warnings.iter().map(|warning| format!("{}: {warning}\n", fit.slo)));
        }
        if !asked.looked.is_empty() {
            out += &format!("\n{}", looks(&asked.looked).print());
        }
    }
    out
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

/// SLOs and their clauses.
fn thresholds(explained: &[Explained]) -> Table<10> {
    let mut table = Table::new([
        "slo",
        "objective",
        "window",
        "counts",
        "alert",
        "clause",
        "factor",
        "error ratio",
        "budget spent",
        "outage seen after",
    ]);
    for slo in explained {
        let mut head = [slo.id.clone(), format!("{} %", shown(slo.objective)), slo.window.clone(), slo.unit.clone()];
        let clauses: Vec<Option<&ExplainedClause>> = match slo.clauses.as_slice() {
            [] => vec![None],
            clauses => clauses.iter().map(Some).collect(),
        };
        for clause in clauses {
            let [id, objective, window, unit] = std::mem::take(&mut head);
            let [alert, text, factor, ratio, spent, seen] =
                clause.map(cells).unwrap_or_else(|| ["none", "-", "-", "-", "-", "-"].map(str::to_owned));
            table.push([id, objective, window, unit, alert, text, factor, ratio, spent, seen]);
        }
    }
    table
}

fn cells(clause: &ExplainedClause) -> [String; 6] {
    let speed = match clause.speed {
        Speed::Fast => "fast",
        Speed::Slow => "slow",
    };
    let percent = |ratio: f64| format!("{} %", shown(ratio * 100.0));
    [
        speed.to_owned(),
        clause.text.clone(),
        format!("{}x", shown(clause.factor)),
        percent(clause.error_ratio),
        percent(clause.budget_spent),
        time(clause.detection_s),
    ]
}

/// What each SLO reads, and how much of it is there.
fn sources(found: &[Found]) -> Table<5> {
    let mut table = Table::new(["slo", "part", "raw series", "series", "selector"]);
    let mut before = "";
    for found in found {
        let id = if found.slo == before { String::new() } else { found.slo.clone() };
        before = &found.slo;
        let raw = match (&found.problem, found.raw_series) {
            (Some(_), 0) => "MISSING".to_owned(),
            (_, raw) => raw.to_string(),
        };
        table.push([id, found.part.to_owned(), raw, found.series.to_string(), found.selector.clone()]);
    }
    table
}

/// How each SLO fits.
fn fits(fits: &[Fit], looked: &[Looked]) -> Table<7> {
    let mut table = Table::new([
        "slo",
        "events a day",
        "bucket",
        "scraped every",
        "longest window",
        "kept for",
        "burn if all fails",
    ]);
    let dash = || "-".to_owned();
    for fit in fits {
        let traffic = looked.iter().find(|looked| looked.slo == fit.slo).and_then(|looked| looked.events_per_day);
        table.push([
            fit.slo.clone(),
            traffic.map_or_else(dash, |events| format!("{events:.0}")),
            fit.bucket.clone().unwrap_or_else(dash),
            fit.scrape_s.map_or_else(dash, exact),
            exact(fit.window_s),
            fit.retention.clone().unwrap_or_else(|| "unknown".into()),
            format!("{}x", shown((fit.max_burn * 100.0).round() / 100.0)),
        ]);
    }
    table
}

/// How the last days would have looked.
fn looks(looked: &[Looked]) -> Table<8> {
    let mut table =
        Table::new(["slo", "days seen", "good", "budget left", "fast burns", "slow burns", "budget spent", "no data"]);
    for looked in looked {
        let percent = |share: Option<f64>, places: usize| {
            share.map_or("unknown".into(), |share| format!("{:.places$} %", share * 100.0))
        };
        let alerts = &looked.alerts;
        table.push([
            looked.slo.clone(),
            format!("{:.1} of {:.0}", looked.days, looked.days_asked),
            percent(looked.sli, 3),
            percent(looked.budget_left, 1),
            alerts.fast_burn.to_string(),
            alerts.slow_burn.to_string(),
            if alerts.budget > 0 { "yes".into() } else { "no".into() },
            alerts.data_missing.to_string(),
        ]);
    }
    table
}

/// Seconds for people: `52s`, `2m10s`, `7h12m`.
fn time(seconds: f64) -> String {
    let whole = seconds.ceil().max(1.0) as i64;
    let rounded = if whole >= 7_200 { (whole + 59) / 60 * 60 } else { whole };
    TimeSpan::from_seconds(rounded).map_or_else(|| format!("{rounded}s"), |span| span.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: &str) -> Vec<Explained> {
        spec::load_text("a.yaml", text).model.slos.iter().map(spec::explain).collect()
    }

    #[test]
    fn thresholds_are_those_of_the_workbook() {
        let slos = explained(
            "name: a\nowner: x\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n",
        );
        let cells = cells(&slos[0].clauses[0]);
        assert_eq!(cells, ["fast", "1h/5m > 14.4x", "14.4x", "1.44 %", "2 %", "52s"]);
    }

    #[test]
    fn an_slo_stands_once_above_its_parts() {
        let found = |part, raw_series, problem: Option<&str>| Found {
            slo: "a-latency-p95".into(),
            part,
            selector: "m".into(),
            raw_series,
            series: 1,
            problem: problem.map(str::to_owned),
            ..Found::nothing()
        };
        let text = sources(&[found("count", 3, None), found("bucket", 0, Some("no series"))]).print();
        assert_eq!(
            text,
            "slo            part    raw series  series  selector\n\
             a-latency-p95  count   3           1       m\n               bucket  MISSING     1       m\n"
        );
    }
}
