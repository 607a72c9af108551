//! slo-generator: `apiVersion: sre.google.com/v2`, and the error budget policies of its shared configuration.
//!
//! It has no window of an SLO, only the windows of its policy's steps: the longest of them is taken. Its other settings
//! are not read, and neither are its other backends.

use std::collections::BTreeMap;

use promql_parser::parser::Expr;

use super::alerts::{self, AlertTier, Policy};
use super::draft::{At, Draft, Source, Window};
use super::labels;
use super::shape::Reading;
use super::template::Mark;
use super::{Document, DocumentFormat, ImportContext};
use crate::engine::Speed;
use crate::engine::alert::AlertKind;
use crate::spec::duration::TimeSpan;
use crate::spec::origin::{Origin, OriginFormat};
use crate::spec::problem::Code;
use crate::spec::reader::{At as Node, Report, nearest};

/// One step of a policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    window_s: i64,
    threshold: f64,
    alert: bool,
}

/// Policies by name; `None` where no configuration was given.
pub(crate) type Policies = Option<BTreeMap<String, Vec<Step>>>;

/// A step up to this window pages, a longer one opens a ticket.
const PAGES_UP_TO_S: i64 = 6 * 3600;

/// Reads the policies of all shared configurations.
pub(crate) fn policies(documents: &[Document<'_>], reports: &mut [Report<'_>]) -> Policies {
    let mut all: Policies = None;
    for document in documents.iter().filter(|document| document.format == DocumentFormat::SloGeneratorConfig) {
        let report = &mut reports[document.file];
        let known = all.get_or_insert_default();
        // Its other keys are settings of slo-generator, and may hold credentials.
        let Some(mut fields) = Node::root(document.node).map(report) else { continue };
        let Some(own) = fields.filled("error_budget_policies").and_then(|at| at.map(report)) else { continue };
        for (key, at) in own.entries() {
            let steps = match at.map(report) {
                Some(mut policy) => {
                    let steps = policy.need(report, "steps", "[{name: 1h, window: 3600, burn_rate_threshold: 9}]");
                    policy.finish(report);
                    steps
                }
                None => continue,
            };
            let Some(items) = steps.and_then(|at| at.list(report)) else { continue };
            // A step that was refused is left out; the policy is there all the same.
            let steps: Vec<Step> = items.iter().filter_map(|item| step(item, report)).collect();
            if known.insert(key.name.clone(), steps).is_some() {
                let what = format!("the error budget policy {:?} is defined twice", key.name);
                report.error_at(key.place, "", Code::DuplicateId, what).write("one of them");
            }
        }
    }
    all
}

fn step(at: &Node<'_>, report: &mut Report<'_>) -> Option<Step> {
    let mut fields = at.map(report)?;
    let window = fields.need(report, "window", "3600").and_then(|at| at.whole(report, 60..=366 * 86_400));
    let threshold = fields.need(report, "burn_rate_threshold", "9").and_then(|at| {
        let number = at.number(report)?;
        if number <= 0.0 {
            report.error(&at, Code::InvalidBurn, "a burn rate is over zero").write("burn_rate_threshold: 9");
            return None;
        }
        Some(number)
    });
    let alert = fields.filled("alert").map_or(Some(false), |at| at.flag(report));
    for key in ["name", "message_alert", "message_ok"] {
        fields.filled(key);
    }
    fields.finish(report);
    Some(Step { window_s: i64::try_from(window?).ok()?, threshold: threshold?, alert: alert? })
}

