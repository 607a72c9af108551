//! Which requests answer for which SLIs: a model in, a [`Plan`] out.
//!
//! `uses` says which metrics the source of an SLI uses, `threshold` which buckets of a histogram, `merge` makes few
//! requests of them, and `survey` finds out what has to be known before. An SLO whose source cannot be planned gets
//! the reason instead; the others are not touched by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::Slo;
use crate::spec::{Model, SliSource, SloSpec};

use super::promql::request;
use super::samples::key_of_pairs;
use merge::context_of;
use uses::{Sourced, uses_of_source};

mod known;
mod merge;
mod survey;
mod threshold;
mod uses;

pub use super::bucket::{le_spellings, parse_le, same_bound};
pub use super::fetch::{Ask, Between, Fetch, Plan, Role, Sli};
use super::fetch::{Use, Uses};
pub use known::{Known, Survey, is_surveyed};
pub use survey::Probes;

impl Plan {
    /// Plans a model of which nothing else is known. An SLO whose source cannot be planned gets the reason instead, by its
    /// id; the others are not touched by it.
    pub fn new(model: &Model) -> (Self, BTreeMap<String, String>) {
        Plan::surveyed(model, &Survey::default())
    }

    /// Plans a model by what a Prometheus was found to hold of it.
    pub fn surveyed(model: &Model, survey: &Survey) -> (Self, BTreeMap<String, String>) {
        let mut draft = PlanDraft::default();
        for (index, spec) in model.slos.iter().enumerate() {
            draft.add(index, spec, survey);
        }
        let (fetches, uses) = draft.requests();
        for (&sli, reason) in &draft.refused {
            draft.slis[sli].refused = model.slos[sli].source.is_ok().then(|| reason.clone());
        }
        let notes = notes(model, survey, &draft);
        let refused = draft.refused.iter().map(|(&sli, reason)| (draft.slis[sli].id.clone(), reason.clone())).collect();
        (Plan { fetches, slis: draft.slis, notes, uses }, refused)
    }
}

/// A plan in the making.
#[derive(Default)]
struct PlanDraft {
    slis: Vec<Sli>,
    uses: Vec<Use>,
    exprs: BTreeMap<String, Vec<(usize, Role)>>,
    /// SLIs that cannot be asked for, by index, with why.
    refused: BTreeMap<usize, String>,
    /// Patterns that were compiled before.
    patterns: HashMap<String, regex::Regex>,
}

impl PlanDraft {
    fn add(&mut self, index: usize, spec: &SloSpec, survey: &Survey) {
        let chosen = survey.source(spec);
        let source = chosen.as_deref().map_err(|reason| *reason);
        let mut sli = Sli {
            id: spec.slo.id.clone(),
            by: spec.slo.by.clone(),
            set: spec.origin.iter().flat_map(|origin| origin.labels.keys().cloned()).collect(),
            series_max: spec.slo.series_max as usize,
            told: told(&spec.slo),
            target_labels: spec.target_labels.clone(),
            longest_s: spec.slo.longest_s(),
            ..Sli::default()
        };
        let mut counts = spec.digest_of(source);
        let mut counts_before = format!("{source:?} by {:?} on {:?}", spec.slo.by, spec.target_labels);
        let known = survey.of(&spec.slo.id);
        sli.crooked = known.is_some_and(|known| known.crooked.is_some());
        let sourced =
            source.map_err(Clone::clone).and_then(|of| uses_of_source(index, spec.slo.unit, of, known, &mut sli));
        match sourced {
            Ok(Sourced::Uses(mut more)) => {
                more.iter_mut().for_each(|one| one.selector.share(&mut self.patterns));
                self.uses.extend(more);
            }
            Ok(Sourced::Exprs(all)) => {
                all.into_iter().for_each(|(expr, role)| self.exprs.entry(expr).or_default().push((index, role)));
            }
            Err(reason) => drop(self.refused.insert(index, reason)),
        }
        if let Some(between) = &sli.between {
            let [lower, upper, share] = between.key();
            counts += &format!(" between {lower:x} {upper:x} {share:x}");
            counts_before += &format!(" between {between:?}");
        }
        if sli.native {
            counts += " natively";
            counts_before += " natively";
        }
        sli.counts = [counts, counts_before].map(|text| key_of_pairs([("", text.as_str())].into_iter()));
        self.slis.push(sli);
    }

