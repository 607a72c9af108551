//! Files to model: presets, every other document of every file, then what only all of them together can show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::correction::{self, PlacedCorrection};
use super::defaults::defaults;
use super::duration::TimeSpan;
use super::files::{self, LoadedFile};
use super::import::{self, Draft};
use super::model::{Model, SloSpec};
use super::policy::{self, PlacedPolicy};
use super::preset::{self, Presets};
use super::problem::{Code, Place, Problem, Severity};
use super::reader::{At, Report};
use super::service::{self, PlacedService};
use super::tree::{self, Node, Value};
use crate::gate::{Identities, Policy};

/// What came of loading.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// All that could be resolved. Complete only where [`Loaded::is_fatal`] is false.
    pub model: Model,
    /// Policies sorted by service.
    pub policies: Vec<Policy>,
    /// All problems of all files, by file and place.
    pub problems: Vec<Problem>,
    /// The files that were read, by path.
    pub files: Vec<LoadedFile>,
    /// The presets that services can name: the compiled-in ones and those of the files.
    pub presets: Presets,
    /// SHA-256 of the resolved model and policies, hexadecimal: what `config hash` shows. Comments, file names and
    /// the order of files do not change it.
    pub digest: String,
    /// What foreign files became, in the order of the files.
    pub(crate) drafts: Vec<Draft>,
}

impl Loaded {
    /// Whether any problem is an error, so that the files are refused as a whole.
    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The text of the file a problem is in.
    pub fn source(&self, problem: &Problem) -> Option<&str> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(&problem.file)).ok()?;
        Some(&self.files[found].text)
    }

    /// All problems as text for people.
    pub fn render(&self, colour: bool) -> String {
        self.problems.iter().map(|problem| problem.render(self.source(problem), colour)).collect()
    }
}

/// What loading needs to know of the daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of a slice; windows of burn clauses are not shorter.
    pub resolution: TimeSpan,
    /// Owner of imported SLOs whose files name none.
    pub owner: Option<String>,
    /// Window of imported SLOs whose files name none.
    pub slo_period: Option<TimeSpan>,
    /// Who there is: policies that ask for a yes are held against it. `None` where no daemon is known.
    pub people: Option<Arc<Identities>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { resolution: defaults().resolution, owner: None, slo_period: None, people: None }
    }
}

/// Loads files and directories (`*.yaml` and `*.yml`, recursively) with default options.
pub fn load(paths: &[PathBuf]) -> Loaded {
    load_with(paths, &Options::default())
}

/// Loads files and directories.
pub fn load_with(paths: &[PathBuf], options: &Options) -> Loaded {
    let mut problems = Vec::new();
    let files = files::read(paths, &mut problems);
    resolve(files, problems, options)
}

/// Loads one text as if it were a file of this name.
///
/// ```
/// let loaded = slowburn::spec::load_text("checkout.yaml", "name: checkout\nowner: pay\nslo: {availability: 100}\n");
/// assert!(loaded.is_fatal());
/// assert!(loaded.render(false).contains("an objective of 100 has no error budget"));
/// ```
pub fn load_text(name: &str, text: &str) -> Loaded {
    load_texts(&[(name, text)], &Options::default())
}

/// Loads texts as if they were files of these names.
pub fn load_texts(texts: &[(&str, &str)], options: &Options) -> Loaded {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for (name, text) in texts {
        match text.len() <= files::FILE_BYTES_MAX {
            true => files.push(LoadedFile { path: name.to_string(), text: text.to_string(), named: true }),
            false => problems.push(files::unreadable((*name).as_ref(), "is over 1024 KiB")),
        }
    }
    resolve(files, problems, options)
}

/// Documents of all files, with the index of their file.
#[derive(Default)]
struct Documents<'a> {
    services: Vec<(usize, PlacedService)>,
    policies: Vec<(usize, PlacedPolicy)>,
    /// How many presets there are.
    presets: usize,
    foreign: Vec<import::Document<'a>>,
    corrections: Vec<(usize, PlacedCorrection)>,
    /// A service or a whole file could not be read, so a name that is not there may be in it.
    incomplete: bool,
}

