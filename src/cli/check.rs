//! `slowburn check`: problems of rule files, resolved thresholds, and whether Prometheus has what they need.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::presence::{self, Found};
use super::table::{Table, counted};
use super::{Exit, ImportFlags, colour_on, complain, endpoint, print_out, wiring};
use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::Speed;
use crate::prometheus::Client;
use crate::spec::{self, Explained, ExplainedClause, Loaded, Severity, TimeSpan, shown};

/// Flags of `slowburn check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also ask this Prometheus whether the series exist
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
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
    let found = if wanted { Some(ask(&settings, &loaded.model).await) } else { None };
    let explained: Vec<Explained> = loaded.model.slos.iter().map(spec::explain).collect();
    let answered = found.as_ref().and_then(|found| found.as_ref().ok()).map(Vec::as_slice);
    print_out(&match args.format {
        CheckFormat::Text => text(&loaded, &explained, answered),
        CheckFormat::Json => json(&loaded, &explained, answered),
        CheckFormat::Sarif => format!("{:#}\n", spec::sarif(&loaded.problems)),
    });
    if let Some(Err(text)) = found {
        return usage(&text);
    }
    let (errors, warnings) = counts(&loaded);
    let missing = answered.unwrap_or_default().iter().filter(|found| found.problem.is_some()).count();
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

/// What Prometheus has of everything the SLOs read, now.
async fn ask(settings: &Settings, model: &spec::Model) -> Result<Vec<Found>, String> {
    let client = Client::new(&wiring::client(settings)?)?;
    let url = settings.prometheus.url.as_deref().unwrap_or_default();
    presence::look(&client, model, Clock::wall().now()).await.map_err(|fault| format!("{url}: {fault}"))
}

fn text(loaded: &Loaded, explained: &[Explained], found: Option<&[Found]>) -> String {
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
    if let Some(found) = found {
        out += &format!("\n{}", sources(found).print());
        for found in found {
            let remark = match (&found.problem, &found.note) {
                (Some(problem), _) => problem,
                (None, Some(note)) => note,
                (None, None) => continue,
            };
            out += &format!("{}: {}: {remark}\n", found.slo, found.part);
        }
    }
    out
}

fn json(loaded: &Loaded, explained: &[Explained], found: Option<&[Found]>) -> String {
    let report = serde_json::json!({"problems": loaded.problems, "slos": explained, "found": found});
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
            note: None,
        };
        let text = sources(&[found("count", 3, None), found("bucket", 0, Some("no series"))]).print();
        assert_eq!(
            text,
            "slo            part    raw series  series  selector\n\
             a-latency-p95  count   3           1       m\n               bucket  MISSING     1       m\n"
        );
    }
}
