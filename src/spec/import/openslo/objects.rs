//! All objects of all documents, by kind and name.

use std::collections::BTreeMap;

use crate::spec::import::draft::At;
use crate::spec::import::labels::Label;
use crate::spec::import::{Document, DocumentFormat};
use crate::spec::problem::Code;
use crate::spec::reader::{At as Node, Fields, Report};

/// A kind of OpenSLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Slo,
    Sli,
    Service,
    DataSource,
    AlertPolicy,
    AlertCondition,
    AlertNotificationTarget,
}

impl Kind {
    const ALL: [(&'static str, Kind); 7] = [
        ("SLO", Kind::Slo),
        ("SLI", Kind::Sli),
        ("Service", Kind::Service),
        ("DataSource", Kind::DataSource),
        ("AlertPolicy", Kind::AlertPolicy),
        ("AlertCondition", Kind::AlertCondition),
        ("AlertNotificationTarget", Kind::AlertNotificationTarget),
    ];

    pub fn as_str(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| *word)
    }
}

/// One object.
pub(crate) struct OpenSloObject<'d> {
    pub file: usize,
    pub name: At<String>,
    pub labels: Vec<Label>,
    pub annotations: Vec<Label>,
    spec: Option<Node<'d>>,
}

impl<'d> OpenSloObject<'d> {
    /// The keys of its `spec`.
    pub fn spec(&self, report: &mut Report<'_>) -> Option<Fields<'d>> {
        self.spec.as_ref()?.map(report)
    }
}

/// All objects.
pub(crate) struct Objects<'d>(BTreeMap<(Kind, String), OpenSloObject<'d>>);

impl<'d> Objects<'d> {
    /// Reads the frame of every document; two of one kind and name are refused.
    pub fn of(documents: &[Document<'d>], reports: &mut [Report<'_>]) -> Self {
        let mut all = BTreeMap::new();
        for document in documents.iter().filter(|document| document.format == DocumentFormat::Openslo) {
            let report = &mut reports[document.file];
            let Some((kind, object)) = frame(document, report) else { continue };
            match all.get(&(kind, object.name.it.clone())) {
                None => drop(all.insert((kind, object.name.it.clone()), object)),
                Some(earlier) => {
                    let OpenSloObject { name, file, .. } = earlier;
                    let (first, line) = (reports[*file].file, name.place.line);
                    let what = format!("the {} {:?} is defined twice, first at {first}:{line}", kind.as_str(), name.it);
                    let report = &mut reports[document.file];
                    report
                        .error_at(object.name.place, "", Code::DuplicateId, what)
                        .write("another name, or one of them");
                }
            }
        }
        Objects(all)
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &OpenSloObject<'d>> {
        self.0.iter().filter(move |((own, _), _)| *own == kind).map(|(_, object)| object)
    }

    pub fn find(&self, kind: Kind, name: &str) -> Option<&OpenSloObject<'d>> {
        self.0.get(&(kind, name.to_string()))
    }

    pub fn names(&self, kind: Kind) -> Vec<&str> {
        self.of_kind(kind).map(|object| object.name.it.as_str()).collect()
    }

    /// Another kind that has an object of this name.
    pub fn other_kind(&self, name: &str) -> Option<Kind> {
        self.0.keys().find(|(_, own)| own == name).map(|(kind, _)| *kind)
    }
}

fn frame<'d>(document: &Document<'d>, report: &mut Report<'_>) -> Option<(Kind, OpenSloObject<'d>)> {
    let root = Node::root(document.node);
    let mut fields = root.map(report)?;
    fields.filled("apiVersion");
    let kind = fields.need(report, "kind", "SLO").and_then(|at| at.choice(report, &Kind::ALL));
    let metadata = fields.need(report, "metadata", "{name: checkout-availability}");
    let mut metadata = metadata.and_then(|at| at.map(report));
    let spec = fields.need(report, "spec", "{...}");
    fields.finish(report);
    let own = metadata.as_mut()?;
    let name_at = own.need(report, "name", "checkout-availability");
    own.filled("displayName");
    let mut labels = |key| own.filled(key).map(|at| super::labels::read(&at, report)).unwrap_or_default();
    let (labels, annotations) = (labels("labels"), labels("annotations"));
    if let Some(own) = metadata {
        own.finish(report);
    }
    let name_at = name_at?;
    let name = crate::spec::name::read(&name_at, report)?;
    let fits = name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !fits {
        // The specification's own examples break its rule.
        let what = format!("{name:?} is no name of OpenSLO: small letters, digits and `-`, at most 63 (RFC 1123)");
        let guess: String =
            name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
        report.warn(&name_at, Code::InvalidName, what).write(format!("name: {}", guess.trim_matches('-')));
    }
    let name = At { it: name, place: name_at.node.place };
    Some((kind?, OpenSloObject { file: document.file, name, labels, annotations, spec }))
}
