//! `slowburn export`: an SLO in the form another program reads.

mod grafana;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::table::counted;
use super::{Exit, ImportFlags, colour_on, complain, help, print_out, wiring};
use crate::config::Settings;
use crate::query::promql::rules;

/// What `slowburn export` writes.
#[derive(Debug, Subcommand)]
pub enum Export {
    /// Recording and alerting rules, for a Prometheus that watches as well
    #[command(after_help = help::EXPORT_PROMETHEUS)]
    Prometheus(PrometheusArgs),
    /// Dashboards: fleet, SLO, safe to act with the audit log, and Slowburn itself
    #[command(after_help = help::EXPORT_GRAFANA)]
    Grafana(GrafanaArgs),
}

/// Flags of `slowburn export grafana`.
#[derive(Debug, Args)]
pub struct GrafanaArgs {
    /// The one to print; the names of all of them when neither it nor --out is given
    name: Option<String>,
    /// Write all of them into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    out: Option<PathBuf>,
}

/// Flags of `slowburn export prometheus`.
#[derive(Debug, Args)]
pub struct PrometheusArgs {
    /// Files or directories of services (repeatable)
    #[arg(long, value_name = "PATH", required = true)]
    rules: Vec<PathBuf>,
    /// Where to write it [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Daemon settings; of them only the length of a slice counts here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Presets of your own: files or directories
    #[arg(long, value_name = "PATH")]
    presets: Vec<PathBuf>,
    #[command(flatten)]
    import: ImportFlags,
}

/// Writes it.
pub fn export(what: &Export) -> Exit {
    let done = match what {
        Export::Prometheus(args) => prometheus(args),
        Export::Grafana(args) => dashboards(args),
    };
    match done {
        Ok(exit) => exit,
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

fn dashboards(args: &GrafanaArgs) -> Result<Exit, (Exit, String)> {
    let made = grafana::dashboards();
    if let Some(folder) = &args.out {
        let failed = |error: std::io::Error| (Exit::Usage, format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        for (name, text) in &made {
            std::fs::write(folder.join(name), text).map_err(failed)?;
        }
        complain(&format!("{} in {}", counted(made.len(), "dashboard"), folder.display()));
        return Ok(Exit::Ok);
    }
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    let Some(name) = &args.name else {
        print_out(&format!("{}\n", names.join("\n")));
        return Ok(Exit::Ok);
    };
    match made.iter().find(|(own, _)| own == name) {
        Some((_, text)) => print_out(text),
        None => return Err((Exit::Usage, format!("there is no dashboard {name:?}\n  = write: {}", names.join(", ")))),
    }
    Ok(Exit::Ok)
}

fn prometheus(args: &PrometheusArgs) -> Result<Exit, (Exit, String)> {
    let settings: Settings = wiring::settings(args.config.as_deref()).map_err(|text| (Exit::BadConfig, text))?;
    let paths: Vec<PathBuf> = args.rules.iter().chain(&args.presets).cloned().collect();
    let loaded = wiring::rules(&paths, &settings, &args.import);
    if loaded.is_fatal() {
        return Err((Exit::BadConfig, loaded.render(colour_on(&std::io::stderr()))));
    }
    let (mut groups, mut left_out) = (Vec::new(), Vec::new());
    for spec in &loaded.model.slos {
        match rules::groups(spec, settings.resolution) {
            Ok(of_slo) => groups.extend(of_slo),
            Err(why) => left_out.push((spec.slo.id.clone(), why)),
        }
    }
    let text = rules::file(&groups, &left_out);
    match &args.out {
        None => print_out(&text),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| (Exit::Usage, format!("{}: {error}", path.display())))?;
            let written = loaded.model.slos.len() - left_out.len();
            let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
            complain(&format!("{}: {} in {}", path.display(), counted(rules, "rule"), counted(written, "SLO")));
        }
    }
    for (id, why) in &left_out {
        complain(&format!("{id} is left out: {why}"));
    }
    Ok(if left_out.is_empty() { Exit::Ok } else { Exit::Findings })
}