/// Reads an SLO.
pub(crate) fn read(
    root: &Node<'_>,
    file: usize,
    policies: &Policies,
    cx: &ImportContext<'_>,
    report: &mut Report<'_>,
) -> Option<Draft> {
    let mut fields = root.map(report)?;
    let (_, _) = (fields.filled("apiVersion"), fields.filled("kind"));
    let metadata = super::metadata(&mut fields, report);
    let spec = fields.need(report, "spec", "{goal: 0.999, backend: prometheus, method: ..., ...}");
    fields.finish(report);
    let (own_name, spec) = (metadata.name.clone()?, spec?);
    report.subject = format!("SLO {}", own_name.it);
    let mut spec = spec.map(report)?;
    let description = spec.filled("description").and_then(|at| at.text(report)).map(str::to_string);
    let goal = spec.need(report, "goal", "0.999").and_then(|at| goal(&at, report));
    let backend = spec.need(report, "backend", "prometheus");
    if let Some(at) = &backend
        && let Some(text) = at.text(report)
        && text.split('/').next() != Some("prometheus")
    {
        let what = format!("the backend {text:?} is not Prometheus");
        // Its method and indicator are those of that backend, of which there is nothing to say here.
        report.error(at, Code::InvalidSli, what).write("backend: prometheus");
        return None;
    }
    let methods = [("good_bad_ratio", 0), ("query_sli", 1), ("distribution_cut", 2)];
    let method = spec.need(report, "method", "good_bad_ratio").and_then(|at| at.choice(report, &methods));
    let indicator = spec.need(report, "service_level_indicator", "{filter_good: ..., filter_valid: ...}");
    let policy_at = spec.filled("error_budget_policy");
    let (_, _) = (spec.filled("exporters"), spec.filled("frequency"));
    let spec_at = spec.at.clone();
    spec.finish(report);

    let mut reading = Reading { bare: true, ..Reading::default() };
    let source = indicator.zip(method).and_then(|(at, method)| {
        let source = match method {
            0 => good_bad_ratio(&at, &mut reading, report),
            1 => query_sli(&at, &mut reading, report),
            _ => distribution_cut(&at, &mut reading, report),
        };
        Some(At { it: source?, place: at.node.place })
    });
    let steps = steps(policy_at.as_ref(), &spec_at, policies, report);
    let instead = "metadata: {labels: {owner: team-checkout}}";
    let owner = labels::owner_or(&metadata.labels, cx.owner, own_name.place, instead, report);
    let (goal, source, steps, owner) = (goal?, source?, steps?, owner?);
    let mut notes = reading.notes;
    if steps.is_none() {
        notes.push("no error budget policies beside it: the default policy of Slowburn holds".into());
    }
    let window_s = steps.as_ref().and_then(|steps| steps.iter().map(|step| step.window_s).max());
    let window = window_s.and_then(TimeSpan::from_seconds).or(cx.period);
    let (policy, mute) = policy(steps.as_deref(), goal.it, window, cx, &own_name, report);
    let of_label = |name: &str| metadata.labels.iter().find(|l| l.name == name && !l.value.it.is_empty());
    let service = of_label("service_name").map_or_else(|| own_name.clone(), |label| label.value.clone());
    let parts: Vec<&str> =
        ["feature_name", "slo_name"].iter().filter_map(|n| of_label(n)).map(|l| l.value.it.as_str()).collect();
    let name = match (parts.is_empty(), own_name.it.strip_prefix(&format!("{}-", service.it))) {
        (false, _) => parts.join("-"),
        (true, Some(rest)) => rest.to_string(),
        (true, None) => own_name.it.clone(),
    };
    let kept: Vec<labels::Label> = metadata.labels.iter().filter(|l| !l.name.ends_with("_name")).cloned().collect();
    Some(Draft {
        file,
        owner,
        objective: goal,
        window: window.map(|window| At { it: Window::Rolling(window), place: own_name.place }),
        source,
        policy: At { it: policy, place: own_name.place },
        mute,
        alerts: BTreeMap::new(),
        labels: labels::of_alerts(&kept, &mut notes),
        annotations: labels::annotations(&metadata.annotations, &mut notes),
        description,
        origin: Origin {
            format: OriginFormat::SloGenerator,
            service: of_label("service_name").map(|label| label.value.it.clone()),
            slo: own_name.it.clone(),
            alert: None,
            namespace: None,
            labels: metadata
                .labels
                .iter()
                .filter(|l| crate::spec::selector::is_label_name(&l.name) && !l.value.it.is_empty())
                .map(|l| (l.name.clone(), l.value.it.clone()))
                .collect(),
        },
        service,
        name: At { it: name, place: own_name.place },
        notes,
    })
}

fn goal(at: &Node<'_>, report: &mut Report<'_>) -> Option<At<f64>> {
    let goal = at.number(report)?;
    if goal <= 0.0 || goal >= 1.0 {
        let what = match goal {
            1.0 => "an objective of 100 has no error budget".to_string(),
            _ => format!("a goal is a ratio over 0 and under 1, found {goal}"),
        };
        let instead = match goal > 1.0 && goal < 100.0 {
            true => format!("goal: {}", (goal * 1e10).round() / 1e12),
            false => "goal: 0.999".into(),
        };
        report.error(at, Code::InvalidObjective, what).write(instead);
        return None;
    }
    Some(At { it: (goal * 1e12).round() / 1e10, place: at.node.place })
}

/// The steps of the policy that the SLO names; `Some(None)` where no configuration was given.
fn steps(
    at: Option<&Node<'_>>,
    spec: &Node<'_>,
    policies: &Policies,
    report: &mut Report<'_>,
) -> Option<Option<Vec<Step>>> {
    let Some(policies) = policies else { return Some(None) };
    let name = match at {
        Some(at) => at.text(report)?,
        None => "default",
    };
    let found = policies.get(name).cloned();
    if found.is_none() {
        let known: Vec<&str> = policies.keys().map(String::as_str).collect();
        let what = format!("there is no error budget policy {name:?} in the configuration");
        let instead = nearest(name, &known).unwrap_or(known.first().copied().unwrap_or("default")).to_string();
        report.error(at.unwrap_or(spec), Code::UnknownReference, what).write(format!("error_budget_policy: {instead}"));
        return None;
    }
    Some(found)
}

