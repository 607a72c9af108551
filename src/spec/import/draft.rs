//! One SLO of a foreign file as a `service.yaml` of its own: a tree whose nodes have the places of the foreign file.
//!
//! The tree is what `slowburn import` writes and what the ordinary reader reads, so that both mean the same, and every
//! refusal of that reader points into the file that the user has.

use std::collections::BTreeMap;

use super::alerts::Policy;
use super::shape::{BELOW_ZERO, Exact, Reading};
use super::template;
use crate::engine::AlertExtras;
use crate::engine::alert::AlertKind;
use crate::spec::duration::TimeSpan;
use crate::spec::origin::Origin;
use crate::spec::problem::Place;
use crate::spec::selector;
use crate::spec::tree::{Node, Value};
use promql_parser::parser::Expr;

/// Something said at a place of the foreign file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub it: T,
    pub place: Place,
}

/// Over what time the objective holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Window {
    Rolling(TimeSpan),
    /// The `month`, `quarter`, ... that is going on in a zone; `starts` is a weekday or a month.
    Calendar {
        unit: &'static str,
        zone: At<String>,
        starts: Option<String>,
    },
}

impl Window {
    /// Its length in seconds; that of the calendar's as `docs/windows.md` has it.
    pub fn seconds(&self) -> i64 {
        match self {
            Window::Rolling(span) => span.seconds(),
            Window::Calendar { unit: "week", .. } => 7 * 86_400,
            Window::Calendar { unit: "month", .. } => 30 * 86_400,
            Window::Calendar { unit: "quarter", .. } => 90 * 86_400,
            Window::Calendar { .. } => 365 * 86_400,
        }
    }

    fn node(&self, place: Place) -> Node {
        match self {
            Window::Rolling(span) => Node::text(&span.to_string(), place),
            Window::Calendar { unit, zone, starts } => {
                let mut fields =
                    vec![("calendar", Node::text(unit, place)), ("time_zone", Node::text(&zone.it, zone.place))];
                fields.extend(starts.as_ref().map(|starts| ("starts", Node::text(starts, place))));
                Node::map(fields, place)
            }
        }
    }
}

/// Where the events come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// Two counters, or a histogram.
    Exact(Exact),
    /// A slice is bad when more than `1 - quantile` of its events are.
    Slices { exact: Exact, quantile: f64 },
    /// A value a slice; `max`, else `min`.
    Gauge { expr: String, max: bool, bound: f64, by: Vec<String> },
    /// A query as it is.
    Query { bad: String, total: Option<String>, why: String, by: Vec<String> },
}

impl Source {
    /// Reads bad and all events, or keeps their queries.
    pub fn events(bad: &Expr, total: &Expr, reading: &mut Reading) -> Source {
        match reading.events(bad, total) {
            Ok(exact) => Source::Exact(exact),
            Err(why) => Source::Query {
                bad: template::foreign(bad, reading.bare),
                total: Some(template::foreign(total, reading.bare)),
                why,
                by: template::fan_out(&[bad, total]),
            },
        }
    }

    /// Reads good and all events, or keeps their queries.
    pub fn good_events(good: &Expr, total: &Expr, reading: &mut Reading) -> Source {
        match reading.good_events(good, total) {
            Ok(exact) => Source::Exact(exact),
            Err(why) => {
                let by = template::fan_out(&[good, total]);
                let [good, all] = [good, total].map(|expr| template::foreign(expr, reading.bare));
                Source::Query { bad: format!("({all}) - ({good})"), total: Some(all), why, by }
            }
        }
    }

    /// Reads a ratio of bad or good events, or keeps its query.
    pub fn ratio(expr: &Expr, of_good: bool, reading: &mut Reading) -> Source {
        match reading.ratio(expr, of_good) {
            Ok(exact) => Source::Exact(exact),
            Err(why) => {
                let text = template::foreign(expr, reading.bare);
                let bad = if of_good { format!("1 - ({text})") } else { text };
                Source::Query { bad, total: None, why, by: template::fan_out(&[expr]) }
            }
        }
    }

    fn by_mut(&mut self) -> Vec<&mut Vec<String>> {
        match self {
            Source::Exact(exact) | Source::Slices { exact, .. } => match exact {
                Exact::Bad { total, bad: part } | Exact::Good { total, good: part } => {
                    vec![&mut total.by, &mut part.by]
                }
                Exact::Histogram { by, .. } => vec![by],
            },
            Source::Gauge { by, .. } | Source::Query { by, .. } => vec![by],
        }
    }

