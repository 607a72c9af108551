//! What changes for an Alertmanager when the alerts of Sloth or Pyrra become those of Slowburn: which routes, receivers and
//! inhibitions of its configuration match before and after, by its own matchers.
//!
//! Silences, as `amtool silence query -o json` or the API gives them, are held against the same labels.
//!
//! Only labels that the files set are known here; those of series are the same before and after.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::alert::AlertKind;
use crate::engine::matcher::Matcher;
use crate::engine::severity::severity_of;
use crate::engine::{Labels, Slo};
use crate::spec::tree::{self, Node, Value};
use crate::spec::{OriginFormat, SloSpec};

/// A label set as far as it is known.
type Known = BTreeMap<String, String>;

/// One alert before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// `checkout-errors page`.
    pub alert: String,
    /// Receivers that get it today, by the lines of their routes.
    pub before: Vec<String>,
    /// Receivers that get Slowburn's.
    pub after: Vec<String>,
    /// Inhibitions (by line) it takes part in today and will not, and the other way round.
    pub inhibitions: Vec<String>,
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub struct Cutover {
    /// Alerts that go elsewhere, or are inhibited otherwise.
    pub moved: Vec<Moved>,
    /// How many alerts were looked at.
    pub alerts: usize,
    /// Routes, by line, that match some of these alerts today and none after.
    pub lost_routes: Vec<String>,
}

/// A silence, and how many of these alerts it keeps quiet.
#[derive(Debug, PartialEq)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// What people wrote to it.
    pub comment: String,
    /// Alerts it matches today.
    pub before: usize,
    /// Those of them that it does not match after.
    pub lost: Vec<String>,
    /// Alerts it matches only after.
    pub gained: Vec<String>,
}

/// Most silences that are read.
const SILENCES_MAX: usize = 10_000;

/// Which silences of a list in JSON match other alerts afterwards. Expired ones are left out.
///
/// # Errors
/// What is wrong with the list.
pub fn silences(slos: &[SloSpec], json: &str) -> Result<Vec<Silence>, String> {
    let all: serde_json::Value = serde_json::from_str(json).map_err(|error| format!("no JSON: {error}"))?;
    let all = all.as_array().ok_or("a list of silences is expected, as `amtool silence query -o json` prints it")?;
    if all.len() > SILENCES_MAX {
        return Err(format!("over {SILENCES_MAX} silences"));
    }
    let mut found = Vec::new();
    for one in all.iter().filter(|one| one["status"]["state"] != "expired") {
        let matchers = one["matchers"].as_array().ok_or("a silence has no list of matchers")?;
        let matchers = matchers.iter().map(|of| {
            let text = |key: &str| of[key].as_str().ok_or_else(|| format!("a matcher has no {key}"));
            let (equal, regex) = (of["isEqual"].as_bool().unwrap_or(true), of["isRegex"].as_bool().unwrap_or(false));
            Matcher::of_flags(text("name")?, text("value")?, equal, regex)
        });
        let matchers = matchers.collect::<Result<Vec<_>, String>>()?;
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let mut silence =
            Silence { id: text("id"), comment: text("comment"), before: 0, lost: Vec::new(), gained: Vec::new() };
        for Sent { alert, before, after } in sent(slos) {
            // A label that neither has is one of a series, and the same on both.
            let of_files = |matcher: &&Matcher| before.contains_key(&matcher.name) || after.contains_key(&matcher.name);
            let fits = |labels: &Known| matchers.iter().filter(of_files).all(|matcher| matcher.fits(labels));
            // One that names nothing of these alerts is about others.
            if !matchers.iter().any(|matcher| of_files(&matcher)) {
                continue;
            }
            silence.before += usize::from(fits(&before));
            match (fits(&before), fits(&after)) {
                (true, false) => silence.lost.push(alert),
                (false, true) => silence.gained.push(alert),
                _ => {}
            }
        }
        found.push(silence);
    }
    Ok(found)
}

/// An alert that goes out of a file, with its labels of today and afterwards.
struct Sent {
    alert: String,
    before: Known,
    after: Known,
}

