//! Files to model: presets, every other document of every file, then what only all of them together can show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::correction;
use super::document;
use super::files::{self, LoadedFile};
use super::gathered::Gathered;
use super::import::{self, Draft};
use super::left_out::{self, LeftOut};
use super::model::{Model, SloSpec};
use super::object::ObjectTexts;
use super::options::Options;
use super::ownership::refuse_duplicates;
use super::policy;
use super::preset::{self, Presets};
use super::problem::{Code, Place, Problem, Severity};
use super::reader::{At, Report};
use super::resource;
use super::service::{self, PlacedService};
use super::shape::{DocumentShape, EITHER, KUBERNETES, SLO_FILES, shape};
use super::tree::{self, Node};
use crate::gate::Policy;

/// Up to so many warnings that say the same are shown one by one, and as many places are named of more.
const ALIKE_SHOWN: usize = 3;

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
    /// What was refused and left out, where loading went on all the same.
    pub left_out: Vec<LeftOut>,
    /// Documents of a repository that were passed over: each file, with what is in it.
    pub passed_over: Vec<(String, String)>,
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
        self.files.iter().find(|file| file.path == problem.file).map(|file| file.text.as_str())
    }

    /// All problems as text for people; a warning that many places get is shown once, with the other places.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        let mut folded: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
        for problem in &self.problems {
            let same = |other: &&Problem| {
                other.severity == problem.severity && other.gist() == problem.gist() && other.instead == problem.instead
            };
            let all: Vec<&Problem> = self.problems.iter().filter(same).collect();
            if problem.severity == Severity::Error || all.len() <= ALIKE_SHOWN {
                out += &problem.render(self.source(problem), colour);
            } else if folded.insert((problem.gist(), problem.instead.as_deref())) {
                out += &problem.render(self.source(problem), colour);
                let places = all.iter().skip(1).take(ALIKE_SHOWN);
                let places: Vec<String> =
                    places.map(|one| format!("{}:{}:{}", one.file, one.line, one.column)).collect();
                let rest = all.len() - 1 - places.len();
                let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                let gutter = problem.line.to_string().len() + 1;
                out += &format!("{:gutter$} = the same at {}{more}\n", "", places.join(", "));
            }
        }
        out
    }
}

/// Loads files and directories (`*.yaml` and `*.yml`, recursively) with default options.
pub fn load(paths: &[PathBuf]) -> Loaded {
    load_with(paths, &Options::default())
}

/// Loads files and directories.
pub fn load_with(paths: &[PathBuf], options: &Options) -> Loaded {
    load_with_objects(paths, &[], options)
}