impl Documents<'_> {
    fn is_empty(&self) -> bool {
        let none = self.services.is_empty() && self.policies.is_empty();
        none && self.presets == 0 && self.foreign.is_empty()
    }
}

fn resolve(mut files: Vec<LoadedFile>, mut problems: Vec<Problem>, options: &Options) -> Loaded {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut incomplete = !problems.is_empty();
    let trees: Vec<Vec<Node>> = files.iter().map(|file| parse(file, &mut incomplete, &mut problems)).collect();
    let mut documents = Documents { incomplete, ..Documents::default() };
    // Presets first: a service may name one of a later file.
    let presets = read_presets(&files, &trees, &mut documents, &mut problems);
    let mut reports: Vec<Report<'_>> = files.iter().map(|file| Report::new(&file.path, &file.text)).collect();
    for (index, file) in files.iter().enumerate() {
        read_file((index, file), &trees[index], options, &presets, &mut documents, &mut reports[index]);
    }
    let drafts = read_foreign(options, &presets, &mut documents, &mut reports);
    problems.extend(reports.into_iter().flat_map(|report| report.problems));
    if documents.is_empty() && problems.is_empty() {
        let mut problem = files::unreadable("the files given".as_ref(), "there is no service in them");
        problem.write("the folder of your services, such as rules/services");
        problems.push(problem);
    }
    let mut model = Model::default();
    refuse_duplicates(&files, &documents, &mut problems);
    for (_, placed) in &documents.services {
        model.services.push(placed.service.clone());
        model.slos.extend(placed.slos.iter().map(|slo| slo.spec.clone()));
    }
    model.services.sort_by(|a, b| a.name.cmp(&b.name));
    model.services.dedup_by(|a, b| a.name == b.name);
    model.slos.iter_mut().for_each(SloSpec::settle_unit);
    model.slos.sort_by(|a, b| a.slo.id.cmp(&b.slo.id));
    model.slos.dedup_by(|a, b| a.slo.id == b.slo.id);
    let whole: BTreeMap<&str, bool> =
        documents.services.iter().map(|(_, placed)| (placed.service.name.as_str(), placed.whole)).collect();
    for (index, placed) in &documents.corrections {
        let mut report = Report::new(&files[*index].path, &files[*index].text);
        placed.apply(
            &mut model,
            documents.incomplete || documents.services.iter().any(|(_, service)| !service.whole),
            &mut report,
        );
        problems.append(&mut report.problems);
    }
    let every: Vec<&Policy> = documents.policies.iter().map(|(_, placed)| &placed.policy).collect();
    for (index, placed) in &documents.policies {
        // What was refused already is not reported a second time as missing.
        if whole.get(placed.policy.service.as_str()).copied().unwrap_or(!documents.incomplete) {
            let mut report = Report::new(&files[*index].path, &files[*index].text);
            policy::check(placed, &model, &every, options.people.as_deref(), &mut report);
            problems.append(&mut report.problems);
        }
    }
    let mut policies: Vec<Policy> = documents.policies.into_iter().map(|(_, placed)| placed.policy).collect();
    policies.sort_by(|a, b| a.service.cmp(&b.service));
    problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.what).cmp(&(&b.file, b.line, b.column, &b.what)));
    let digest = digest(&model, &policies);
    Loaded { model, policies, problems, files, presets, digest, drafts }
}