    /// What is wrong with counting so, where that can be seen without a server: what, and what to write.
    pub fn fault(&self) -> Option<(String, String)> {
        if let Source::Query { why, .. } = self
            && why == BELOW_ZERO
        {
            let what = format!("the errors are negative: {why}");
            return Some((what, "the total minus the good events, the total first".into()));
        }
        let Source::Exact(Exact::Bad { total, bad: part } | Exact::Good { total, good: part }) = self else {
            return None;
        };
        let word = if matches!(self, Source::Exact(Exact::Bad { .. })) { "errors" } else { "good events" };
        selector::contains(&part.selector, &total.selector).then(|| {
            let what = format!("the {word} hold every event of the total and more: the two queries are swapped");
            (what, format!("{} as the total, and {} as the {word}", part.selector, total.selector))
        })
    }

    /// What looks wrong with it, and need not be.
    pub fn doubt(&self) -> Option<(String, &'static str)> {
        let Source::Exact(Exact::Bad { bad, total }) = self else { return None };
        let name = bad.selector.name.as_deref().unwrap_or_default();
        if name.ends_with("_bucket") && !total.selector.name.as_deref().unwrap_or_default().ends_with("_bucket") {
            let what = "the errors are the events within a bucket, which are the fast ones".to_string();
            return Some((what, "the total minus the bucket as errors"));
        }
        let words = ["success", "successes", "successful", "succeeded", "ok", "good"];
        let says = name.split(['_', ':']).any(|word| words.contains(&word));
        says.then(|| {
            (format!("the errors are counted by {name}, which sounds like successes"), "the total minus it as errors")
        })
    }

    pub fn by(&self) -> &[String] {
        match self {
            Source::Exact(exact) | Source::Slices { exact, .. } => match exact {
                Exact::Bad { total, .. } | Exact::Good { total, .. } => &total.by,
                Exact::Histogram { by, .. } => by,
            },
            Source::Gauge { by, .. } | Source::Query { by, .. } => by,
        }
    }
}

/// One SLO, drafted.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// Index of its file.
    pub file: usize,
    pub service: At<String>,
    pub owner: At<String>,
    pub name: At<String>,
    /// Percent.
    pub objective: At<f64>,
    /// `None` for the default.
    pub window: Option<At<Window>>,
    pub source: At<Source>,
    pub policy: At<Policy>,
    pub mute: Vec<AlertKind>,
    pub labels: BTreeMap<String, String>,
    /// What alerts of one kind carry beside.
    pub alerts: BTreeMap<AlertKind, AlertExtras>,
    pub annotations: BTreeMap<String, String>,
    pub description: Option<String>,
    pub origin: Origin,
    /// What was changed on the way, without changing what is meant.
    pub notes: Vec<String>,
}

impl Draft {
    pub fn id(&self) -> String {
        format!("{}-{}", self.service.it, self.name.it)
    }

    /// Settles labels that the file sets and the queries group by. A label of the series of the SLO wins, as in
    /// Prometheus: two series that differ in it alone would be one, and refused. A label of its alerts gives way, for
    /// there the series are two, and each must page.
    pub fn settle(mut self) -> Draft {
        for name in self.source.it.by().to_vec() {
            let on_series = self.origin.labels.contains_key(&name) && self.labels.contains_key(&name);
            if on_series {
                self.source.it.by_mut().into_iter().for_each(|by| by.retain(|own| *own != name));
                self.notes.push(format!(
                    "the label {name:?} is set by the file and grouped by in the query: as in Prometheus, the one of the \
                     file wins, and series that differ in it alone are one"
                ));
                continue;
            }
            let mut removed = self.labels.remove(&name).is_some();
            for extras in self.alerts.values_mut() {
                removed |= extras.labels.remove(&name).is_some();
            }
            if removed {
                self.notes.push(format!(
                    "the label {name:?} of its alerts is left out: the query groups by it, and each series alerts by itself"
                ));
            }
        }
        self
    }

    /// What to say of it: that it is approximate, and what was changed.
    pub fn remarks(&self) -> Vec<String> {
        let why = match &self.source.it {
            Source::Query { why, .. } => Some(format!("approximate: {why}")),
            _ => None,
        };
        why.into_iter().chain(self.notes.iter().cloned()).collect()
    }

    /// The document of a service with this one SLO.
    pub fn document(&self) -> Node {
        let place = self.service.place;
        let slos = Node::list([self.entry()], self.name.place);
        Node::map(
            [
                ("name", Node::text(&self.service.it, place)),
                ("owner", Node::text(&self.owner.it, self.owner.place)),
                ("slo", Node::map([("custom", slos)], place)),
            ],
            place,
        )
    }