/// Loads files and directories, and objects of a cluster beside them. Of two that claim one name the earlier has it, files
/// before all. The problems of an object name it as their file.
pub fn load_with_objects(paths: &[PathBuf], objects: &[ObjectTexts], options: &Options) -> Loaded {
    let mut problems = Vec::new();
    let mut files = match paths.is_empty() && options.may_be_empty {
        true => Vec::new(),
        false => files::read(paths, &mut problems),
    };
    if files.is_empty() && options.may_be_empty {
        problems.retain(|problem| problem.instead.is_none() || problem.code != Code::Unreadable);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.extend(files_of(objects, &mut problems));
    resolve(files, problems, options)
}

/// The files of objects, in their order.
fn files_of(objects: &[ObjectTexts], problems: &mut Vec<Problem>) -> Vec<LoadedFile> {
    let mut found = Vec::new();
    for (object, (suffix, text)) in objects.iter().flat_map(|one| one.texts.iter().map(move |text| (one, text))) {
        let path = object.key.path() + suffix;
        match text.len() <= files::FILE_BYTES_MAX {
            true => found.push(LoadedFile { path, text: text.clone(), named: true, object: Some(object.key.clone()) }),
            false => problems.push(files::unreadable(path.as_ref(), "is over 1024 KiB")),
        }
    }
    found
}

/// Owner of imported SLOs whose labels name none: that of the options, or the namespace of their object.
fn owner<'o>(file: &'o LoadedFile, options: &'o Options) -> Option<&'o str> {
    options.owner.as_deref().or_else(|| Some(file.object.as_ref()?.namespace.as_str()))
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
            true => {
                files.push(LoadedFile { path: name.to_string(), text: text.to_string(), named: true, object: None })
            }
            false => problems.push(files::unreadable((*name).as_ref(), "is over 1024 KiB")),
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    resolve(files, problems, options)
}

fn resolve(files: Vec<LoadedFile>, mut problems: Vec<Problem>, options: &Options) -> Loaded {
    let mut incomplete = !problems.is_empty();
    let trees: Vec<Vec<Node>> = files.iter().map(|file| parse(file, options, &mut incomplete, &mut problems)).collect();
    let mut documents = Gathered { incomplete, ..Gathered::default() };
    // Presets first: a service may name one of a later file.
    let presets = read_presets(&files, &trees, &mut documents, &mut problems);
    let mut reports: Vec<Report<'_>> = files.iter().map(|file| Report::new(&file.path, &file.text)).collect();
    for (index, file) in files.iter().enumerate() {
        read_file((index, file), &trees[index], options, &presets, &mut documents, &mut reports[index]);
    }
    let drafts = read_foreign(&files, options, &presets, &mut documents, &mut reports);
    problems.extend(reports.into_iter().flat_map(|report| report.problems));
    let twice = refuse_duplicates(&files, &documents, &mut problems);
    if options.keep_going {
        let mut index = 0..;
        documents.services.retain(|_| index.next().is_some_and(|index: usize| !twice.contains(&index)));
    }
    let drafts = loaded_drafts(drafts, &documents);
    if documents.is_empty() && problems.is_empty() && !options.may_be_empty {
        let mut problem = files::unreadable("the files given".as_ref(), "there is no service in them");
        problem.write("the folder of your services, such as rules/services");
        problems.push(problem);
    }
    let mut model = Model::default();
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
    let left_out = match options.keep_going {
        true => left_out::settle(&mut problems, |problem| is_of_others(problem, &files, &trees, options)),
        false => Vec::new(),
    };
    problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.what).cmp(&(&b.file, b.line, b.column, &b.what)));
    let digest = digest(&model, &policies);
    let passed_over =
        documents.passed_over.iter().map(|(file, what)| (files[*file].path.clone(), what.clone())).collect();
    Loaded { model, policies, problems, files, presets, digest, left_out, passed_over, drafts }
}

/// The drafts that became services.
fn loaded_drafts(drafts: Vec<Draft>, documents: &Gathered<'_>) -> Vec<Draft> {
    let imported = documents.services.iter().filter(|(_, placed)| placed.imported);
    let known: BTreeSet<(usize, Place, &str)> = imported
        .flat_map(|(file, placed)| placed.slos.iter().map(|slo| (*file, slo.place, slo.spec.slo.id.as_str())))
        .collect();
    let is_known = |draft: &Draft| known.contains(&(draft.file, draft.name.place, draft.id().as_str()));
    drafts.into_iter().filter(is_known).collect()
}

/// What documents and templates of other tools name themselves by: a file that is no YAML is told by it.
const MARKS: [&str; 6] = ["prometheus/v1", "sloth.slok.dev", "pyrra.dev", "openslo", "sre.google.com", "kind: SLO"];

/// Whether a problem is in a file that holds nothing of ours, so that it can be left out.
fn is_of_others(problem: &Problem, files: &[LoadedFile], trees: &[Vec<Node>], options: &Options) -> bool {
    let Some(index) = files.iter().position(|file| file.path == problem.file) else {
        return options.of_a_repository;
    };
    // An object of a cluster is refused as a whole, whatever it is of, and by whoever holds it.
    if files[index].object.is_some() {
        return false;
    }
    let ours = |node: &Node| {
        matches!(
            shape(node),
            DocumentShape::Service
                | DocumentShape::Policy
                | DocumentShape::Resource(_)
                | DocumentShape::Preset
                | DocumentShape::Correction
        )
    };
    let told = trees[index].iter().any(|node| matches!(shape(node), DocumentShape::Foreign(_)))
        || MARKS.iter().any(|mark| files[index].text.contains(mark));
    !trees[index].iter().any(ours) && (told || options.of_a_repository)
}