/// The pages and tickets of these SLOs.
fn sent(slos: &[SloSpec]) -> impl Iterator<Item = Sent> {
    use crate::engine::Speed;
    let kinds = [(AlertKind::FastBurn, Speed::Fast, "page"), (AlertKind::SlowBurn, Speed::Slow, "ticket")];
    slos.iter().filter(|spec| spec.origin.is_some()).flat_map(move |spec| {
        let goes_out = move |(kind, speed, _): &(AlertKind, Speed, &str)| {
            !spec.slo.mute.contains(kind) && spec.slo.burn.iter().any(|clause| clause.speed == *speed)
        };
        kinds.into_iter().filter(goes_out).map(move |(kind, _, word)| Sent {
            alert: format!("{} {word}", spec.slo.id),
            before: labels_before(spec, kind),
            after: labels_after(&spec.slo, kind),
        })
    })
}

/// Compares, for these SLOs, the receivers of an Alertmanager's configuration.
///
/// # Errors
/// What is wrong with the configuration.
pub fn compare(slos: &[SloSpec], config: &str) -> Result<Cutover, String> {
    let config = Config::parse(config)?;
    let mut found = Cutover::default();
    let (mut used_before, mut used_after) = (BTreeSet::new(), BTreeSet::new());
    for Sent { alert, before, after } in sent(slos) {
        found.alerts += 1;
        let [to_before, to_after] = [(&before, &mut used_before), (&after, &mut used_after)].map(|(labels, used)| {
            let mut receivers = Vec::new();
            config.route.receivers(labels, "", used, &mut receivers);
            receivers
        });
        let inhibitions = config.inhibitions(&before, &after);
        if to_before != to_after || !inhibitions.is_empty() {
            found.moved.push(Moved { alert, before: to_before, after: to_after, inhibitions });
        }
    }
    found.lost_routes = used_before.difference(&used_after).map(|line: &usize| format!("line {line}")).collect();
    Ok(found)
}

/// What the other tool's alert carries, as far as its file says.
fn labels_before(spec: &SloSpec, kind: AlertKind) -> Known {
    let mut labels: Known = spec.slo.labels.clone();
    if let Some(origin) = &spec.origin {
        labels.extend(origin.labels.clone());
        if origin.format == OriginFormat::Pyrra {
            let usual = if kind == AlertKind::FastBurn { "critical" } else { "warning" };
            labels.extend(
                [("slo", origin.slo.as_str()), ("severity", usual)].map(|(a, b)| (a.to_string(), b.to_string())),
            );
        }
        labels.extend(origin.alert.iter().map(|name| ("alertname".to_string(), name.clone())));
    }
    labels.extend(spec.slo.alerts.get(&kind).map(|extras| extras.labels.clone()).unwrap_or_default());
    labels
}

/// What Slowburn's alert carries.
fn labels_after(slo: &Slo, kind: AlertKind) -> Known {
    let sev = severity_of(&slo.severity, kind, &Labels::new(), None);
    let extras = slo.alerts.get(&kind);
    let mut labels: Known = slo.labels.clone();
    labels.extend(extras.map(|extras| extras.labels.clone()).unwrap_or_default());
    let name = extras.and_then(|extras| extras.name.clone()).unwrap_or_else(|| kind.alertname().to_string());
    let said = labels.get("severity").cloned();
    let own = [
        ("alertname", name),
        ("service", slo.service.clone()),
        ("slo", slo.name.clone()),
        ("slo_id", slo.id.clone()),
        ("owner", slo.owner.clone()),
        ("severity", said.unwrap_or_else(|| sev.severity().to_string())),
        ("sev", sev.to_string()),
        ("kind", kind.as_str().to_string()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_string(), value)));
    labels
}

struct Config {
    route: Route,
    inhibit: Vec<Inhibit>,
}

struct Route {
    line: usize,
    receiver: Option<String>,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Route>,
}

struct Inhibit {
    line: usize,
    source: Vec<Matcher>,
    target: Vec<Matcher>,
}

impl Config {
    fn parse(text: &str) -> Result<Self, String> {
        let documents = tree::parse(text).map_err(|fault| format!("line {}: {}", fault.place.line, fault.what))?;
        let root = documents.first().ok_or("it is empty")?;
        let route = root.get("route").ok_or("it has no `route`: is it a configuration of Alertmanager?")?;
        let rules = list(root.get("inhibit_rules"));
        let inhibit = |node: &&Node| {
            let source = matchers(node, ["source_match", "source_match_re", "source_matchers"])?;
            let target = matchers(node, ["target_match", "target_match_re", "target_matchers"])?;
            Ok(Inhibit { line: node.place.line, source, target })
        };
        let inhibit = rules.iter().map(inhibit).collect::<Result<_, String>>()?;
        Ok(Config { route: Route::read(route, 0)?, inhibit })
    }