fn digest(model: &Model, policies: &[Policy]) -> String {
    let resolved = serde_json::to_vec(&(model, policies)).expect("maps have text keys and numbers are finite");
    Sha256::digest(resolved).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The documents of a file; none where it is not YAML.
fn parse(file: &LoadedFile, incomplete: &mut bool, problems: &mut Vec<Problem>) -> Vec<Node> {
    let mut report = Report::new(&file.path, &file.text);
    let nodes = tree::parse(&file.text).unwrap_or_else(|fault| {
        report.error_at(fault.place, "", Code::Syntax, fault.what).instead = fault.instead;
        *incomplete = true;
        Vec::new()
    });
    if nodes.is_empty() && report.problems.is_empty() {
        let place = Place { line: 1, column: 1, length: 1 };
        report.error_at(place, "", Code::UnknownShape, "this file has no document").write(EITHER);
    }
    problems.append(&mut report.problems);
    nodes
}

/// The user's presets: unique over all files.
fn read_presets(
    files: &[LoadedFile],
    trees: &[Vec<Node>],
    documents: &mut Documents<'_>,
    problems: &mut Vec<Problem>,
) -> Presets {
    let mut presets = Presets::default();
    for (file, nodes) in files.iter().zip(trees) {
        let mut report = Report::new(&file.path, &file.text);
        for node in nodes.iter().filter(|node| matches!(shape(node), Shape::Preset)) {
            report.subject.clear();
            documents.presets += 1;
            let Some(preset) = preset::read(&At::root(node), &mut report) else { continue };
            if let Some(earlier) = presets.own(&preset.name).and_then(|earlier| earlier.file.as_deref()) {
                let what = format!("the preset {:?} is defined twice, first in {earlier}", preset.name);
                let place = node.get("preset").map_or(node.place, |name| name.place);
                report.error_at(place, "", Code::DuplicateId, what).write("another name, or one of them");
                continue;
            }
            drop(presets.add(preset));
        }
        problems.append(&mut report.problems);
    }
    presets
}

fn read_file<'a>(
    (index, file): (usize, &LoadedFile),
    nodes: &'a [Node],
    options: &Options,
    presets: &'a Presets,
    documents: &mut Documents<'a>,
    report: &mut Report<'_>,
) {
    for node in nodes {
        report.subject.clear();
        let root = At::root(node);
        match shape(node) {
            Shape::Foreign(format) => documents.foreign.push(import::Document { file: index, node, format }),
            Shape::Service => match service::read(&root, presets, options.resolution, report) {
                Some(found) => documents.services.push((index, found)),
                None => documents.incomplete = true,
            },
            Shape::Correction => {
                let found = correction::read(&root, report);
                documents.corrections.extend(found.into_iter().map(|found| (index, found)));
            }
            Shape::Policy => documents.policies.extend(policy::read(&root, report).map(|found| (index, found))),
            Shape::Preset => {}
            Shape::Elsewhere(_) if !file.named => {}
            Shape::Elsewhere(what) => {
                report.error(&root, Code::UnknownShape, what).write(EITHER);
            }
            Shape::Unknown(what, instead) => {
                report.error(&root, Code::UnknownShape, what).write(instead);
            }
        }
    }
}

/// What belongs into a folder of rules.
const EITHER: &str = "a service (name, owner, slo), a policy (service, allowed_actions) or exclusions";