fn digest(model: &Model, policies: &[Policy]) -> String {
    let resolved = serde_json::to_vec(&(model, policies)).expect("maps have text keys and numbers are finite");
    Sha256::digest(resolved).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The documents of a file; none where it is not YAML.
fn parse(file: &LoadedFile, options: &Options, incomplete: &mut bool, problems: &mut Vec<Problem>) -> Vec<Node> {
    let mut report = Report::new(&file.path, &file.text);
    let parsed = tree::parse(&file.text);
    if let Some(place) = document::helm(&file.text, parsed.is_err()) {
        let what = "this is a template of Helm: what it becomes, only Helm knows";
        let instead = "helm template CHART | slowburn import -, or a file of what Helm prints";
        report.error_at(place, "", Code::Syntax, what).write(instead);
        *incomplete = true;
        problems.append(&mut report.problems);
        return Vec::new();
    }
    let nodes = parsed.unwrap_or_else(|fault| {
        report.error_at(fault.place, "", Code::Syntax, fault.what).instead = fault.instead;
        *incomplete = true;
        Vec::new()
    });
    if nodes.is_empty() && report.problems.is_empty() && options.of_a_repository && !file.named {
        return Vec::new();
    }
    if nodes.is_empty() && report.problems.is_empty() {
        let place = Place { line: 1, column: 1, length: 1 };
        report.error_at(place, "", Code::UnknownShape, "this file has no document").write(EITHER);
    }
    problems.append(&mut report.problems);
    nodes.into_iter().flat_map(document::documents).collect()
}

/// The user's presets: unique over all files.
fn read_presets(
    files: &[LoadedFile],
    trees: &[Vec<Node>],
    documents: &mut Gathered<'_>,
    problems: &mut Vec<Problem>,
) -> Presets {
    let mut presets = Presets::default();
    for (file, nodes) in files.iter().zip(trees) {
        let mut report = Report::new(&file.path, &file.text);
        for node in nodes.iter().filter(|node| matches!(shape(node), DocumentShape::Preset)) {
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
    documents: &mut Gathered<'a>,
    report: &mut Report<'_>,
) {
    for node in nodes {
        report.subject.clear();
        let root = At::root(node);
        match shape(node) {
            DocumentShape::Foreign(format) => documents.foreign.push(import::Document { file: index, node, format }),
            DocumentShape::Service => match service::read(&root, presets, options.resolution, report) {
                Some(found) => documents.services.push((index, found)),
                None => documents.incomplete = true,
            },
            DocumentShape::Correction => {
                let found = correction::read(&root, report);
                documents.corrections.extend(found.into_iter().map(|found| (index, found)));
            }
            DocumentShape::Policy => documents.policies.extend(policy::read(&root, report).map(|found| (index, found))),
            DocumentShape::Resource(kind) => match resource::read(kind, &root, presets, options.resolution, report) {
                Some(resource::Found::Service(found)) => documents.services.push((index, *found)),
                Some(resource::Found::Policy(found)) => documents.policies.push((index, *found)),
                None => documents.incomplete = true,
            },
            DocumentShape::Preset => {}
            DocumentShape::Elsewhere(what) if !file.named => documents.passed_over.push((index, what.to_string())),
            DocumentShape::Unknown(what, _) if !file.named && options.of_a_repository => {
                documents.passed_over.push((index, what));
            }
            DocumentShape::Elsewhere(what) => {
                report.error(&root, Code::UnknownShape, what).write(if what == KUBERNETES {
                    SLO_FILES
                } else {
                    EITHER
                });
            }
            DocumentShape::Unknown(what, instead) => {
                report.error(&root, Code::UnknownShape, what).write(instead);
            }
        }
    }
}

/// Reads what other tools wrote. Their documents name each other: those of all files together, those of an object of a
/// cluster by themselves.
fn read_foreign(
    files: &[LoadedFile],
    options: &Options,
    presets: &Presets,
    documents: &mut Gathered<'_>,
    reports: &mut [Report<'_>],
) -> Vec<Draft> {
    let before: usize = reports.iter().map(Report::errors).sum();
    let mut drafts = Vec::new();
    let together = |a: &import::Document<'_>, b: &import::Document<'_>| files[a.file].object == files[b.file].object;
    for scope in documents.foreign.chunk_by(together) {
        let owner = scope.first().and_then(|first| owner(&files[first.file], options));
        drafts.extend(import::drafts(scope, owner, options, reports));
    }
    let services: Vec<(usize, Option<PlacedService>)> = drafts
        .iter()
        .map(|draft| (draft.file, import::service(draft, presets, options.resolution, &mut reports[draft.file])))
        .collect();
    documents.services.extend(services.into_iter().filter_map(|(file, found)| Some((file, found?))));
    documents.incomplete |= reports.iter().map(Report::errors).sum::<usize>() > before;
    drafts
}
