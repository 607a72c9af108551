//! `slowburn init`: first service.yaml files, from what a Prometheus holds of the stacks whose metrics are known.
//!
//! Objectives and bounds are what the last day kept, so nothing burns because of them on the first day; comments say what
//! they were taken from. Files that are there are never touched. Deliberately absent: any guess of a metric or a label that
//! was not found.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::table::{Table, counted};
use super::{Exit, complain, endpoint, moment, print_out, wiring};
use crate::clock::Clock;
use crate::inspect::discover::{Discovered, Workload};
use crate::prometheus::Client;
use crate::spec;

/// Flags of `slowburn init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The Prometheus to look at
    #[arg(long, value_name = "URL", required = true)]
    prometheus_url: String,
    /// Write one file for each service into this folder, instead of printing; no file is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Owner of the services [default: team-SERVICE]
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// Only these presets (repeatable) [default: all whose metrics are there]
    #[arg(long, value_name = "NAME")]
    preset: Vec<String>,
    /// Files or directories of presets of your own, which win over the compiled-in ones (repeatable)
    #[arg(long, value_name = "PATH")]
    presets: Vec<PathBuf>,
    /// Daemon settings: authentication, headers, timeouts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The moment to look at, RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Looks, writes or prints, and says what was done and what comes next.
pub async fn init(args: InitArgs) -> Exit {
    match found(&args).await {
        Ok(found) => tell(&args, &found),
        Err(text) => {
            complain(text.trim_end());
            Exit::Usage
        }
    }
}

async fn found(args: &InitArgs) -> Result<Discovered, String> {
    let mut settings = wiring::settings(args.config.as_deref())?;
    settings.prometheus.url = Some(endpoint(&args.prometheus_url)?);
    let at_s = match &args.at {
        None => Clock::wall().now(),
        Some(at) => moment(Some(at), &settings)?,
    };
    let presets = super::presets::known(&args.presets)?;
    for name in &args.preset {
        if presets.get(name).is_none() {
            let names = presets.names();
            let instead = spec::reader::nearest(name, &names).map_or_else(|| names.join(", "), str::to_owned);
            return Err(format!("there is no preset {name:?}\n  = write: --preset {instead}"));
        }
    }
    let client = Client::new(&wiring::client(&settings)?)?;
    let wanted = |name: &str| args.preset.is_empty() || args.preset.iter().any(|own| own == name);
    let presets = presets.all().filter(|preset| wanted(&preset.name));
    crate::inspect::discover::discover(&client, presets, at_s)
        .await
        .map_err(|fault| format!("{}: {fault}", args.prometheus_url))
}

fn tell(args: &InitArgs, found: &Discovered) -> Exit {
    for remark in &found.remarks {
        complain(remark);
    }
    if found.workloads.is_empty() {
        complain(&format!(
            "no metric of a known stack was found at {}\n  = `slowburn presets` lists the stacks; for other metrics write \
             an sli: for each SLO, or a preset of your own (docs/presets.md)",
            args.prometheus_url
        ));
        return Exit::Findings;
    }
    let services: Vec<(String, String)> =
        named(found).map(|(name, workload)| (name.clone(), text(args, &name, workload))).collect();
    let done = match &args.out {
        None => {
            print_out(&services.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("---\n"));
            vec!["printed".to_owned(); services.len()]
        }
        Some(folder) => match write(folder, &services) {
            Ok(done) => done,
            Err(text) => {
                complain(&text);
                return Exit::Usage;
            }
        },
    };
    let mut table = Table::new(["service", "preset", "match", "SLOs", "file"]);
    for (((name, _), workload), done) in services.iter().zip(&found.workloads).zip(&done) {
        let slos: Vec<&str> = workload.slos.iter().map(|slo| slo.key.as_str()).collect();
        table.push([
            name.clone(),
            workload.preset.clone(),
            format!("{}={:?}", workload.label, workload.value),
            slos.join(", "),
            done.clone(),
        ]);
    }
    let next = match &args.out {
        None => format!("next: slowburn init --prometheus-url {} --out slo", args.prometheus_url),
        Some(folder) => format!(
            "next: put owners and objectives right, then\n  slowburn check {} --prometheus-url {}",
            folder.display(),
            args.prometheus_url
        ),
    };
    drop(write!(std::io::stderr().lock(), "{}", table.print()));
    complain(&format!("{} from {}\n{next}", counted(services.len(), "service"), counted(found.presets, "preset")));
    Exit::Ok
}

