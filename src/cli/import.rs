//! `slowburn import`: SLO files of other tools as service.yaml files.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::table::{Table, counted};
use super::{Exit, ImportFlags, colour_on, complain, print_out};
use crate::spec::{self, Imported};

/// Flags of `slowburn import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files or directories: Sloth, Pyrra, OpenSLO v1, slo-generator v2; those that name each other together. `-` is the
    /// standard input
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Write one file for each service into this folder, instead of printing; no file is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Form of the services
    #[arg(long, value_enum, default_value = "yaml")]
    format: ImportForm,
    /// An Alertmanager's configuration: says which of its routes, receivers and inhibitions match the alerts of today, and
    /// which will match Slowburn's
    #[arg(long, value_name = "FILE")]
    alertmanager_config: Option<PathBuf>,
    /// Its silences, as `amtool silence query -o json` prints them: says which match other alerts afterwards
    #[arg(long, value_name = "FILE")]
    silences: Option<PathBuf>,
    #[command(flatten)]
    flags: ImportFlags,
}

/// Form of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ImportForm {
    /// With what was changed as comments
    Yaml,
    /// One line for each service, without comments
    Json,
}

/// Imports, and says what was changed. Where anything is refused, nothing is written.
pub fn import(args: &ImportArgs) -> Exit {
    let is_there = |path: &&PathBuf| path.exists() || path.as_path() == Path::new(spec::files::STDIN);
    if let Some(path) = args.paths.iter().find(|path| !is_there(path)) {
        complain(&format!("{}: there is no such file or directory", path.display()));
        return Exit::Usage;
    }
    let options = spec::Options { of_a_repository: true, ..spec::Options::default() };
    let loaded = spec::load_with(&args.paths, &args.flags.options(options));
    complain_of(&loaded.render(colour_on(&std::io::stderr())));
    if loaded.is_fatal() {
        complain("nothing was imported: what cannot be imported whole is not imported at all");
        complain("(--keep-going leaves out what is refused, says what that is, and imports everything else)");
        return Exit::Findings;
    }
    let services = spec::imported(&loaded);
    if args.flags.keep_going {
        complain_of(&outcomes(&loaded, &services).print());
    }
    if services.is_empty() {
        complain(match loaded.left_out.is_empty() {
            true => "these files hold no SLO of another tool",
            false => "nothing of these files can be imported",
        });
        return Exit::Findings;
    }
    let written = match &args.out {
        Some(folder) => write_all(folder, &services, args.format),
        None => {
            print_out(&printed(&services, args.format));
            Ok(())
        }
    };
    if let Err(text) = written {
        complain(&text);
        return Exit::Findings;
    }
    let slos: Vec<_> = services.iter().flat_map(|service| &service.slos).collect();
    if args.out.is_some() || args.format == ImportForm::Json {
        for (id, remark) in slos.iter().flat_map(|(id, remarks)| remarks.iter().map(move |remark| (id, remark))) {
            complain_of(&format!("{id}: {remark}\n"));
        }
    }
    if let Some(path) = &args.alertmanager_config {
        match cutover(path, &loaded) {
            Ok(text) => complain_of(&text),
            Err(text) => {
                complain(&text);
                return Exit::Usage;
            }
        }
    }
    if let Some(path) = &args.silences {
        match silences(path, &loaded) {
            Ok(text) => complain_of(&text),
            Err(text) => {
                complain(&text);
                return Exit::Usage;
            }
        }
    }
    let read: BTreeSet<&String> = services.iter().flat_map(|service| &service.files).collect();
    let mut said = format!(
        "{} of {} from {}",
        counted(slos.len(), "SLO"),
        counted(services.len(), "service"),
        counted(read.len(), "file")
    );
    if !loaded.left_out.is_empty() {
        said += &format!("; {} left out", loaded.left_out.len());
    }
    if !loaded.passed_over.is_empty() {
        said += &format!("; {} of other kinds passed over", counted(loaded.passed_over.len(), "document"));
    }
    complain(&said);
    if loaded.left_out.is_empty() { Exit::Ok } else { Exit::Findings }
}