    /// All requests, and the way back from their answers. What is refused on the way is asked for in none of them.
    fn requests(&mut self) -> (Vec<Fetch>, Uses) {
        let mut fetches = Vec::new();
        let mut asks = [Ask::Counter, Ask::Gauge, Ask::Native].into_iter();
        while let Some(ask) = asks.next() {
            let of_ask: Vec<&Use> = self.uses.iter().filter(|u| u.ask() == ask).collect();
            let merged = merge::merge(ask, &of_ask, &self.slis);
            fetches.extend(merged.fetches);
            if !merged.refused.is_empty() {
                // Of an SLI nothing is asked for, or everything: it may have uses of the kinds before, too.
                self.uses.retain(|u| !merged.refused.contains_key(&u.sli));
                self.refused.extend(merged.refused);
                fetches.clear();
                asks = [Ask::Counter, Ask::Gauge, Ask::Native].into_iter();
            }
        }
        fetches.extend(std::mem::take(&mut self.exprs).into_iter().map(|(expr, roles)| {
            let mut slis: Vec<usize> = roles.iter().map(|&(sli, _)| sli).collect();
            slis.dedup();
            Fetch {
                ask: Ask::Gauge,
                expr,
                metric: None,
                keep: Vec::new(),
                keep_undivided: Vec::new(),
                targets: Vec::new(),
                all: None,
                spelled: Vec::new(),
                roles,
                context: context_of(&slis, &self.slis),
                slis,
                le: None,
            }
        }));
        (fetches, Uses::new(std::mem::take(&mut self.uses)))
    }
}

/// Remarks on how the numbers of each SLO come about, and why some have none.
fn notes(model: &Model, survey: &Survey, draft: &PlanDraft) -> BTreeMap<String, Vec<String>> {
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, (sli, spec)) in draft.slis.iter().zip(&model.slos).enumerate() {
        let chosen = survey.source(spec).ok();
        let source = chosen.as_deref();
        let threshold = source.and_then(threshold_of);
        let of = notes.entry(sli.id.clone()).or_default();
        of.extend(draft.refused.get(&index).cloned());
        of.extend(generation(spec, survey));
        of.extend(survey.is_underscored(spec).then(|| UNDERSCORED.to_owned()));
        of.extend(source.and_then(remark));
        of.extend(sli.between.zip(threshold).map(|(between, threshold)| threshold::remark(&between, threshold)));
        of.extend(sli.native.then(|| "reads a native histogram, once a slice".to_owned()));
    }
    notes
}

/// The note of SLOs whose names with colons are not there.
const UNDERSCORED: &str = "reads its metrics under names with `_`: there are none with the colons as written";

/// The label values that severities tell apart.
fn told(slo: &Slo) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in slo.severity.iter().flat_map(|rule| &rule.when) {
        told.entry(name.clone()).or_default().insert(value.clone());
    }
    told
}

/// Which generation of several is read.
fn generation(spec: &SloSpec, survey: &Survey) -> Option<String> {
    let Ok(SliSource::Generations(all)) = &spec.source else { return None };
    let known = survey.of(&spec.slo.id).and_then(|known| all.get(known.generation?));
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    Some(match known {
        Some(one) => {
            format!("of the names that the preset knows ({}) it reads those of {}", names.join(", "), one.name)
        }
        None => format!("no metric was found yet under any of the names that the preset knows ({})", names.join(", ")),
    })
}

/// The threshold of a histogram.
fn threshold_of(source: &SliSource) -> Option<f64> {
    match source {
        SliSource::Histogram { threshold, .. } | SliSource::Queue { threshold, .. } => Some(*threshold),
        _ => None,
    }
}

/// What has to be said of the numbers of a source.
fn remark(source: &SliSource) -> Option<String> {
    let SliSource::Query { bad, total, why } = source else { return None };
    let counted = match total {
        Some(_) => "its rates are taken for events",
        None => "each slice counts alike, however many events it had",
    };
    let ranged = [Some(bad), total.as_ref()].into_iter().flatten().any(|expr| expr.contains(request::SLICE));
    let range = if ranged { ", over the last two and a half minutes (four slices where that is longer)" } else { "" };
    Some(format!("approximate: {why}; the query is used as it is{range}, and {counted}"))
}

#[cfg(test)]
mod tests;
