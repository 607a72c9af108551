//! Recording and alerting rules of an SLO, for those who want Prometheus to watch as well.
//!
//! They say what Slowburn says as far as PromQL can, and the file says where it cannot ([`HEAD`], and a comment at
//! each group). A second pair of eyes, not the same ones: an alert of a rule carries `watcher="prometheus"`, so that it is
//! never taken for the daemon's and its end never ends the daemon's.
//!
//! Deliberately absent: rules that would make Prometheus the source of the daemon's numbers.

mod yaml;

use std::collections::BTreeMap;

use crate::engine::alert::AlertKind;
use crate::engine::duration::exact;
use crate::engine::period::Period;
use crate::engine::severity::{Condition, severity_of};
use crate::engine::{BurnClause, Labels, Slo, Speed, Unit};
use crate::spec::{SloSpec, TimeSpan};

use super::indicator::{self, Asked};

pub use yaml::file;

/// What stands at the top of the file.
pub const HEAD: &str = "\
Made by `slowburn export prometheus`; make it again instead of editing it.

What these rules cannot know, and Slowburn does:
- `rate` and `increase` extrapolate to the ends of their window, do not see the first events of a series that appears
  with them (the first 5xx of a pod), and lose what happened while nothing was scraped.
- A burn of very few events can be chance. There is no guard against it here: at low traffic these alerts page falsely.
- Without data an alert of Prometheus resolves itself. SLODataMissing is all that says so.
- A slow burn fires beside a fast one; inhibit it in Alertmanager.
The error ratio over the whole window reads all samples of that window at each evaluation, so it is asked seldom.";

/// How often the error ratio of the whole window is worked out.
const PERIOD_INTERVAL: &str = "5m";
/// How far back a slice of a histogram looks: two scrapes at least, at the usual intervals.
const SLICE_LOOK: &str = "2m";
const SLICE_LOOK_S: i64 = 120;
/// How long data has to be missing before it is said.
const MISSING_FOR: &str = "10m";

/// Error ratio; its window ends the name.
const RATIO: &str = "slowburn:slo_error_ratio:rate";
/// 1 while a slice is bad.
const SLICE: &str = "slowburn:slo_slice_bad:bool";
/// What is left of the budget.
const REMAINING: &str = "slowburn:slo_error_budget_remaining:ratio";

/// Rules that are evaluated together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Name, unique in the file.
    pub name: String,
    /// How often; the server's own interval where it says nothing.
    pub interval: Option<String>,
    /// Said above it.
    pub comment: String,
    /// The rules, in the order of their evaluation.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it records, or which alert it raises.
    pub what: What,
    /// PromQL.
    pub expr: String,
    /// Labels of what it makes.
    pub labels: BTreeMap<String, String>,
}

/// What a rule makes.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A series of this name.
    Record(String),
    /// An alert.
    Alert {
        /// Its name.
        name: &'static str,
        /// How long it must hold before it fires.
        wait: Option<&'static str>,
        /// Annotations, as templates.
        annotations: BTreeMap<String, String>,
    },
}

