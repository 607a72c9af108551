//! What only all documents together show of names: each has one owner.
//!
//! Names of services, SLOs, policies and exclusions are unique over all files. In a cluster a namespace owns the rules that are
//! kept in it: a service belongs to the namespace that named it first, files before all, and whoever comes later is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::files::LoadedFile;
use super::gathered::Gathered;
use super::problem::{Code, Place, Problem};
use super::reader::Report;
use super::service::PlacedService;

/// Services, SLO ids and policies are unique over all files. Answers which of the imported services are refused.
pub(crate) fn refuse_duplicates(
    files: &[LoadedFile],
    documents: &Gathered<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeSet<usize> {
    let mut twice = BTreeSet::new();
    let mut names: BTreeMap<&str, (usize, &PlacedService)> = BTreeMap::new();
    let mut ids: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut exclusions: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let mut governed: BTreeMap<&str, (usize, Place)> = BTreeMap::new();
    let at = |file: usize, place: Place| match &files[file].object {
        Some(object) => format!("the {object}"),
        None => format!("{}:{}:{}", files[file].path, place.line, place.column),
    };
    let namespace = |file: usize| files[file].object.as_ref().map(|object| object.namespace.as_str());
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refuse = |file: usize, place: Place, what: String, instead: &str| {
        let mut report = Report::new(&files[file].path, &files[file].text);
        report.error_at(place, "", Code::DuplicateId, what).write(instead);
        problems.append(&mut report.problems);
    };
    let either = "another name, or one of them";
    // Files before all, and objects in their order, whichever tool they are of.
    let mut order: Vec<usize> = (0..documents.services.len()).collect();
    order.sort_by_key(|index| {
        let file = documents.services[*index].0;
        if files[file].object.is_some() { file + 1 } else { 0 }
    });
    for index in order {
        let (file, placed) = &documents.services[index];
        let service = &placed.service;
        let mut refuse = |file: usize, place: Place, what: String, instead: &str| {
            if placed.imported {
                twice.insert(index);
            }
            refuse(file, place, what, instead);
        };
        match names.get(service.name.as_str()) {
            Some((other, first)) if namespace(*other) != namespace(*file) => {
                let first = at(*other, first.place);
                let what = format!("the service {:?} is not of this namespace: {first} has it", service.name);
                refuse(*file, placed.place, what, "another name, one that nobody has");
                continue;
            }
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
            None => {
                names.insert(&service.name, (*file, placed));
                owners.insert(&service.name, *file);
            }
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
        // Who may write in one namespace says nothing of what another one runs. Files are the platform's, and may.
        let owner = owners.get(service.as_str()).filter(|owner| namespace(**owner) != namespace(*file));
        if let Some(owner) = owner.filter(|_| files[*file].object.is_some()) {
            let owner = match &files[*owner].object {
                Some(object) => format!("the {object} has it"),
                None => format!("{} has it", files[*owner].path),
            };
            let what = format!("the service {service:?} is not of this namespace: {owner}");
            refuse(*file, placed.place, what, "a policy beside the service");
            continue;
        }
        if let Some((other, place)) = governed.insert(service, (*file, placed.place)) {
            let what = format!("a policy of the service {service:?} is defined twice, first at {}", at(other, place));
            refuse(*file, placed.place, what, either);
        }
    }
    twice
}
