//! SLO files of other tools, read as what they mean here: Sloth, Pyrra, OpenSLO and slo-generator.
//!
//! A foreign document becomes drafts, one for each SLO; a draft is a `service.yaml` whose nodes have the places of the
//! foreign file, and the ordinary reader reads it. So a file that is imported and a file that is loaded as it is mean
//! the same, and what is refused is refused where the user wrote it.
//!
//! One error refuses the load as a whole, as it does for files of our own: an SLO is never half imported.
//! Deliberately absent: writing these formats.

mod alerts;
mod catalog;
mod draft;
mod labels;
mod openslo;
mod plugin;
mod pyrra;
mod shape;
mod slo_generator;
mod sloth;
mod template;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use draft::Draft;
pub use write::{Imported, imported};

use catalog::Catalog;
use template::Mark;

use super::duration::TimeSpan;
use super::options::Options;
use super::preset::Presets;
use super::problem::Code;
use super::reader::{At, Fields, Report};
use super::service::{self, PlacedService};
use super::tree::{Node, Value};
use labels::Label;

/// Which document of another tool a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentFormat {
    /// `version: prometheus/v1`.
    Sloth,
    /// `kind: PrometheusServiceLevel`.
    SlothResource,
    /// `kind: AlertWindows`.
    AlertWindows,
    /// `kind: ServiceLevelObjective` of `pyrra.dev`.
    Pyrra,
    /// Any kind of `openslo/v1`.
    Openslo,
    /// `kind: ServiceLevelObjective` of `sre.google.com`.
    SloGenerator,
    /// The shared configuration of slo-generator, with its error budget policies.
    SloGeneratorConfig,
}

/// A document of another tool.
pub(crate) struct Document<'d> {
    /// Index of its file.
    pub file: usize,
    pub node: &'d Node,
    pub format: DocumentFormat,
}

/// What importing needs to know beside the documents.
pub(crate) struct ImportContext<'c> {
    /// Owner of SLOs whose labels name none.
    pub owner: Option<&'c str>,
    /// Window of SLOs whose files name none.
    pub period: Option<TimeSpan>,
    /// Alerts keep the names that their files give them.
    pub alert_names: bool,
    pub resolution: TimeSpan,
    catalogs: Vec<Catalog>,
}