fn policy(
    steps: Option<&[Step]>,
    objective: f64,
    window: Option<TimeSpan>,
    cx: &ImportContext<'_>,
    name: &At<String>,
    report: &mut Report<'_>,
) -> (Policy, Vec<AlertKind>) {
    let Some(steps) = steps else { return (Policy::Default, Vec::new()) };
    let tier = |step: &Step| AlertTier {
        long_s: step.window_s,
        short_s: None,
        threshold: format!("{}x", step.threshold),
        factor: step.threshold,
        speed: if step.window_s <= PAGES_UP_TO_S { Speed::Fast } else { Speed::Slow },
        sev: None,
    };
    let tiers: Vec<AlertTier> = steps.iter().filter(|step| step.alert).map(tier).collect();
    if tiers.is_empty() {
        return (Policy::Off, vec![AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget]);
    }
    let window_s = window.map_or(30 * 86_400, TimeSpan::seconds);
    let resolved = alerts::resolve(&tiers, (100.0 - objective) / 100.0, window_s, cx.resolution);
    for warning in resolved.warnings {
        report.warn_at(name.place, "", Code::UselessBurn, warning);
    }
    (resolved.policy, Vec::new())
}

/// `operators`: what is wrapped around a filter. Only those that count are known.
fn check_operators(at: Option<Node<'_>>, report: &mut Report<'_>) -> Option<()> {
    let Some(at) = at else { return Some(()) };
    let words: Vec<String> = at.list(report)?.iter().filter_map(|item| item.text(report).map(str::to_string)).collect();
    let fits = words.iter().all(|word| matches!(word.as_str(), "increase" | "rate" | "sum"));
    if !fits {
        let what = format!("the operators {} do not count events", words.join(", "));
        report.error(&at, Code::InvalidSli, what).write("operators: [increase, sum], which is the default");
    }
    fits.then_some(())
}

fn good_bad_ratio(at: &Node<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let good_at = fields.need(report, "filter_good", "http_requests_total{code!~\"5..\"}");
    let (bad_at, valid_at, operators) =
        (fields.filled("filter_bad"), fields.filled("filter_valid"), fields.filled("operators"));
    fields.finish(report);
    check_operators(operators, report)?;
    let mut read = |at: &Node<'_>| super::query(at, Mark::Word, report);
    let good = good_at.as_ref().and_then(&mut read);
    match (&bad_at, &valid_at) {
        (None, Some(at)) => {
            let (valid, good) = (read(at)?, good?);
            Some(Source::good_events(&good, &valid, reading))
        }
        (Some(at), None) => {
            let (bad, good) = (read(at)?, good?);
            let total = added(good, &bad);
            Some(Source::events(&bad, &total, reading))
        }
        (None, None) => {
            report
                .error(at, Code::InvalidSli, "`filter_bad` or `filter_valid` is missing")
                .write("filter_valid: http_requests_total");
            None
        }
        (Some(_), Some(at)) => {
            report.error(at, Code::InvalidSli, "`filter_bad` and `filter_valid` are both given").write("one of them");
            None
        }
    }
}

/// `sum(good) + sum(bad)`, each in brackets.
fn added(good: Expr, bad: &Expr) -> Expr {
    let text = format!("(sum({good})) + (sum({bad}))");
    crate::spec::selector::gauge(&text).unwrap_or(good)
}

fn query_sli(at: &Node<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let expression = fields.need(report, "expression", "sum(rate(ok[window])) / sum(rate(all[window]))");
    let operators = fields.filled("operators");
    fields.finish(report);
    check_operators(operators, report)?;
    let expr = super::query(&expression?, Mark::Word, report)?;
    Some(Source::ratio(&expr, true, reading))
}

fn distribution_cut(at: &Node<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let expression = fields.need(report, "expression", "http_request_duration_seconds_bucket{job=\"checkout\"}");
    let bound = fields.need(report, "threshold_bucket", "0.25").and_then(|at| at.number(report));
    fields.finish(report);
    let at = expression?;
    let text = at.text(report)?.replace("[window]", "");
    let found = match crate::spec::selector::selector(&text) {
        Ok(found) => found,
        Err(fault) => {
            report.error(&at, Code::InvalidSelector, fault.what).instead =
                fault.selector.map(|selector| format!("expression: '{selector}'")).or(fault.advice);
            return None;
        }
    };
    let base = found.name.as_deref().and_then(|name| name.strip_suffix("_bucket")).map(str::to_string);
    let (Some(base), bound) = (base, bound?) else {
        let what = "distribution_cut counts in the buckets of a histogram";
        report.error(&at, Code::InvalidSli, what).write("a metric that ends in _bucket");
        return None;
    };
    let le = format!("{bound}");
    let mut bucket = found.clone();
    bucket.matchers.matchers.retain(|matcher| matcher.name != "le");
    let mut count = bucket.clone();
    count.name = Some(format!("{base}_count"));
    bucket.matchers.matchers.push(promql_parser::label::Matcher::new(promql_parser::label::MatchOp::Equal, "le", &le));
    Some(Source::good_events(&Expr::VectorSelector(bucket), &Expr::VectorSelector(count), reading))
}
