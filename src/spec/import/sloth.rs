//! Sloth: `version: prometheus/v1`, and the same as a Kubernetes resource, whose keys are written in camel case.
//!
//! Sloth's period is a flag of its command line and stands in no file: it is 30 days, or what the only catalog of
//! alert windows beside the file says, or `--slo-period`. Its plugins are Go programs that rewrite what Sloth would
//! generate; none is run here.

use std::collections::BTreeMap;

use super::alerts::{self, Policy};
use super::catalog::Catalog;
use super::draft::{At, Draft, Source, Window};
use super::labels::{self, Label};
use super::shape::Reading;
use super::template::Mark;
use super::{ImportContext, plugin};
use crate::engine::alert::AlertKind;
use crate::engine::{AlertExtras, Speed};
use crate::spec::duration::TimeSpan;
use crate::spec::origin::{Origin, OriginFormat};
use crate::spec::problem::Code;
use crate::spec::reader::{At as Node, Fields, Report};
use crate::spec::tree::Value;

/// How the keys of a document are written.
#[derive(Clone, Copy)]
struct Keys {
    error_query: &'static str,
    total_query: &'static str,
    error_ratio_query: &'static str,
    page_alert: &'static str,
    ticket_alert: &'static str,
    slo_plugins: &'static str,
}

const SNAKE: Keys = Keys {
    error_query: "error_query",
    total_query: "total_query",
    error_ratio_query: "error_ratio_query",
    page_alert: "page_alert",
    ticket_alert: "ticket_alert",
    slo_plugins: "slo_plugins",
};
const CAMEL: Keys = Keys {
    error_query: "errorQuery",
    total_query: "totalQuery",
    error_ratio_query: "errorRatioQuery",
    page_alert: "pageAlert",
    ticket_alert: "ticketAlert",
    slo_plugins: "sloPlugins",
};

const SLOS_MAX: usize = 200;

/// What holds for all SLOs of a document.
struct Service<'c> {
    name: At<String>,
    labels: Vec<Label>,
    namespace: Option<String>,
    format: OriginFormat,
    keys: Keys,
    catalog: &'c Catalog,
    file: usize,
}

/// Reads a document of either form.
pub(crate) fn read(
    root: &Node<'_>,
    resource: bool,
    file: usize,
    cx: &ImportContext<'_>,
    report: &mut Report<'_>,
) -> Vec<Draft> {
    match resource {
        false => service(root, SNAKE, OriginFormat::Sloth, None, file, cx, report).unwrap_or_default(),
        true => read_resource(root, file, cx, report).unwrap_or_default(),
    }
}

fn read_resource(root: &Node<'_>, file: usize, cx: &ImportContext<'_>, report: &mut Report<'_>) -> Option<Vec<Draft>> {
    let mut fields = root.map(report)?;
    let (_, _, _) = (fields.filled("apiVersion"), fields.filled("kind"), fields.filled("status"));
    let metadata = super::metadata(&mut fields, report);
    let spec = fields.need(report, "spec", "{service: checkout, slos: [...]}");
    fields.finish(report);
    service(&spec?, CAMEL, OriginFormat::SlothResource, metadata.namespace, file, cx, report)
}

