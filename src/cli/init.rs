//! `slowburn init`: first service.yaml files, from what a Prometheus holds of the stacks whose metrics are known.
//!
//! Objectives and bounds are what the last day kept, so nothing burns because of them on the first day; comments say what
//! they were taken from. Files that are there are never touched. Deliberately absent: any guess of a metric or a label that
//! was not found.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::presets::preset_names;
use super::suggested::Suggested;
use super::table::{Table, counted};
use super::{Exit, Format, complain, endpoint, moment, print_out, wiring};
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
    #[arg(long, value_name = "NAME", value_parser = Suggested(preset_names), hide_possible_values = true)]
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
    /// Form of the output: the files and a table, or all of it as one document
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Looks, writes or prints, and says what was done and what comes next.
pub async fn init(args: InitArgs) -> Exit {
    match found(&args).await {
        Ok((found, presets)) => tell(&args, &found, &presets),
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

async fn found(args: &InitArgs) -> Result<(Discovered, spec::Loaded), (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    let mut settings = wiring::settings(args.config.as_deref()).map_err(usage)?;
    settings.prometheus.url = Some(endpoint(&args.prometheus_url).map_err(usage)?);
    let at_s = match &args.at {
        None => Clock::wall().now(),
        Some(at) => moment(Some(at), &settings).map_err(usage)?,
    };
    let presets = super::presets::known(&args.presets).map_err(usage)?;
    for name in &args.preset {
        if presets.get(name).is_none() {
            let names = presets.names();
            let instead = spec::reader::nearest(name, &names).map_or_else(|| names.join(", "), str::to_owned);
            return Err(usage(format!("there is no preset {name:?}\n  = write: --preset {instead}")));
        }
    }
    let client = wiring::client(&settings).and_then(|options| Client::new(&options)).map_err(usage)?;
    let wanted = |name: &str| args.preset.is_empty() || args.preset.iter().any(|own| own == name);
    let presets = presets.all().filter(|preset| wanted(&preset.name));
    let found = crate::inspect::discover::discover(&client, presets, at_s)
        .await
        .map_err(|fault| (Exit::NoData, format!("{}: {fault}", args.prometheus_url)))?;
    // Presets of one's own are needed again to check what is written with them.
    let own = if args.presets.is_empty() { spec::Loaded::default() } else { spec::load(&args.presets) };
    Ok((found, own))
}

fn tell(args: &InitArgs, found: &Discovered, presets: &spec::Loaded) -> Exit {
    let for_people = args.format == Format::Text;
    if for_people {
        tell_what_is_left(found);
    }
    if found.workloads.is_empty() {
        complain(&format!(
            "no metric of a known stack was found at {}\n  = `slowburn presets` lists the stacks; for other metrics write \
             an sli: for each SLO, or a preset of your own (docs/presets.md)",
            args.prometheus_url
        ));
        if !for_people {
            print_out(&json(found, &[], &[], &spec::Loaded::default()));
        }
        return Exit::Findings;
    }
    let services: Vec<(String, String)> =
        named(found).map(|(name, workload)| (name.clone(), text(args, &name, workload))).collect();
    let done = match &args.out {
        None => vec![Done::Printed; services.len()],
        Some(folder) => match write_schema(folder).and_then(|()| write(folder, &services)) {
            Ok(done) => done,
            Err(text) => {
                complain(&text);
                return Exit::Usage;
            }
        },
    };
    let checked = checked(&services, presets);
    if !for_people {
        print_out(&json(found, &services, &done, &checked));
        return Exit::Ok;
    }
    if args.out.is_none() {
        print_out(&services.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("---\n"));
    }
    let mut table = Table::new(["service", "preset", "match", "SLOs", "file"]);
    for (((name, _), workload), done) in services.iter().zip(&found.workloads).zip(&done) {
        let slos: Vec<&str> = workload.slos.iter().map(|slo| slo.key.as_str()).collect();
        table.push([name.clone(), workload.preset.clone(), workload.told_by(), slos.join(", "), done.to_string()]);
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
    match checked.problems.is_empty() {
        false => complain(&format!("check of what was made:\n{}", checked.render(false).trim_end())),
        true => complain("check of what was made: nothing to correct"),
    }
    complain(&format!("{} from {}\n{next}", counted(services.len(), "service"), counted(found.presets, "preset")));
    Exit::Ok
}

/// Says what was found and becomes no service.
fn tell_what_is_left(found: &Discovered) {
    for remark in &found.remarks {
        complain(remark);
    }
    for (job, metrics) in &found.strangers {
        let why = match metrics.is_empty() {
            true => "nothing there looks like requests".to_owned(),
            false => format!("it has {}: write an sli: for each SLO, or a preset of your own", metrics.join(", ")),
        };
        complain(&format!("left: job {job:?}, whose metrics no preset knows ({why})"));
    }
}

/// What became of a service's file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Printed,
    Written(PathBuf),
    /// It was there already.
    Kept(PathBuf),
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::Printed => f.write_str("printed"),
            Done::Written(path) => write!(f, "{}", path.display()),
            Done::Kept(path) => write!(f, "{} was there already: left as it is", path.display()),
        }
    }
}