/// Names for the services: the value that tells them apart, with the preset before it where that is not enough.
fn named(found: &Discovered) -> impl Iterator<Item = (String, &Workload)> {
    let mut taken = std::collections::BTreeSet::new();
    found.workloads.iter().map(move |workload| {
        let plain = name_of(&workload.value);
        let long = name_of(&format!("{}-{}", workload.preset, workload.value));
        let numbered = (2..).map(|n| format!("{long}-{n}"));
        let mut names = [plain, long.clone()].into_iter().chain(numbered);
        let name = names.find(|name| !name.is_empty() && !taken.contains(name)).expect("numbers never end");
        taken.insert(name.clone());
        (name, workload)
    })
}

/// A service's name of a label's value.
fn name_of(value: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let mut name: String = value.chars().map(fits).take(80).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    name.trim_matches(['-', '.']).to_owned()
}

/// A service's file.
fn text(args: &InitArgs, name: &str, workload: &Workload) -> String {
    // A JSON string is a YAML one.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!(
        "# From slowburn init: what the preset {} found for {}={:?}.\n# Objectives and bounds are what was kept lately. Make \
         them what users need.\nname: {name}\n",
        workload.preset, workload.label, workload.value
    );
    match &args.owner {
        Some(owner) => out += &format!("owner: {}\n", quoted(owner)),
        None => out += &format!("owner: team-{name}  # who is told: put the team here\n"),
    }
    out += "slo:\n";
    for slo in &workload.slos {
        out += &format!("  {}: {}  # {}\n", slo.key, slo.value, slo.because);
    }
    for (key, reason) in &workload.left_out {
        out += &format!("  # {key}: {reason}\n");
    }
    out + &format!(
        "telemetry: {{preset: {}, match: {{{}: {}}}}}\n",
        workload.preset,
        workload.label,
        quoted(&workload.value)
    )
}

/// Writes what is not there yet; says of each what became of it.
fn write(folder: &Path, services: &[(String, String)]) -> Result<Vec<String>, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let one = |(name, text): &(String, String)| {
        let path = folder.join(format!("{name}.yaml"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => match file.write_all(text.as_bytes()) {
                Ok(()) => Ok(path.display().to_string()),
                Err(error) => Err(format!("{}: {error}", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(format!("{} was there already: left as it is", path.display()))
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    };
    services.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::discover::ProposedSlo;

    fn workload(preset: &str, value: &str) -> Workload {
        let slo = |key: &str, value: &str| ProposedSlo { key: key.into(), value: value.into(), because: "so".into() };
        Workload {
            preset: preset.into(),
            label: "model_name".into(),
            value: value.into(),
            slos: vec![slo("availability", "99.9"), slo("latency_p95_s", "5")],
            left_out: vec![("ttfb_p95_ms".into(), "no events".into())],
        }
    }

    fn args() -> InitArgs {
        InitArgs {
            prometheus_url: "http://p:9090".into(),
            out: None,
            owner: None,
            preset: vec![],
            presets: vec![],
            config: None,
            at: None,
        }
    }

    #[test]
    fn services_have_names_that_are_names_and_are_told_apart() {
        let all = ["Meta/Llama 3", "meta-llama-3", "meta.llama.3", "'--'", "''"];
        let workloads = all.iter().map(|value| workload("vllm", value)).collect();
        let found = Discovered { workloads, presets: 1, remarks: vec![] };
        let names: Vec<String> = named(&found).map(|(name, _)| name).collect();
        assert_eq!(names, ["meta-llama-3", "vllm-meta-llama-3", "meta.llama.3", "vllm", "vllm-2"]);
    }

    #[test]
    fn what_is_written_loads_without_an_error_whatever_the_label_holds() {
        for value in ["llama-3", "it's \"quoted\": #1", "a\\b", "${x}"] {
            let workload = workload("vllm", value);
            let text = text(&args(), "a", &workload);
            let loaded = spec::load_text("a.yaml", &text);
            assert!(!loaded.is_fatal() && loaded.model.slos.len() == 2, "{text}\n{}", loaded.render(false));
        }
    }

    #[test]
    fn no_file_is_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("a.yaml"), "mine").expect("writable");
        let services = [("a".to_owned(), "theirs".to_owned()), ("b".to_owned(), "theirs".to_owned())];
        let done = write(dir.path(), &services).expect("written");
        assert!(done[0].contains("left as it is") && done[1].ends_with("b.yaml"), "{done:?}");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.yaml")).expect("readable"), "mine");
        assert_eq!(std::fs::read_to_string(dir.path().join("b.yaml")).expect("readable"), "theirs");
    }
}