fn service(
    at: &Node<'_>,
    keys: Keys,
    format: OriginFormat,
    namespace: Option<String>,
    file: usize,
    cx: &ImportContext<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Draft>> {
    let mut fields = at.map(report)?;
    if keys.error_query == SNAKE.error_query {
        fields.filled("version");
    }
    let service_at = fields.need(report, "service", "checkout");
    let name = service_at.and_then(|at| Some(At { it: crate::spec::name::read(&at, report)?, place: at.node.place }));
    let labels = fields.filled("labels").map(|at| labels::read(&at, report)).unwrap_or_default();
    if let Some(at) = fields.filled(keys.slo_plugins) {
        warn_of_chain(&at, report);
    }
    let slos = fields.need(report, "slos", "[{name: availability, objective: 99.9, sli: ...}]");
    fields.finish(report);
    let catalog = cx.catalog(at, report);
    let (name, slos, catalog) = (name?, slos?, catalog?);
    let items = slos.list(report)?;
    if items.is_empty() {
        report.error(&slos, Code::NoSlo, "this service has no SLO").write("at least one entry in slos");
    }
    if items.len() > SLOS_MAX {
        report.error(&slos, Code::InvalidValue, format!("over {SLOS_MAX} SLOs of one service"));
    }
    let service = Service { name, labels, namespace, format, keys, catalog, file };
    let drafts = items.iter().take(SLOS_MAX).filter_map(|item| {
        let draft = slo(item, &service, cx, report);
        report.subject.clear();
        draft
    });
    Some(drafts.collect())
}

fn slo(at: &Node<'_>, service: &Service<'_>, cx: &ImportContext<'_>, report: &mut Report<'_>) -> Option<Draft> {
    let mut fields = at.map(report)?;
    let name_at = fields.need(report, "name", "availability")?;
    let name = crate::spec::name::read(&name_at, report)?;
    let name = At { it: name, place: name_at.node.place };
    report.subject = format!("SLO {}-{}", service.name.it, name.it);

    let is_empty = at.node.get("sli").is_none_or(|node| node.value == Value::Null);
    if let (true, Some(key)) = (is_empty, ["events", "raw", "plugin"].iter().find_map(|word| at.node.key(word))) {
        let what = format!("{:?} belongs below `sli`", key.name);
        let instead = "two more blanks in front of it and of its keys";
        report.error_at(key.place, &at.path, Code::UnknownKey, what).write(instead);
        return None;
    }
    let objective = fields.need(report, "objective", "99.9");
    let objective = objective.and_then(|at| Some(At { it: at.number(report)?, place: at.node.place }));
    let description = fields.filled("description").and_then(|at| at.text(report)).map(str::to_string);
    let own = fields.filled("labels").map(|at| labels::read(&at, report)).unwrap_or_default();
    let labels = merged(&service.labels, own);
    let mut reading = Reading::default();
    let sli = fields.need(report, "sli", "{events: {error_query: ..., total_query: ...}}");
    let source = sli.as_ref().and_then(|at| {
        let source = read_sli(at, service, &mut reading, report)?;
        Some(At { it: source, place: at.node.place })
    });
    if let Some(at) = fields.filled("plugins") {
        warn_of_chain(&at, report);
    }
    let alerting_at = fields.filled("alerting");
    let alerting = alerting_at.as_ref().and_then(|at| read_alerting(at, service.keys, report)).unwrap_or_default();
    fields.finish(report);

    let mut notes = reading.notes;
    let owner = labels::owner_or(&labels, cx.owner, name.place, "labels: {owner: team-checkout}", report);
    let (objective, source, owner) = (objective?, source?, owner?);
    let (policy, mute) = policy(&alerting, service.catalog, objective.it, cx.resolution, &name, report);
    let place = alerting_at.map_or(name.place, |at| at.node.place);
    let window = Window::Rolling(TimeSpan::from_seconds(service.catalog.period_s)?);
    let mut carried = labels.clone();
    let extras = alerting.extras(cx, &mut notes);
    let alert_name = alerting.name.clone();
    carried.extend(alerting.labels.into_iter().filter(|label| label.name != "severity"));
    let mut on_alerts = labels::of_alerts(&carried, &mut notes);
    // What Sloth's rules put on every series, and so on every alert: routes and silences match it.
    let id = format!("{}-{}", service.name.it, name.it);
    for (label, value) in [("sloth_id", &id), ("sloth_service", &service.name.it), ("sloth_slo", &name.it)] {
        on_alerts.insert(label.into(), value.clone());
    }
    Some(Draft {
        file: service.file,
        service: service.name.clone(),
        owner,
        objective,
        window: Some(At { it: window, place: name.place }),
        source,
        policy: At { it: policy, place },
        mute,
        annotations: labels::annotations(&alerting.annotations, &mut notes),
        origin: Origin {
            format: service.format,
            service: Some(service.name.it.clone()),
            slo: name.it.clone(),
            alert: alert_name,
            namespace: service.namespace.clone(),
            labels: series_labels(&labels),
        },
        labels: on_alerts,
        alerts: extras,
        description,
        name,
        notes,
    })
}

/// An SLO's own labels win over those of its service.
fn merged(service: &[Label], own: Vec<Label>) -> Vec<Label> {
    let kept = service.iter().filter(|label| own.iter().all(|other| other.name != label.name));
    kept.cloned().chain(own.iter().cloned()).collect()
}

fn series_labels(labels: &[Label]) -> BTreeMap<String, String> {
    let named = |label: &&Label| crate::spec::selector::is_label_name(&label.name) && !label.value.it.is_empty();
    labels.iter().filter(named).map(|label| (label.name.clone(), label.value.it.clone())).collect()
}

fn read_sli(at: &Node<'_>, service: &Service<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let [events, raw, plugin_at] = ["events", "raw", "plugin"].map(|key| fields.filled(key));
    fields.finish(report);
    match (&events, &raw, &plugin_at) {
        (Some(at), None, None) => read_events(at, service.keys, reading, report),
        (None, Some(at), None) => {
            let mut fields = at.map(report)?;
            let query = fields.need(report, service.keys.error_ratio_query, "1 - (ok / all)");
            fields.finish(report);
            let expr = super::query(&query?, Mark::Braces, report)?;
            Some(Source::ratio(&expr, false, reading))
        }
        (None, None, Some(at)) => plugin::read(at, reading, report),
        (None, None, None) => {
            report
                .error(at, Code::InvalidSli, "this SLI names no source")
                .write(format!("events: {{{}: ..., {}: ...}}", service.keys.error_query, service.keys.total_query));
            None
        }
        _ => {
            report.error(at, Code::InvalidSli, "an SLI has one of events, raw and plugin").write("one of them");
            None
        }
    }
}

fn read_events(at: &Node<'_>, keys: Keys, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let swapped_word = ["good_query", "goodQuery", "success_query", "successQuery"];
    if let Some(key) = swapped_word.iter().find_map(|name| at.node.key(name)) {
        let what = format!("{:?}: Sloth counts errors, not good events", key.name);
        let instead = format!("{}: the total minus the good events", keys.error_query);
        report.error_at(key.place, &at.path, Code::UnknownKey, what).write(instead);
        return None;
    }
    let error_at = fields.need(report, keys.error_query, "sum(rate(http_requests_total{code=~\"5..\"}[{{.window}}]))");
    let total_at = fields.need(report, keys.total_query, "sum(rate(http_requests_total[{{.window}}]))");
    fields.finish(report);
    let error = error_at.as_ref().and_then(|at| super::query(at, Mark::Braces, report));
    let total = total_at.and_then(|at| super::query(&at, Mark::Braces, report));
    let (error, total) = (error?, total?);
    if error == total {
        let what = "the two queries are the same: every event would be an error";
        report.error(&error_at?, Code::InvalidSli, what).write("the part of the events that are errors, by a label");
        return None;
    }
    Some(Source::events(&error, &total, reading))
}

/// What `alerting` says.
#[derive(Default)]
struct SlothAlerting {
    name: Option<String>,
    labels: Vec<Label>,
    annotations: Vec<Label>,
    page: SlothAlert,
    ticket: SlothAlert,
}

/// One of the two alerts.
#[derive(Default)]
struct SlothAlert {
    disabled: bool,
    labels: Vec<Label>,
    annotations: Vec<Label>,
}

impl SlothAlert {
    fn severity(&self) -> Option<&At<String>> {
        let said = |label: &&Label| label.name == "severity" && !label.value.it.trim().is_empty();
        self.labels.iter().find(said).map(|label| &label.value)
    }
}

impl SlothAlerting {
    /// What alerts of each kind carry: labels and annotations of one of the two alerts, and the words that routes match.
    fn extras(&self, cx: &ImportContext<'_>, notes: &mut Vec<String>) -> BTreeMap<AlertKind, AlertExtras> {
        let mut all = BTreeMap::new();
        let both = [(AlertKind::FastBurn, "page", &self.page), (AlertKind::SlowBurn, "ticket", &self.ticket)];
        for (kind, word, alert) in both {
            if alert.disabled {
                continue;
            }
            let named: Vec<Label> = alert.labels.iter().filter(|label| label.name != "severity").cloned().collect();
            let mut labels = labels::of_alerts(&named, notes);
            let general = || self.labels.iter().find(|label| label.name == "severity").map(|label| &label.value);
            if let Some(said) = alert.severity().or_else(general) {
                labels.extend(alerts::own_word(&said.it));
            }
            labels.entry("sloth_severity".into()).or_insert_with(|| word.into());
            let annotations = labels::annotations(&alert.annotations, notes);
            let name = self.name.clone().filter(|_| cx.alert_names);
            all.insert(kind, AlertExtras { name, labels, annotations });
        }
        all
    }
}

fn read_alerting(at: &Node<'_>, keys: Keys, report: &mut Report<'_>) -> Option<SlothAlerting> {
    let mut fields = at.map(report)?;
    let name = fields.filled("name").and_then(|at| at.text(report)).map(str::to_string);
    let mut of =
        |key, fields: &mut Fields<'_>| fields.filled(key).map(|at| labels::read(&at, report)).unwrap_or_default();
    let (labels, annotations) = (of("labels", &mut fields), of("annotations", &mut fields));
    let page = fields.filled(keys.page_alert).map(|at| read_alert(&at, report)).unwrap_or_default();
    let ticket = fields.filled(keys.ticket_alert).map(|at| read_alert(&at, report)).unwrap_or_default();
    fields.finish(report);
    Some(SlothAlerting { name, labels, annotations, page, ticket })
}

fn read_alert(at: &Node<'_>, report: &mut Report<'_>) -> SlothAlert {
    let Some(mut fields) = at.map(report) else { return SlothAlert::default() };
    let disabled = fields.filled("disable").and_then(|at| at.flag(report)).unwrap_or(false);
    let labels_at = fields.filled("labels");
    let mut labels = labels_at.as_ref().map(|at| labels::read(at, report)).unwrap_or_default();
    if let (Some(at), Some(index)) = (&labels_at, labels.iter().position(|label| label.name == "disable")) {
        let what = "`disable` among the labels is a label, and disables nothing";
        report.error(at, Code::InvalidValue, what).write("disable: true beside labels");
        labels.remove(index);
    }
    let annotations = fields.filled("annotations").map(|at| labels::read(&at, report)).unwrap_or_default();
    fields.finish(report);
    SlothAlert { disabled, labels, annotations }
}

/// Clauses of the alerts that are not disabled; where both are, nothing is raised.
fn policy(
    alerting: &SlothAlerting,
    catalog: &Catalog,
    objective: f64,
    resolution: TimeSpan,
    name: &At<String>,
    report: &mut Report<'_>,
) -> (Policy, Vec<AlertKind>) {
    let mut tiers = Vec::new();
    for (alert, speed) in [(&alerting.page, Speed::Fast), (&alerting.ticket, Speed::Slow)] {
        if alert.disabled {
            continue;
        }
        let known = alert.severity().and_then(|word| alerts::urgency(&word.it));
        // The alert decides who is woken, the label only how loudly.
        let sev = known.map(|(_, sev)| sev);
        tiers.extend(catalog.tiers(speed).into_iter().map(|tier| alerts::AlertTier { sev, ..tier }));
    }
    if tiers.is_empty() {
        return (Policy::Off, AlertKind::ALL.to_vec());
    }
    let resolved = alerts::resolve(&tiers, (100.0 - objective) / 100.0, catalog.period_s, resolution);
    for warning in resolved.warnings {
        report.warn_at(name.place, "", Code::UselessBurn, warning);
    }
    (resolved.policy, Vec::new())
}

/// Plugins of Sloth change the rules it writes. There are no rules here.
fn warn_of_chain(at: &Node<'_>, report: &mut Report<'_>) {
    let Some(mut fields) = at.map(report) else { return };
    if let Some(at) = fields.filled("overridePrevious") {
        at.flag(report);
    }
    let chain = fields.filled("chain");
    fields.finish(report);
    let Some(items) = chain.and_then(|at| at.list(report)) else { return };
    for item in &items {
        let id = item.node.get("id").map(|node| &node.value);
        let Some(Value::Text(id)) = id else {
            report.error(item, Code::MissingKey, "\"id\" is missing").write("id: sloth.dev/core/sli_rules/v1");
            continue;
        };
        let what =
            format!("the plugin {id:?} is not run: it changes the rules that Sloth writes, and there are none here");
        report
            .warn(item, Code::Unreachable, what)
            .write("nothing, where it only shapes rules; else see what it would change");
    }
}