/// Reads what other tools wrote, all of it together: their documents name each other.
fn read_foreign(
    options: &Options,
    presets: &Presets,
    documents: &mut Documents<'_>,
    reports: &mut [Report<'_>],
) -> Vec<Draft> {
    let before: usize = reports.iter().map(Report::errors).sum();
    let owner = options.owner.as_deref();
    let drafts = import::drafts(&documents.foreign, owner, options.slo_period, options.resolution, reports);
    let services: Vec<(usize, Option<PlacedService>)> = drafts
        .iter()
        .map(|draft| (draft.file, import::service(draft, presets, options.resolution, &mut reports[draft.file])))
        .collect();
    documents.services.extend(services.into_iter().filter_map(|(file, found)| Some((file, found?))));
    documents.incomplete |= reports.iter().map(Report::errors).sum::<usize>() > before;
    drafts
}

/// What is read of other tools.
const SLO_FILES: &str = "a file of Sloth, Pyrra, OpenSLO v1 or slo-generator v2, or a service (name, owner, slo)";

enum Shape {
    Service,
    Policy,
    Preset,
    /// A document of another tool.
    Foreign(import::Format),
    Correction,
    /// Known, and read by somebody else: passed over in a folder.
    Elsewhere(&'static str),
    Unknown(String, &'static str),
}

/// Which document a node is, told by its keys.
fn shape(node: &Node) -> Shape {
    let Value::Map(entries) = &node.value else {
        return Shape::Unknown(format!("expected a service or a policy, found {}", node.kind()), EITHER);
    };
    let has = |key: &str| entries.iter().any(|(k, _)| k.name == key);
    if has("groups") || has("rule_files") {
        return Shape::Elsewhere("this is a file of Prometheus rules or of tests of them");
    }
    if has("preset") || has("slis") {
        return Shape::Preset;
    }
    if has("objective_of_slices") {
        return Shape::Elsewhere("defaults are compiled in, not loaded");
    }
    match import::format(node) {
        Some(Ok(format)) => return Shape::Foreign(format),
        Some(Err((what, instead))) => return Shape::Unknown(what, instead),
        None => {}
    }
    if has("apiVersion") {
        let what = "this is a document of Kubernetes, and none that holds SLOs";
        return Shape::Unknown(what.into(), SLO_FILES);
    }
    if has("prometheus") || has("alertmanagers") || has("listen") {
        let what = "these are daemon settings, not a service or a policy";
        return Shape::Unknown(what.into(), "slowburn run --config FILE, outside of the rules folder");
    }
    if has("exclusions") || has("budget_resets") {
        return Shape::Correction;
    }
    if has("allowed_actions") || has("safety_checks") || has("service") && !has("slo") {
        return Shape::Policy;
    }
    if has("name") || has("slo") || has("owner") {
        return Shape::Service;
    }
    let keys: Vec<String> = entries.iter().take(5).map(|(key, _)| format!("{:?}", key.name)).collect();
    Shape::Unknown(format!("neither a service nor a policy: its keys are {}", keys.join(", ")), EITHER)
}

/// Services, SLO ids and policies are unique over all files.
fn refuse_duplicates(files: &[LoadedFile], documents: &Documents<'_>, problems: &mut Vec<Problem>) {
    let mut names: BTreeMap<&str, (usize, &PlacedService)> = BTreeMap::new();
    let mut ids: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut exclusions: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut governed: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let at = |file: usize, place: Place| format!("{}:{}:{}", files[file].path, place.line, place.column);
    let mut refuse = |file: usize, place: Place, what: String, instead: &str| {
        let mut report = Report::new(&files[file].path, &files[file].text);
        report.error_at(place, "", Code::DuplicateId, what).write(instead);
        problems.append(&mut report.problems);
    };
    let either = "another name, or one of them";
    for (file, placed) in &documents.services {
        let service = &placed.service;
        match names.get(service.name.as_str()) {
            // Files of other tools have some of a service's SLOs each.
            Some((_, first)) if placed.imported && first.imported && service.owner == first.service.owner => {}
            Some((other, first)) if placed.imported && first.imported => {
                let what = format!(
                    "the service {:?} is owned by {} here and by {} at {}",
                    service.name,
                    service.owner,
                    first.service.owner,
                    at(*other, first.place)
                );
                let place = placed.slos.first().map_or(placed.place, |slo| slo.place);
                refuse(*file, place, what, "one owner for all SLOs of a service");
            }
            Some((other, first)) => {
                let first = at(*other, first.place);
                let what = format!("the service {:?} is defined twice, first at {first}", service.name);
                refuse(*file, placed.place, what, either);
                continue;
            }
            None => drop(names.insert(&service.name, (*file, placed))),
        }
        for slo in &placed.slos {
            if let Some((other, place)) = ids.insert(&slo.spec.slo.id, (*file, slo.place)) {
                let what = format!("the SLO id {:?} is defined twice, first at {}", slo.spec.slo.id, at(other, place));
                refuse(*file, slo.place, what, either);
            }
        }
    }
    for (file, placed) in &documents.corrections {
        let Some(name) = placed.name() else { continue };
        if let Some((other, place)) = exclusions.insert(name, (*file, placed.place)) {
            let what = format!("the exclusion {name:?} is defined twice, first at {}", at(other, place));
            refuse(*file, placed.place, what, either);
        }
    }
    for (file, placed) in &documents.policies {
        let service = &placed.policy.service;
        if let Some((other, place)) = governed.insert(service, (*file, placed.place)) {
            let what = format!("a policy of the service {service:?} is defined twice, first at {}", at(other, place));
            refuse(*file, placed.place, what, either);
        }
    }
}