/// Which alerts go elsewhere once Slowburn sends them.
fn cutover(path: &Path, loaded: &spec::Loaded) -> Result<String, String> {
    let config = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = crate::inspect::cutover::compare(&loaded.model.slos, &config)
        .map_err(|what| format!("{}: {what}", path.display()))?;
    let mut table = Table::new(["alert", "receivers today", "receivers after", "inhibitions"]);
    for one in &found.moved {
        let list = |names: &[String]| names.join(", ");
        table.push([one.alert.clone(), list(&one.before), list(&one.after), list(&one.inhibitions)]);
    }
    let mut said = format!(
        "{}: of {}, {} to other receivers or {} inhibited otherwise\n",
        path.display(),
        counted(found.alerts, "alert"),
        if found.moved.len() == 1 { "1 goes".into() } else { format!("{} go", found.moved.len()) },
        if found.moved.len() == 1 { "is" } else { "are" }
    );
    if !found.moved.is_empty() {
        said += &table.print();
    }
    if !found.lost_routes.is_empty() {
        said += &format!("routes that no alert reaches any more: {}\n", found.lost_routes.join(", "));
    }
    Ok(said)
}

/// Which silences match other alerts once Slowburn sends them.
fn silences(path: &Path, loaded: &spec::Loaded) -> Result<String, String> {
    let list = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let all = crate::inspect::cutover::silences(&loaded.model.slos, &list)
        .map_err(|what| format!("{}: {what}", path.display()))?;
    let changed: Vec<_> = all.iter().filter(|one| !one.lost.is_empty() || !one.gained.is_empty()).collect();
    let mut said =
        format!("{}: of {}, {} match other alerts\n", path.display(), counted(all.len(), "silence"), changed.len());
    let mut table = Table::new(["silence", "alerts today", "not any more", "new", "comment"]);
    for one in &changed {
        table.push([
            one.id.clone(),
            one.before.to_string(),
            one.lost.join(", "),
            one.gained.join(", "),
            one.comment.clone(),
        ]);
    }
    if !changed.is_empty() {
        said += &table.print();
    }
    Ok(said)
}

/// What became of each SLO: loaded, and how its events are counted, or left out, and why.
fn outcomes(loaded: &spec::Loaded, services: &[Imported]) -> Table<4> {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (place, id, remarks) in services.iter().flat_map(Imported::places) {
        let approximate = remarks.iter().find(|remark| remark.starts_with("approximate"));
        let how = if approximate.is_some() { "loaded, approximate" } else { "loaded" };
        rows.push([place, id.to_string(), how.into(), approximate.cloned().unwrap_or_default()]);
    }
    for out in &loaded.left_out {
        let more = if out.more > 0 { format!(" (and {} more)", out.more) } else { String::new() };
        let id = out.about.trim_start_matches("SLO ").to_string();
        rows.push([format!("{}:{}", out.file, out.line), id, "refused".into(), format!("{}{more}", out.why)]);
    }
    rows.sort();
    let mut table = Table::new(["file", "SLO", "outcome", "why"]);
    rows.into_iter().for_each(|row| table.push(row));
    table
}

fn complain_of(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

fn printed(services: &[Imported], format: ImportForm) -> String {
    match format {
        ImportForm::Yaml => services.iter().map(Imported::to_yaml).collect::<Vec<_>>().join("---\n"),
        ImportForm::Json => services.iter().map(Imported::to_json).collect(),
    }
}

/// One file for each service; all of them or none.
fn write_all(folder: &Path, services: &[Imported], format: ImportForm) -> Result<(), String> {
    let extension = if format == ImportForm::Json { "json" } else { "yaml" };
    let path = |service: &Imported| folder.join(format!("{}.{extension}", service.service));
    if let Some(there) = services.iter().map(path).find(|path| path.exists()) {
        return Err(format!("{} is there already, and nothing was written: give another folder", there.display()));
    }
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for service in services {
        let path = path(service);
        let text = if format == ImportForm::Json { service.to_json() } else { service.to_yaml() };
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(format!("{}: {error}; nothing was written", path.display()));
        }
        complain(&format!("wrote {}", path.display()));
        written.push(path);
    }
    Ok(())
}