    /// Rules that an alert is a source or a target of on one side alone.
    fn inhibitions(&self, before: &Known, after: &Known) -> Vec<String> {
        let all = |matchers: &[Matcher], labels: &Known| matchers.iter().all(|matcher| matcher.fits(labels));
        let mut found = Vec::new();
        for rule in &self.inhibit {
            for (matchers, part) in [(&rule.source, "inhibits others"), (&rule.target, "is inhibited")] {
                match (all(matchers, before), all(matchers, after)) {
                    (true, false) => found.push(format!("line {}: {part} no more", rule.line)),
                    (false, true) => found.push(format!("line {}: {part} now", rule.line)),
                    _ => {}
                }
            }
        }
        found
    }
}

/// Deepest nesting of routes that is followed.
const DEPTH_MAX: usize = 30;

impl Route {
    fn read(node: &Node, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("line {}: routes nested over {DEPTH_MAX} deep", node.place.line));
        }
        let routes = list(node.get("routes"));
        Ok(Route {
            line: node.place.line,
            receiver: text(node.get("receiver")),
            matchers: matchers(node, ["match", "match_re", "matchers"])?,
            goes_on: matches!(node.get("continue").map(|node| &node.value), Some(Value::Bool(true))),
            routes: routes.into_iter().map(|node| Route::read(node, depth + 1)).collect::<Result<_, _>>()?,
        })
    }

    /// The receivers of an alert, as Alertmanager walks its tree: the deepest routes that match, the first one unless it
    /// says `continue`.
    fn receivers(&self, labels: &Known, above: &str, used: &mut BTreeSet<usize>, out: &mut Vec<String>) -> bool {
        if !self.matchers.iter().all(|matcher| matcher.fits(labels)) {
            return false;
        }
        let own = self.receiver.as_deref().unwrap_or(above);
        used.insert(self.line);
        let mut deeper = false;
        for route in &self.routes {
            if route.receivers(labels, own, used, out) {
                deeper = true;
                if !route.goes_on {
                    break;
                }
            }
        }
        if !deeper && !out.iter().any(|known| known == own) {
            out.push(own.to_string());
        }
        true
    }
}

fn list(node: Option<&Node>) -> Vec<&Node> {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items.iter().collect(),
        _ => Vec::new(),
    }
}

fn text(node: Option<&Node>) -> Option<String> {
    match node.map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(format!("{number}")),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        _ => None,
    }
}

/// The matchers of a node in their three forms: `match: {a: b}`, `match_re: {a: b}`, `matchers: ['a="b"']`.
fn matchers(node: &Node, [plain, patterns, texts]: [&str; 3]) -> Result<Vec<Matcher>, String> {
    let mut all = Vec::new();
    for (key, op) in [(plain, "="), (patterns, "=~")] {
        if let Some(Value::Map(entries)) = node.get(key).map(|node| &node.value) {
            for (name, value) in entries {
                all.push(Matcher::new(&name.name, op, &text(Some(value)).unwrap_or_default())?);
            }
        }
    }
    let written = match node.get(texts).map(|node| &node.value) {
        Some(Value::Text(one)) => vec![one.clone()],
        Some(Value::List(items)) => items.iter().filter_map(|item| text(Some(item))).collect(),
        _ => Vec::new(),
    };
    for one in &written {
        let inner = one.trim().trim_start_matches('{').trim_end_matches('}');
        for part in parts(inner) {
            let fault = || format!("line {}: {part:?} is no matcher", node.place.line);
            let at = part.find(['=', '!']).ok_or_else(fault)?;
            let (name, rest) = part.split_at(at);
            let op = ["=~", "!~", "!=", "="].into_iter().find(|op| rest.starts_with(op)).ok_or_else(fault)?;
            let value = rest[op.len()..].trim();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            all.push(Matcher::new(name.trim().trim_matches('"'), op, &value.replace("\\\"", "\""))?);
        }
    }
    Ok(all)
}

