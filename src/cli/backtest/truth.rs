//! Pages held against incidents that there were.

use serde::Serialize;

use super::events::Label;
use super::lived::Episode;
use crate::engine::alert::AlertKind;

/// A page that begins so soon after an incident is of it: the shortest windows still hold it, seconds.
const AFTER_S: i64 = 1800;

/// What the pages of a policy are worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Truth {
    pub incidents: usize,
    pub found: usize,
    /// Median time from the beginning of an incident to its page, minutes.
    pub delay_min: Option<f64>,
    /// Median share of the budget that had gone by then.
    pub spent: Option<f64>,
    /// Median time from the end of an incident until nothing pages, minutes.
    pub reset_min: Option<f64>,
    /// Pages of the incidents that were found.
    pub pages: usize,
    /// Pages outside of any.
    pub false_pages: usize,
}

impl Truth {
    /// Of pages, where there were these incidents.
    pub fn of(episodes: &[Episode], labels: &[Label]) -> Truth {
        let pages: Vec<&Episode> = episodes.iter().filter(|episode| episode.kind == AlertKind::FastBurn).collect();
        let is_of = |page: &Episode, label: &Label| {
            let meets = page.from < label.to + AFTER_S && page.to.is_none_or(|to| to > label.from);
            meets && label.slo.as_ref().is_none_or(|slo| *slo == page.slo)
        };
        let (mut delays, mut spent, mut resets) = (Vec::new(), Vec::new(), Vec::new());
        let mut truth = Truth { incidents: labels.len(), ..Truth::default() };
        for label in labels {
            let mut of = pages.iter().filter(|page| is_of(page, label)).peekable();
            let Some(first) = of.peek().filter(|page| page.from < label.to) else { continue };
            truth.found += 1;
            delays.push((first.from - label.from).max(0) as f64 / 60.0);
            spent.extend(first.spent);
            let ends: Option<Vec<i64>> = of.map(|page| page.to).collect();
            let last = ends.map(|ends| ends.into_iter().fold(label.to, i64::max));
            resets.extend(last.map(|last| (last - label.to) as f64 / 60.0));
        }
        truth.pages = pages.iter().filter(|page| labels.iter().any(|label| is_of(page, label))).count();
        truth.false_pages = pages.len() - truth.pages;
        Truth { delay_min: median(delays), spent: median(spent), reset_min: median(resets), ..truth }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