/// The rules of one SLO.
///
/// # Errors
/// Why it has none.
pub fn groups(spec: &SloSpec, resolution: TimeSpan) -> Result<Vec<Group>, String> {
    let (slo, source) = (&spec.slo, spec.source.as_ref().map_err(Clone::clone)?);
    let rules = Rules { slo };
    let mut watch = Group {
        name: format!("slowburn-{}", slo.id),
        interval: None,
        comment: format!("{}: {} % over {}.", slo.id, slo.objective, exact(slo.window_s)),
        rules: Vec::new(),
    };
    let slices = rules.slices(spec, resolution, &mut watch)?;
    let mut windows: Vec<i64> = slo.burn.iter().flat_map(|clause| [clause.short_s, clause.long_s]).collect();
    windows.sort_unstable();
    windows.dedup();
    let ratio = |function: &str, window_s: i64| -> Result<String, String> {
        let window = exact(window_s);
        if slices {
            return Ok(format!("avg_over_time({}[{window}])", rules.own(SLICE)));
        }
        Ok(match indicator::ask(source, &slo.by, function, &window)? {
            Asked::Counts { bad, total } => format!("{bad}\n/\n({total} > 0)"),
            Asked::Ratio(ratio) => ratio,
            Asked::Bad(_) => return Err("its values are no events".into()),
        })
    };
    let rolling = matches!(slo.period(), Period::Rolling(_));
    for window_s in windows.iter().filter(|window_s| !rolling || **window_s != slo.window_s) {
        watch.rules.push(rules.record(format!("{RATIO}{}", exact(*window_s)), ratio("rate", *window_s)?));
    }
    let (mut groups, mut budget) = (Vec::new(), None);
    match slo.period() {
        Period::Rolling(_) => {
            let name = format!("{RATIO}{}", exact(slo.window_s));
            let left = format!("1 - {} / {}", rules.own(&name), number(slo.budget()));
            let ratio = ratio("increase", slo.window_s)?;
            groups.push(Group {
                name: format!("slowburn-{}-window", slo.id),
                interval: Some(PERIOD_INTERVAL.to_owned()),
                comment: String::new(),
                rules: vec![rules.record(name, ratio), rules.record(REMAINING.to_owned(), left)],
            });
            let spent = format!("{} <= 0", rules.own(REMAINING));
            budget = rules.alert(AlertKind::Budget, spent, None, &format!("{} has spent its error budget", slo.id));
        }
        Period::Calendar(_) => {
            watch.comment +=
                "\nIts window is one of the calendar, which PromQL cannot follow: there is no budget in these rules.";
        }
    }
    for (speed, kind) in [(Speed::Fast, AlertKind::FastBurn), (Speed::Slow, AlertKind::SlowBurn)] {
        let clauses: Vec<&BurnClause> = slo.burn.iter().filter(|clause| clause.speed == speed).collect();
        if !clauses.is_empty() {
            let text: Vec<&str> = clauses.iter().map(|clause| &*clause.text).collect();
            let summary = format!("{} burns its error budget: {}", slo.id, text.join(" or "));
            watch.rules.extend(rules.alert(kind, rules.burning(&clauses), None, &summary));
        }
    }
    watch.rules.extend(budget);
    let missing = format!("absent({})", indicator::presence(source)?);
    let summary = format!("{} has no data", slo.id);
    watch.rules.extend(rules.alert(AlertKind::DataMissing, missing, Some(MISSING_FOR), &summary));
    watch.comment += &rules.remarks();
    groups.insert(0, watch);
    Ok(groups)
}

struct Rules<'a> {
    slo: &'a Slo,
}