/// Matchers apart at commas, but not at those in quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut all, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                all.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    all.push(text[from..].trim());
    all.retain(|part| !part.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Options, load_texts};

    const FILE: &str = "version: prometheus/v1\nservice: pay\nlabels: {owner: a, tier: gold}\nslos:\n  - name: errors\n    objective: 99\n    \
        sli: {events: {error_query: 'sum(rate(e_total[{{.window}}]))', total_query: 'sum(rate(t_total[{{.window}}]))'}}\n    alerting:\n      \
        name: PayErrors\n      page_alert: {labels: {severity: pageteam, routing_key: pay}}\n      ticket_alert: {labels: {severity: slack}}\n";
    const CONFIG: &str = "route:\n  receiver: default\n  routes:\n    - matchers: ['severity=\"pageteam\"', 'tier=~\"gold|silver\"']\n      receiver: \
        pager\n    - match: {alertname: PayErrors}\n      receiver: chat\n    - matchers: ['{sloth_severity=\"ticket\",routing_key!=\"pay\"}']\n      \
        receiver: tickets\ninhibit_rules:\n  - source_matchers: [alertname=PayErrors, sloth_severity=page]\n    target_matchers: [sloth_severity=ticket]\n";

    fn moved(alert_names: bool) -> Cutover {
        let options = Options { alert_names, ..Options::default() };
        let loaded = load_texts(&[("a.yaml", FILE)], &options);
        assert!(!loaded.is_fatal(), "{}", loaded.render(false));
        compare(&loaded.model.slos, CONFIG).expect("a configuration")
    }

    #[test]
    fn routes_by_labels_go_on_and_those_by_the_name_of_an_alert_are_found() {
        let found = moved(false);
        assert_eq!(found.alerts, 2);
        let shown: Vec<String> = found
            .moved
            .iter()
            .map(|one| format!("{} {:?} {:?} {:?}", one.alert, one.before, one.after, one.inhibitions))
            .collect();
        assert_eq!(
            shown,
            [
                "pay-errors page [\"pager\"] [\"pager\"] [\"line 11: inhibits others no more\"]",
                "pay-errors ticket [\"chat\"] [\"tickets\"] []",
            ]
        );
        assert_eq!(found.lost_routes, ["line 6"]);
    }

    #[test]
    fn with_the_names_of_the_file_nothing_moves() {
        let found = moved(true);
        assert_eq!((found.moved, found.lost_routes), (vec![], vec![]));
    }

    #[test]
    fn a_silence_that_matches_by_the_name_of_an_alert_is_lost_and_one_by_its_labels_stays() {
        let list = r#"[
            {"id": "1", "comment": "by name", "status": {"state": "active"}, "matchers": [{"name": "alertname", "value": "PayErrors", "isRegex": false}]},
            {"id": "2", "status": {"state": "pending"}, "matchers": [{"name": "tier", "value": "go.*", "isRegex": true, "isEqual": true}, {"name": "pod", "value": "a", "isRegex": false}]},
            {"id": "3", "status": {"state": "expired"}, "matchers": []},
            {"id": "4", "matchers": [{"name": "kind", "value": "fast_burn", "isRegex": false}]},
            {"id": "5", "matchers": [{"name": "pod", "value": "a", "isRegex": false}]}]"#;
        let of = |alert_names: bool| {
            let options = Options { alert_names, ..Options::default() };
            silences(&load_texts(&[("a.yaml", FILE)], &options).model.slos, list).expect("a list")
        };
        let counts = |all: &[Silence]| -> Vec<(String, usize, usize, usize)> {
            all.iter().map(|one| (one.id.clone(), one.before, one.lost.len(), one.gained.len())).collect()
        };
        let row = |id: &str, before, lost, gained| (id.to_string(), before, lost, gained);
        let rest = [row("2", 2, 0, 0), row("4", 0, 0, 1), row("5", 0, 0, 0)];
        assert_eq!(counts(&of(false)), [&[row("1", 2, 2, 0)], &rest[..]].concat());
        assert_eq!(counts(&of(true)), [&[row("1", 2, 0, 0)], &rest[..]].concat());
        for bad in [
            "",
            "{}",
            "[{}]",
            r#"[{"matchers": [{"name": "a"}]}]"#,
            r#"[{"matchers": [{"name": "a", "value": "(", "isRegex": true}]}]"#,
        ] {
            assert!(silences(&[], bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_said() {
        for bad in ["a: b\n", "route: {routes: [{matchers: ['nonsense']}]}\n", "route: {match_re: {a: '('}}\n", "- a\n"]
        {
            assert!(compare(&[], bad).is_err(), "{bad}");
        }
    }
}
