//! `slowburn import`: SLO files of other tools as service.yaml files.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::table::counted;
use super::{Exit, ImportFlags, colour_on, complain, print_out};
use crate::spec::{self, Imported};

/// Flags of `slowburn import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files or directories: Sloth, Pyrra, OpenSLO v1, slo-generator v2; those that name each other together
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Write one file for each service into this folder, instead of printing; no file is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Form of the services
    #[arg(long, value_enum, default_value = "yaml")]
    format: Form,
    #[command(flatten)]
    flags: ImportFlags,
}

/// Form of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// With what was changed as comments
    Yaml,
    /// One line for each service, without comments
    Json,
}

/// Imports, and says what was changed. Where anything is refused, nothing is written.
pub fn import(args: &ImportArgs) -> Exit {
    if let Some(path) = args.paths.iter().find(|path| !path.exists()) {
        complain(&format!("{}: there is no such file or directory", path.display()));
        return Exit::Usage;
    }
    let loaded = spec::load_with(&args.paths, &args.flags.options(spec::Options::default()));
    complain_of(&loaded.render(colour_on(&std::io::stderr())));
    if loaded.is_fatal() {
        complain("nothing was imported: what cannot be imported whole is not imported at all");
        return Exit::Findings;
    }
    let services = spec::imported(&loaded);
    if services.is_empty() {
        complain("these files hold no SLO of another tool");
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
    if args.out.is_some() || args.format == Form::Json {
        for (id, remark) in slos.iter().flat_map(|(id, remarks)| remarks.iter().map(move |remark| (id, remark))) {
            complain_of(&format!("{id}: {remark}\n"));
        }
    }
    complain(&format!(
        "{} of {} from {}",
        counted(slos.len(), "SLO"),
        counted(services.len(), "service"),
        counted(loaded.files.len(), "file")
    ));
    Exit::Ok
}

fn complain_of(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

fn printed(services: &[Imported], format: Form) -> String {
    match format {
        Form::Yaml => services.iter().map(Imported::to_yaml).collect::<Vec<_>>().join("---\n"),
        Form::Json => services.iter().map(Imported::to_json).collect(),
    }
}

/// One file for each service; all of them or none.
fn write_all(folder: &Path, services: &[Imported], format: Form) -> Result<(), String> {
    let extension = if format == Form::Json { "json" } else { "yaml" };
    let path = |service: &Imported| folder.join(format!("{}.{extension}", service.service));
    if let Some(there) = services.iter().map(path).find(|path| path.exists()) {
        return Err(format!("{} is there already, and nothing was written: give another folder", there.display()));
    }
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for service in services {
        let path = path(service);
        let text = if format == Form::Json { service.to_json() } else { service.to_yaml() };
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