/// What was found, made and written, for machines.
fn json(found: &Discovered, services: &[(String, String)], done: &[Done], checked: &spec::Loaded) -> String {
    let service = |(((name, yaml), workload), done): (((&String, &String), &Workload), &Done)| {
        let pairs: serde_json::Map<String, Value> =
            workload.matches.iter().map(|(label, value)| (label.clone(), value.as_str().into())).collect();
        let slos = workload.slos.iter().map(|slo| json!({"key": slo.key, "value": slo.value, "because": slo.because}));
        let left_out = workload.left_out.iter().map(|(key, why)| json!({"key": key, "because": why}));
        let (file, written) = match done {
            Done::Printed => (None, false),
            Done::Written(path) => (Some(path.display().to_string()), true),
            Done::Kept(path) => (Some(path.display().to_string()), false),
        };
        json!({
            "name": name,
            "preset": workload.preset,
            "match": pairs,
            "slos": slos.collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
            "file": file,
            "written": written,
            "yaml": yaml,
        })
    };
    let texts = services.iter().map(|(name, yaml)| (name, yaml));
    let report = json!({
        "services": texts.zip(&found.workloads).zip(done).map(service).collect::<Vec<_>>(),
        "remarks": found.remarks,
        "jobs_left": found.strangers.iter().map(|(job, metrics)| json!({"job": job, "metrics": metrics})).collect::<Vec<_>>(),
        "problems": checked.problems,
    });
    format!("{report:#}\n")
}

/// Names for the services: the value that tells them apart, with the preset before it and its environment behind it where
/// that is not enough. Which name a workload gets hangs on no order.
fn named(found: &Discovered) -> impl Iterator<Item = (String, &Workload)> {
    let plain = |workload: &Workload| name_of(&workload.matches[0].1);
    let long = |workload: &Workload| name_of(&format!("{}-{}", workload.preset, workload.matches[0].1));
    let whole = |workload: &Workload| {
        let values: Vec<&str> = workload.matches.iter().map(|(_, value)| value.as_str()).collect();
        name_of(&format!("{}-{}", workload.preset, values.join("-")))
    };
    let forms: [&dyn Fn(&Workload) -> String; 3] = [&plain, &long, &whole];
    let mut names: Vec<String> = vec![String::new(); found.workloads.len()];
    for form in forms {
        let of: Vec<String> = found.workloads.iter().map(form).collect();
        for (index, name) in of.iter().enumerate() {
            let alone = of.iter().filter(|other| *other == name).count() == 1 && !names.contains(name);
            if names[index].is_empty() && !name.is_empty() && alone {
                names[index].clone_from(name);
            }
        }
    }
    for (index, workload) in found.workloads.iter().enumerate() {
        if names[index].is_empty() {
            let mut numbered = (2..).map(|n| format!("{}-{n}", whole(workload)));
            names[index] = numbered.find(|name| !names.contains(name)).expect("numbers never end");
        }
    }
    names.into_iter().zip(&found.workloads)
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
        "# From slowburn init: what the preset {} found for {}.\n# Objectives and bounds are what was kept lately. Make \
         them what users need.\nname: {name}\n",
        workload.preset,
        workload.told_by()
    );
    match &args.owner {
        Some(owner) => out += &format!("owner: {}\n", quoted(owner)),
        None => {
            let team = if name.starts_with("team-") { name.to_owned() } else { format!("team-{name}") };
            out += &format!("owner: {team}  # who is told: put the team here\n");
        }
    }
    out += "slo:\n";
    for slo in &workload.slos {
        out += &format!("  {}: {}  # {}\n", slo.key, slo.value, slo.because);
    }
    for (key, reason) in &workload.left_out {
        out += &format!("  # {key}: {reason}\n");
    }
    let matches: Vec<String> =
        workload.matches.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
    out += &format!("telemetry: {{preset: {}, match: {{{}}}}}\n", workload.preset, matches.join(", "));
    out + &GATE.replace("NAME", name)
}

