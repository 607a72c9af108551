//! One SLO of a foreign file as a `service.yaml` of its own: a tree whose nodes have the places of the foreign file.
//!
//! The tree is what `slowburn import` writes and what the ordinary reader reads, so that both mean the same, and every
//! refusal of that reader points into the file that the user has.

use std::collections::BTreeMap;

use super::alerts::Policy;
use super::shape::{Exact, Reading};
use super::template;
use crate::engine::alert::AlertKind;
use crate::spec::duration::TimeSpan;
use crate::spec::origin::Origin;
use crate::spec::problem::Place;
use crate::spec::tree::Node;
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
                by: template::grouping(total),
            },
        }
    }

    /// Reads good and all events, or keeps their queries.
    pub fn good_events(good: &Expr, total: &Expr, reading: &mut Reading) -> Source {
        match reading.good_events(good, total) {
            Ok(exact) => Source::Exact(exact),
            Err(why) => {
                let [good, all] = [good, total].map(|expr| template::foreign(expr, reading.bare));
                Source::Query {
                    bad: format!("({all}) - ({good})"),
                    total: Some(all),
                    why,
                    by: template::grouping(total),
                }
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
                Source::Query { bad, total: None, why, by: template::grouping(expr) }
            }
        }
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
        if !origin.labels.is_empty() {
            fields.push(("labels", texts(&origin.labels, place)));
        }
        Node::map(fields, place)
    }
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