impl Rules<'_> {
    /// Whether the SLO counts slices; then the rule that judges them comes first.
    fn slices(&self, spec: &SloSpec, resolution: TimeSpan, watch: &mut Group) -> Result<bool, String> {
        let source = spec.source.as_ref().map_err(Clone::clone)?;
        let own = self.slo.resolution_s.and_then(TimeSpan::from_seconds);
        let slice = own.unwrap_or(resolution);
        let look = own.filter(|own| own.seconds() > SLICE_LOOK_S).map_or(SLICE_LOOK.into(), |own| own.to_string());
        let asked = indicator::ask(source, &self.slo.by, "rate", &look)?;
        let (expr, about) = match (self.slo.unit, asked) {
            (Unit::QuantileSlices { quantile }, Asked::Counts { bad, total }) => {
                let most = number(1.0 - quantile);
                let about = format!(
                    "\nA slice is bad while over {} % of the events of the last {look} are too slow. Slowburn counts \
                     them slice by slice of {slice},\nand judges a slice of few events by the shortest span that has \
                     enough; here such slices are judged by what there is.",
                    number((1.0 - quantile) * 100.0)
                );
                (format!("{bad}\n/\n({total} > 0)\n> bool {most}"), about)
            }
            (_, Asked::Bad(bad)) if own.is_some() => (
                format!("max_over_time(({bad})[{slice}:{resolution}])"),
                format!("\nThe worst value of each {slice} is one event. A frozen gauge is not found out here."),
            ),
            (_, Asked::Bad(bad)) => {
                (bad, format!("\nOne value is one event, each {resolution}. A frozen gauge is not found out here."))
            }
            _ => return Ok(false),
        };
        watch.interval = Some(slice.to_string());
        watch.comment += &about;
        watch.rules.push(self.record(SLICE.to_owned(), expr));
        Ok(true)
    }

    /// What is said of this SLO beside the head.
    fn remarks(&self) -> String {
        let rules = &self.slo.severity;
        let mut text = String::new();
        if !self.slo.terms.more.is_empty() {
            text += "\nOnly its main window has a budget in these rules.";
        }
        if !self.slo.terms.resets.is_empty() {
            text += "\nResets of its budget are not in these rules.";
        }
        if rules.iter().any(|rule| !rule.when.is_empty()) {
            text += "\nSeverities that depend on labels (`when`) are not in these rules.";
        }
        if rules.iter().any(|rule| matches!(rule.condition, Condition::BudgetBelow(_))) {
            text += "\nLevels of the budget (`budget_below`) are not in these rules: SLOBudget fires when it is spent.";
        }
        if !self.slo.by.is_empty() {
            text += "\nSLODataMissing fires when no series is left, not when one of them is gone.";
        }
        text
    }

    fn identity(&self) -> BTreeMap<String, String> {
        let slo = self.slo;
        [("slo_id", &slo.id), ("service", &slo.service), ("slo", &slo.name)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into()
    }

    /// A recorded series of this SLO.
    fn own(&self, name: &str) -> String {
        format!("{name}{{slo_id={}}}", quoted(&self.slo.id))
    }

    fn record(&self, name: String, expr: String) -> Rule {
        Rule { what: What::Record(name), expr, labels: self.identity() }
    }

    /// Any of the clauses: both of its windows over the factor.
    fn burning(&self, clauses: &[&BurnClause]) -> String {
        let clause = |clause: &&BurnClause| {
            let ratio = number(clause.factor * self.slo.budget());
            let over = |window_s| format!("  {} > {ratio}", self.own(&format!("{RATIO}{}", exact(window_s))));
            format!("(\n{}\n  and\n{}\n)", over(clause.long_s), over(clause.short_s))
        };
        clauses.iter().map(clause).collect::<Vec<_>>().join("\nor\n")
    }

    /// An alert, unless the SLO raises none of its kind.
    fn alert(&self, kind: AlertKind, expr: String, wait: Option<&'static str>, summary: &str) -> Option<Rule> {
        let slo = self.slo;
        if slo.mute.contains(&kind) {
            return None;
        }
        let sev = severity_of(&slo.severity, kind, &Labels::new(), Some(0.0));
        let mut labels = slo.labels.clone();
        labels.extend(self.identity());
        for (name, value) in [
            ("owner", slo.owner.as_str()),
            ("severity", sev.severity()),
            ("sev", &sev.to_string()),
            ("kind", kind.as_str()),
            ("watcher", "prometheus"),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        let mut annotations: BTreeMap<String, String> =
            slo.annotations.iter().map(|(name, text)| (name.clone(), literal(text))).collect();
        annotations.entry("summary".to_owned()).or_insert_with(|| literal(summary));
        labels.values_mut().for_each(|value| *value = literal(value));
        Some(Rule { what: What::Alert { name: kind.alertname(), wait, annotations }, expr, labels })
    }
}

/// Text that a template shows as it is.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// A value between quotes, as PromQL reads it.
fn quoted(value: &str) -> String {
    format!("{value:?}")
}

/// Without the dust of binary fractions: 14.4 × 0.001 is 0.0144.
fn number(value: f64) -> String {
    let rounded = (value * 1e12).round() / 1e12;
    if rounded > 0.0 { rounded.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Options, load_texts};

    #[test]
    fn slices_of_an_slos_own_are_recorded_as_often_and_look_as_far_back() {
        let text = "name: a\nowner: b\nslo:\n  \
                    feature_freshness_max_delay_s: {max: 60, resolution: 5m, sli: {gauge: age_seconds}}\n  \
                    latency_p95_ms: {max: 100, resolution: 5m, sli: {histogram: d_seconds}}\n";
        let daemon = TimeSpan::from_seconds(30).expect("a length");
        let first = |spec: &SloSpec| groups(spec, daemon).expect("it can be written").swap_remove(0);
        let model = load_texts(&[("a.yaml", text)], &Options::default()).model;
        let groups: Vec<Group> = model.slos.iter().map(first).collect();
        assert!(groups.iter().all(|group| group.interval.as_deref() == Some("5m")));
        let [age, p95] = [&groups[0].rules[0].expr, &groups[1].rules[0].expr];
        assert!(age.starts_with("max_over_time((") && age.ends_with(")[5m:30s])"), "{age}");
        assert!(p95.contains("d_seconds_count[5m]") && !p95.contains("[2m]"), "{p95}");
    }
}