/// The start of a policy, for those who let programs act. People and programs are named in identities.yaml.
const GATE: &str = "\
# What programs may do to it, once there is somebody to ask (docs/gate.md; people and programs: identities.yaml):
# ---
# service: NAME
# allowed_actions:
#   - {type: rollback, max_versions_back: 1, require_approval: true, approvers: [{team: NAME-oncall}]}
#   - {type: scale, min_replicas: 2, max_replicas: 10}
# logging: {audit: true}
";

/// The files that were made, as `check` reads them.
fn checked(services: &[(String, String)], presets: &spec::Loaded) -> spec::Loaded {
    let own = presets.files.iter().map(|file| (file.path.clone(), file.text.clone()));
    let files: Vec<(String, String)> =
        services.iter().map(|(name, text)| (format!("{name}.yaml"), text.clone())).chain(own).collect();
    let texts: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    spec::load_texts(&texts, &spec::Options::default())
}

/// What editors look for: the schema that lies beside the files.
const SCHEMA_FILE: &str = "service.schema.json";
const FOR_EDITORS: &str = "# yaml-language-server: $schema=service.schema.json\n";

/// Writes the schema for editors, over one of an older version: nobody edits it.
fn write_schema(folder: &Path) -> Result<(), String> {
    let path = folder.join(SCHEMA_FILE);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, spec::schema::Schema::Service.json()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes what is not there yet; says of each what became of it.
fn write(folder: &Path, services: &[(String, String)]) -> Result<Vec<Done>, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let one = |(name, text): &(String, String)| {
        let path = folder.join(format!("{name}.yaml"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => match file.write_all(format!("{FOR_EDITORS}{text}").as_bytes()) {
                Ok(()) => Ok(Done::Written(path)),
                Err(error) => Err(format!("{}: {error}", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Done::Kept(path)),
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
            matches: vec![("model_name".into(), value.into())],
            slos: vec![slo("availability", "99.9"), slo("latency_p95_s", "5")],
            left_out: vec![("ttfb_p95_ms".into(), "no events".into())],
            ..Workload::default()
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
            format: Format::Text,
        }
    }

    #[test]
    fn services_have_names_that_are_names_and_are_told_apart() {
        let all = ["Meta/Llama 3", "meta-llama-3", "meta.llama.3", "'--'", "''"];
        let workloads = all.iter().map(|value| workload("vllm", value)).collect();
        let found = Discovered { workloads, presets: 1, remarks: vec![], strangers: vec![] };
        let names: Vec<String> = named(&found).map(|(name, _)| name).collect();
        assert_eq!(names, ["vllm-meta-llama-3-2", "vllm-meta-llama-3-3", "meta.llama.3", "vllm-2", "vllm-3"]);
    }

    #[test]
    fn names_do_not_hang_on_the_order_and_say_the_environment_where_they_must() {
        let mut prod = workload("vllm", "llama");
        prod.matches.push(("namespace".into(), "prod".into()));
        let mut test = workload("vllm", "llama");
        test.matches.push(("namespace".into(), "test".into()));
        let other = workload("istio", "llama");
        let all = [prod, test, other];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let workloads = order.map(|index: usize| Workload {
                preset: all[index].preset.clone(),
                matches: all[index].matches.clone(),
                ..Workload::default()
            });
            let found = Discovered { workloads: workloads.into(), ..Discovered::default() };
            let names: std::collections::BTreeSet<String> = named(&found).map(|(name, _)| name).collect();
            assert_eq!(names, ["istio-llama", "vllm-llama-prod", "vllm-llama-test"].map(str::to_owned).into());
        }
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
        let kept = dir.path().join("a.yaml");
        assert!(done[0].to_string().ends_with("a.yaml was there already: left as it is"), "{done:?}");
        assert_eq!(done, [Done::Kept(kept), Done::Written(dir.path().join("b.yaml"))]);
        assert_eq!(std::fs::read_to_string(dir.path().join("a.yaml")).expect("readable"), "mine");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("b.yaml")).expect("readable"),
            format!("{FOR_EDITORS}theirs")
        );
        write_schema(dir.path()).expect("written");
        assert!(FOR_EDITORS.contains(SCHEMA_FILE) && dir.path().join(SCHEMA_FILE).is_file());
        let loaded = spec::load(&[dir.path().to_owned()]);
        assert!(loaded.files.iter().all(|file| !file.path.ends_with(SCHEMA_FILE)), "it is no file of rules");
    }
}
