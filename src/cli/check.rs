//! `slowburn check`: problems of rule files, resolved thresholds, and whether Prometheus has what they need.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::{Exit, colour_on, complain, print_out, wiring};
use crate::clock::Clock;
use crate::prometheus::{Client, Source};
use crate::query::Plan;
use crate::spec::{self, Severity};

/// Flags of `slowburn check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also ask this Prometheus whether the series exist
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
    /// Daemon settings: authentication, headers, timeouts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: CheckFormat,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
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
        Err(text) => {
            complain(text.trim_end());
            return Exit::Usage;
        }
    };
    let loaded = wiring::rules(&args.paths, &settings);
    let explained: Vec<spec::Explained> = loaded.model.slos.iter().map(spec::explain).collect();
    let mut found = Vec::new();
    if args.prometheus_url.is_some() && !loaded.is_fatal() {
        settings.prometheus.url = args.prometheus_url.clone();
        match ask(&settings, &loaded.model).await {
            Ok(answers) => found = answers,
            Err(text) => {
                complain(&text);
                return Exit::NoData;
            }
        }
    }
    let (errors, warnings) =
        loaded.problems.iter().fold((0, 0), |(errors, warnings), problem| match problem.severity {
            Severity::Error => (errors + 1, warnings),
            Severity::Warning => (errors, warnings + 1),
        });
    let missing = found.iter().filter(|(_, series)| *series == 0).count();
    match args.format {
        CheckFormat::Text => {
            print_out(&loaded.render(colour_on(&std::io::stdout())));
            if !explained.is_empty() && errors == 0 {
                print_out(&spec::table(&explained));
            }
            for (id, series) in &found {
                print_out(&format!(
                    "{id}: {}\n",
                    if *series == 0 { "NO SERIES".into() } else { format!("{series} raw series") }
                ));
            }
            if std::io::stdout().is_terminal() || errors + warnings > 0 {
                complain(&format!("{} files, {errors} errors, {warnings} warnings", loaded.files.len()));
            }
        }
        CheckFormat::Json => {
            let found: serde_json::Map<String, serde_json::Value> =
                found.iter().map(|(id, series)| (id.clone(), (*series).into())).collect();
            let report = serde_json::json!({"problems": loaded.problems, "slos": explained, "raw_series": found});
            print_out(&format!("{report:#}\n"));
        }
        CheckFormat::Sarif => print_out(&format!("{:#}\n", spec::sarif(&loaded.problems))),
    }
    if errors > 0 || missing > 0 || (args.strict && warnings > 0) { Exit::Findings } else { Exit::Ok }
}

/// How many raw series each SLO with a source has now.
async fn ask(settings: &crate::config::Settings, model: &spec::Model) -> Result<Vec<(String, usize)>, String> {
    let client = Client::new(&wiring::client(settings)?)?;
    let (plan, _) = Plan::new(model);
    let plan = Arc::new(plan);
    let options = wiring::source(settings, None);
    let mut source = Source::new(client, Arc::clone(&plan), options.clone(), None);
    let at_s = Clock::wall().now().div_euclid(options.resolution_s) * options.resolution_s;
    let poll = source.look(at_s, 300).await;
    if let Some((query, fault)) = poll.faults.first() {
        return Err(format!("{query}: {fault}"));
    }
    let series = source.raw_series_of_slis();
    Ok(model
        .slos
        .iter()
        .enumerate()
        .filter(|(_, spec)| spec.source.is_ok())
        .map(|(i, spec)| (spec.slo.id.clone(), series.get(i).copied().unwrap_or(0)))
        .collect())
}