/// Tells documents of other tools by what is in them; `Err` is one of them that cannot be read, and what to write.
pub(crate) fn format(node: &Node) -> Option<Result<DocumentFormat, (String, &'static str)>> {
    let text = |key: &str| match node.get(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (Some(version), true) = (text("version"), node.get("slos").is_some()) {
        return Some(match version {
            "prometheus/v1" => Ok(DocumentFormat::Sloth),
            other => Err((format!("Sloth's version {other:?} is not known"), "version: prometheus/v1")),
        });
    }
    if node.get("error_budget_policies").is_some() {
        return Some(Ok(DocumentFormat::SloGeneratorConfig));
    }
    if node.get("service").is_some() && node.get("slos").is_some() && node.get("apiVersion").is_none() {
        return Some(Err((
            "this looks like a file of Sloth, and its version is missing".into(),
            "version: prometheus/v1",
        )));
    }
    let kind = text("kind").unwrap_or_default();
    if node.get("apiVersion").is_none() && node.get("spec").is_some() {
        let instead = match kind {
            "PrometheusServiceLevel" | "AlertWindows" => "apiVersion: sloth.slok.dev/v1",
            "ServiceLevelObjective" => "apiVersion: pyrra.dev/v1alpha1, or sre.google.com/v2",
            "SLO" | "SLI" | "AlertPolicy" | "AlertCondition" | "DataSource" => "apiVersion: openslo/v1",
            _ => return None,
        };
        return Some(Err((format!("the apiVersion of this {kind} is missing"), instead)));
    }
    let api = text("apiVersion")?;
    let unknown = |what: String, instead| Some(Err((what, instead)));
    match (api.split('/').next().unwrap_or_default(), kind) {
        ("sloth.slok.dev", "PrometheusServiceLevel") => Some(Ok(DocumentFormat::SlothResource)),
        ("sloth.slok.dev", "AlertWindows") => Some(Ok(DocumentFormat::AlertWindows)),
        ("sloth.slok.dev", _) => {
            unknown(format!("Sloth has no {kind:?} that is read here"), "kind: PrometheusServiceLevel or AlertWindows")
        }
        ("pyrra.dev", "ServiceLevelObjective") => Some(Ok(DocumentFormat::Pyrra)),
        ("pyrra.dev", _) => unknown(format!("Pyrra has no {kind:?}"), "kind: ServiceLevelObjective"),
        ("openslo", _) if api == "openslo/v1" => Some(Ok(DocumentFormat::Openslo)),
        ("openslo" | "openslo.com", _) => unknown(
            format!("{api} is another version of OpenSLO, whose keys differ: only openslo/v1 is read"),
            "apiVersion: openslo/v1, and the keys of that version",
        ),
        ("sre.google.com", "ServiceLevelObjective") if api == "sre.google.com/v2" => {
            Some(Ok(DocumentFormat::SloGenerator))
        }
        ("sre.google.com", _) => unknown(
            format!("{api} {kind:?} of slo-generator is not read"),
            "apiVersion: sre.google.com/v2 and kind: ServiceLevelObjective (slo-generator migrate)",
        ),
        _ => None,
    }
}

/// Drafts of all SLOs of all documents, which may name each other; problems go to the report of their file.
pub(crate) fn drafts(
    documents: &[Document<'_>],
    owner: Option<&str>,
    options: &Options,
    reports: &mut [Report<'_>],
) -> Vec<Draft> {
    let mut cx = ImportContext {
        owner,
        period: options.slo_period,
        alert_names: options.alert_names,
        resolution: options.resolution,
        catalogs: Vec::new(),
    };
    for document in documents.iter().filter(|document| document.format == DocumentFormat::AlertWindows) {
        let report = &mut reports[document.file];
        if let Some(found) = catalog::read(&At::root(document.node), report) {
            if cx.catalogs.iter().any(|earlier| earlier.period_s == found.period_s) {
                let what = "there are two documents of alert windows for this period";
                report.error(&At::root(document.node), Code::DuplicateId, what).write("one of them");
            }
            cx.catalogs.push(found);
        }
    }
    if cx.catalogs.is_empty() {
        cx.catalogs = Catalog::built_in();
    }
    let policies = slo_generator::policies(documents, reports);
    let mut drafts = openslo::read(documents, &cx, reports);
    for document in documents {
        let (root, file) = (At::root(document.node), document.file);
        let report = &mut reports[file];
        match document.format {
            DocumentFormat::Sloth => drafts.extend(sloth::read(&root, false, file, &cx, report)),
            DocumentFormat::SlothResource => drafts.extend(sloth::read(&root, true, file, &cx, report)),
            DocumentFormat::Pyrra => drafts.extend(pyrra::read(&root, file, &cx, report)),
            DocumentFormat::SloGenerator => drafts.extend(slo_generator::read(&root, file, &policies, &cx, report)),
            DocumentFormat::Openslo | DocumentFormat::AlertWindows | DocumentFormat::SloGeneratorConfig => {}
        }
        report.subject.clear();
    }
    drafts = drafts.into_iter().map(Draft::settle).collect();
    drafts.sort_by_key(|draft| (draft.file, draft.name.place.line, draft.name.place.column));
    drafts
}

/// Reads a draft as the service it is.
pub(crate) fn service(
    draft: &Draft,
    presets: &Presets,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) -> Option<PlacedService> {
    let document = draft.document();
    report.context = Some(format!("SLO {}", draft.id()));
    if let Some((what, instead)) = draft.source.it.fault() {
        report.error_at(draft.source.place, "", Code::InvalidSli, what).write(instead);
        report.context = None;
        return None;
    }
    if let Some((what, instead)) = draft.source.it.doubt() {
        report.warn_at(draft.source.place, "", Code::InvalidSli, what).write(instead);
    }
    if let draft::Source::Query { why, .. } = &draft.source.it {
        report.warn_at(
            draft.source.place,
            "",
            Code::InvalidSli,
            format!("approximate: {why}, so the query is used as it is"),
        );
    }
    let found = service::read(&At::root(&document), presets, resolution, report);
    report.context = None;
    report.subject.clear();
    found.filter(|placed| !placed.slos.is_empty()).map(|placed| PlacedService { imported: true, ..placed })
}

impl ImportContext<'_> {
    /// The alert windows of the period that holds for Sloth's files: the given one, that of the only catalog, 30 days.
    fn catalog(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<&Catalog> {
        let month = 30 * 86_400;
        let wanted = match (&self.period, self.catalogs.as_slice()) {
            (Some(period), _) => period.seconds(),
            (None, [only]) => only.period_s,
            (None, _) => month,
        };
        let found = self.catalogs.iter().find(|catalog| catalog.period_s == wanted);
        if found.is_none() {
            let span = |seconds| TimeSpan::from_seconds(seconds).map(|span| span.to_string()).unwrap_or_default();
            let known: Vec<String> = self.catalogs.iter().map(|catalog| span(catalog.period_s)).collect();
            let what =
                format!("there are no alert windows for a period of {}, only for {}", span(wanted), known.join(", "));
            let instead = format!("--slo-period {}, or a document of kind: AlertWindows beside it", known[0]);
            report.error(at, Code::UnknownReference, what).write(instead);
        }
        found
    }
}

/// What a Kubernetes resource says of itself. Keys that are not asked for belong to Kubernetes.
#[derive(Default)]
struct ResourceMetadata {
    name: Option<draft::At<String>>,
    namespace: Option<String>,
    labels: Vec<Label>,
    annotations: Vec<Label>,
}

fn metadata(fields: &mut Fields<'_>, report: &mut Report<'_>) -> ResourceMetadata {
    let Some(mut own) = fields.need(report, "metadata", "{name: checkout}").and_then(|at| at.map(report)) else {
        return ResourceMetadata::default();
    };
    let name = own.need(report, "name", "checkout");
    let name = name.and_then(|at| Some(draft::At { it: super::name::read(&at, report)?, place: at.node.place }));
    let namespace = own.filled("namespace").and_then(|at| at.text(report)).map(str::to_string);
    let mut of = |key| own.filled(key).map(|at| labels::read(&at, report)).unwrap_or_default();
    let (labels, annotations) = (of("labels"), of("annotations"));
    ResourceMetadata { name, namespace, labels, annotations }
}

/// Parses a query of the file, or reports why it cannot be.
fn query(at: &At<'_>, mark: Mark, report: &mut Report<'_>) -> Option<promql_parser::parser::Expr> {
    let text = at.text(report)?;
    match template::parse(text, mark) {
        Ok(expr) => Some(expr),
        Err(fault) => {
            let place = fault.part.map_or(at.node.place, |(from, length)| at.part(from, length, report.source));
            report.error_at(place, &at.path, Code::InvalidSelector, fault.what).instead =
                fault.advice.or(fault.selector);
            None
        }
    }
}