    /// The entry of `custom:`.
    pub fn entry(&self) -> Node {
        let place = self.name.place;
        let mut entry = vec![
            ("name", Node::text(&self.name.it, place)),
            ("objective", Node::number(self.objective.it, self.objective.place)),
        ];
        if let Some(window) = &self.window {
            entry.push(("window", window.it.node(window.place)));
        }
        if let Some(description) = &self.description {
            entry.push(("description", Node::text(description, place)));
        }
        entry.push(self.source_entry());
        let by = self.source.it.by();
        if !by.is_empty() {
            entry.push((
                "by",
                Node::list(by.iter().map(|label| Node::text(label, self.source.place)), self.source.place),
            ));
        }
        entry.extend(self.policy.it.entries(self.policy.place));
        let extras = self.alerts.iter().map(|(kind, extras)| (kind.as_str(), extras_entry(extras, place)));
        let extras: Vec<_> = extras.filter(|(_, node)| node.value != Value::Map(Vec::new())).collect();
        if !extras.is_empty() {
            entry.push(("alerts", Node::map(extras, place)));
        }
        if !self.mute.is_empty() {
            entry.push(("mute", Node::list(self.mute.iter().map(|kind| Node::text(kind.as_str(), place)), place)));
        }
        for (key, labels) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !labels.is_empty() {
                entry.push((key, texts(labels, place)));
            }
        }
        entry.push(("origin", self.origin_entry(place)));
        Node::map(entry, place)
    }

    fn source_entry(&self) -> (&'static str, Node) {
        let place = self.source.place;
        let (key, fields) = match &self.source.it {
            Source::Exact(exact) => ("events", counted(exact, place)),
            Source::Slices { exact, quantile } => {
                let mut fields = counted(exact, place);
                fields.push(("quantile", Node::number(*quantile, place)));
                ("slices", fields)
            }
            Source::Gauge { expr, max, bound, .. } => {
                let key = if *max { "max" } else { "min" };
                ("slices", vec![("query", Node::text(expr, place)), (key, Node::number(*bound, place))])
            }
            Source::Query { bad, total: Some(total), why, .. } => (
                "query",
                vec![
                    ("bad", Node::text(bad, place)),
                    ("total", Node::text(total, place)),
                    ("why", Node::text(why, place)),
                ],
            ),
            Source::Query { bad, total: None, why, .. } => {
                ("query", vec![("ratio", Node::text(bad, place)), ("why", Node::text(why, place))])
            }
        };
        (key, Node::map(fields, place))
    }

    fn origin_entry(&self, place: Place) -> Node {
        let origin = &self.origin;
        let mut fields = vec![("format", Node::text(origin.format.as_str(), place))];
        for (key, value) in [("service", &origin.service), ("namespace", &origin.namespace)] {
            if let Some(value) = value {
                fields.push((key, Node::text(value, place)));
            }
        }
        fields.push(("slo", Node::text(&origin.slo, place)));
        fields.extend(origin.alert.as_ref().map(|alert| ("alert", Node::text(alert, place))));
        if !origin.labels.is_empty() {
            fields.push(("labels", texts(&origin.labels, place)));
        }
        Node::map(fields, place)
    }
}

fn extras_entry(extras: &AlertExtras, place: Place) -> Node {
    let mut fields = Vec::new();
    fields.extend(extras.name.as_ref().map(|name| ("name", Node::text(name, place))));
    for (key, labels) in [("labels", &extras.labels), ("annotations", &extras.annotations)] {
        if !labels.is_empty() {
            fields.push((key, texts(labels, place)));
        }
    }
    Node::map(fields, place)
}

fn counted(exact: &Exact, place: Place) -> Vec<(&'static str, Node)> {
    match exact {
        Exact::Bad { total, bad } => {
            vec![
                ("total", Node::text(&total.selector.to_string(), place)),
                ("bad", Node::text(&bad.selector.to_string(), place)),
            ]
        }
        Exact::Good { total, good } => {
            vec![
                ("total", Node::text(&total.selector.to_string(), place)),
                ("good", Node::text(&good.selector.to_string(), place)),
            ]
        }
        Exact::Histogram { selector, le, .. } => {
            vec![("histogram", Node::text(&selector.to_string(), place)), ("max", Node::number(*le, place))]
        }
    }
}

fn texts(labels: &BTreeMap<String, String>, place: Place) -> Node {
    Node::map(labels.iter().map(|(key, value)| (key.as_str(), Node::text(value, place))), place)
}
