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
use super::{Context, plugin};
use crate::engine::Speed;
use crate::engine::alert::AlertKind;
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
    cx: &Context<'_>,
    report: &mut Report<'_>,
) -> Vec<Draft> {
    match resource {
        false => service(root, SNAKE, OriginFormat::Sloth, None, file, cx, report).unwrap_or_default(),
        true => read_resource(root, file, cx, report).unwrap_or_default(),
    }
}

fn read_resource(root: &Node<'_>, file: usize, cx: &Context<'_>, report: &mut Report<'_>) -> Option<Vec<Draft>> {
    let mut fields = root.map(report)?;
    let (_, _, _) = (fields.get("apiVersion"), fields.get("kind"), fields.get("status"));
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
    cx: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Draft>> {
    let mut fields = at.map(report)?;
    if keys.error_query == SNAKE.error_query {
        fields.get("version");
    }
    let service_at = fields.need(report, "service", "checkout");
    let name =
        service_at.and_then(|at| Some(At { it: crate::spec::service::name(&at, report)?, place: at.node.place }));
    let labels = fields.get("labels").map(|at| labels::read(&at, report)).unwrap_or_default();
    if let Some(at) = fields.get(keys.slo_plugins) {
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

fn slo(at: &Node<'_>, service: &Service<'_>, cx: &Context<'_>, report: &mut Report<'_>) -> Option<Draft> {
    let mut fields = at.map(report)?;
    let name_at = fields.need(report, "name", "availability")?;
    let name = crate::spec::service::name(&name_at, report)?;
    let name = At { it: name, place: name_at.node.place };
    report.subject = format!("SLO {}-{}", service.name.it, name.it);

    let objective = fields.need(report, "objective", "99.9");
    let objective = objective.and_then(|at| Some(At { it: at.number(report)?, place: at.node.place }));
    let description = fields.get("description").and_then(|at| at.text(report)).map(str::to_string);
    let own = fields.get("labels").map(|at| labels::read(&at, report)).unwrap_or_default();
    let labels = merged(&service.labels, own);
    let mut reading = Reading::default();
    let sli = fields.need(report, "sli", "{events: {error_query: ..., total_query: ...}}");
    let source = sli.as_ref().and_then(|at| {
        let source = read_sli(at, service, &mut reading, report)?;
        Some(At { it: source, place: at.node.place })
    });
    if let Some(at) = fields.get("plugins") {
        warn_of_chain(&at, report);
    }
    let alerting_at = fields.get("alerting");
    let alerting = alerting_at.as_ref().and_then(|at| read_alerting(at, service.keys, report)).unwrap_or_default();
    fields.finish(report);

    let mut notes = reading.notes;
    let owner = labels::owner_or(&labels, cx.owner, name.place, "labels: {owner: team-checkout}", report);
    let (objective, source, owner) = (objective?, source?, owner?);
    let (policy, mute) = policy(&alerting, service.catalog, objective.it, cx.resolution, &name, report);
    let place = alerting_at.map_or(name.place, |at| at.node.place);
    let window = Window::Rolling(TimeSpan::from_seconds(service.catalog.period_s)?);
    let mut carried = labels.clone();
    carried.extend(alerting.labels);
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
            namespace: service.namespace.clone(),
            labels: series_labels(&labels),
        },
        labels: labels::of_alerts(&carried, &mut notes),
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
    let [events, raw, plugin_at] = ["events", "raw", "plugin"].map(|key| fields.get(key));
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
struct Alerting {
    labels: Vec<Label>,
    annotations: Vec<Label>,
    page: Alert,
    ticket: Alert,
}

#[derive(Default)]
struct Alert {
    disabled: bool,
    labels: Vec<Label>,
}

fn read_alerting(at: &Node<'_>, keys: Keys, report: &mut Report<'_>) -> Option<Alerting> {
    let mut fields = at.map(report)?;
    // The name of Sloth's alert is not needed: alerts are named after their kind.
    fields.get("name").and_then(|at| at.text(report));
    let mut of = |key, fields: &mut Fields<'_>| fields.get(key).map(|at| labels::read(&at, report)).unwrap_or_default();
    let (shared, annotations) = (of("labels", &mut fields), of("annotations", &mut fields));
    let page = fields.get(keys.page_alert).map(|at| read_alert(&at, report)).unwrap_or_default();
    let ticket = fields.get(keys.ticket_alert).map(|at| read_alert(&at, report)).unwrap_or_default();
    fields.finish(report);
    let mut all = Alerting { labels: shared, annotations, ..Alerting::default() };
    for (own, other) in [(&page, &ticket), (&ticket, &page)] {
        for label in &own.1 {
            let alone =
                other.0.disabled || other.1.iter().any(|o| o.name == label.name && o.value.it == label.value.it);
            if alone && all.annotations.iter().all(|o| o.name != label.name) {
                all.annotations.push(label.clone());
            }
        }
        for label in &own.0.labels {
            if label.name == "severity" {
                continue;
            }
            let same = |o: &Label| o.name == label.name && o.value.it == label.value.it;
            if other.0.disabled || other.0.labels.iter().any(same) {
                if all.labels.iter().all(|o| o.name != label.name) {
                    all.labels.push(label.clone());
                }
            } else {
                let what = format!(
                    "the label {:?} is of one of the two alerts only, and is left out: Slowburn's alerts differ in `kind` and `severity`",
                    label.name
                );
                report
                    .warn(at, Code::Unreachable, what)
                    .write("a route on severity or kind, or the label for both alerts");
            }
        }
    }
    (all.page, all.ticket) = (page.0, ticket.0);
    Some(all)
}

fn read_alert(at: &Node<'_>, report: &mut Report<'_>) -> (Alert, Vec<Label>) {
    let Some(mut fields) = at.map(report) else { return Default::default() };
    let disabled = fields.get("disable").and_then(|at| at.flag(report)).unwrap_or(false);
    let labels_at = fields.get("labels");
    let mut labels = labels_at.as_ref().map(|at| labels::read(at, report)).unwrap_or_default();
    if let (Some(at), Some(index)) = (&labels_at, labels.iter().position(|label| label.name == "disable")) {
        let what = "`disable` among the labels is a label, and disables nothing";
        report.error(at, Code::InvalidValue, what).write("disable: true beside labels");
        labels.remove(index);
    }
    let annotations = fields.get("annotations").map(|at| labels::read(&at, report)).unwrap_or_default();
    fields.finish(report);
    (Alert { disabled, labels }, annotations)
}

/// Clauses of the alerts that are not disabled; where both are, nothing is raised.
fn policy(
    alerting: &Alerting,
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
        let word = alert.labels.iter().find(|label| label.name == "severity").map(|label| &label.value);
        let known = word.and_then(|word| alerts::urgency(&word.it));
        if let (Some(word), None) = (word, known) {
            let what = format!("the severity {:?} is not known here, so the usual one of this alert is used", word.it);
            report
                .warn_at(word.place, "", Code::InvalidSeverity, what)
                .write("critical, warning, info or SEV-1 to SEV-5");
        }
        // The alert decides who is woken, the label only how loudly.
        let sev = known.map(|(_, sev)| sev);
        tiers.extend(catalog.tiers(speed).into_iter().map(|tier| alerts::Tier { sev, ..tier }));
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
    if let Some(at) = fields.get("overridePrevious") {
        at.flag(report);
    }
    let chain = fields.get("chain");
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
