//! Sloth's SLI plugins: what the common ones ask Prometheus, as a table.
//!
//! A plugin is a Go program that Sloth interprets. None is run here: the ones of slok/sloth-common-sli-plugins are known
//! by what they count, all others are refused by name. `linkerd/v2/latency` is not among them: what it writes is no
//! PromQL.

use super::draft::Source;
use super::shape::Reading;
use super::template::{self, Mark};
use crate::spec::problem::Code;
use crate::spec::reader::{At, Report, nearest};
use crate::spec::tree::Value;

/// What a plugin counts. Selectors have `FILTER` where the option `filter` goes, and `<option>` for others.
enum Counts {
    /// Errors among all.
    Errors { metric: &'static str, select: &'static str, errors: &'static str },
    /// Those that are not in the bucket `<bucket>`.
    Slow { histogram: &'static str, select: &'static str },
    /// Two queries of another shape; `SELECT` stands for the selection.
    Queries { bad: &'static str, total: &'static str, select: &'static str },
    /// A ratio whose parts are no counts.
    Ratio { ratio: &'static str, select: &'static str },
}

use Counts::{Errors, Queries, Ratio, Slow};

struct Plugin {
    id: &'static str,
    counts: Counts,
    /// Options that have to be given.
    needs: &'static [&'static str],
    /// Options that may be given, with what they are otherwise.
    may: &'static [(&'static str, &'static str)],
}

const ISTIO: &str = "destination_service_name=\"<service>\",destination_service_namespace=\"<namespace>\"";
const KOOPER: &str = "controller=\"<controller>\"";
const ERRORS: (&str, &str) = ("exclude_errors", "false");

/// The plugins, facts from their sources. `exclude_errors` leaves `code=~"5.."` out of all that is counted.
const PLUGINS: &[Plugin] = &[
    Plugin {
        id: "coredns/availability",
        counts: Errors { metric: "coredns_dns_responses_total", select: "", errors: "rcode=~\"<custom_rcode_regex>\"" },
        needs: &[],
        may: &[("custom_rcode_regex", "SERVFAIL")],
    },
    Plugin {
        id: "coredns/latency",
        counts: Slow { histogram: "coredns_dns_request_duration_seconds", select: "" },
        needs: &["bucket"],
        may: &[],
    },
    Plugin {
        id: "haproxy/frontend/availability",
        counts: Errors { metric: "haproxy_frontend_http_responses_total", select: "", errors: "code=\"5xx\"" },
        needs: &[],
        may: &[],
    },
    Plugin {
        id: "istio/v1/availability",
        counts: Errors { metric: "istio_requests_total", select: ISTIO, errors: "response_code=~\"(5..|429)\"" },
        needs: &["service", "namespace"],
        may: &[],
    },
    Plugin {
        id: "istio/v1/latency",
        counts: Slow { histogram: "istio_request_duration_milliseconds", select: ISTIO },
        needs: &["service", "namespace", "bucket"],
        may: &[ERRORS],
    },
    Plugin {
        id: "kubernetes/apiserver/availability",
        counts: Errors { metric: "apiserver_request_total", select: "", errors: "code=~\"(5..|429)\"" },
        needs: &[],
        may: &[],
    },
    Plugin {
        id: "kubernetes/apiserver/latency",
        counts: Slow { histogram: "apiserver_request_duration_seconds", select: "verb!=\"WATCH\"" },
        needs: &["bucket"],
        may: &[],
    },
    Plugin {
        id: "kubernetes/kooper/availability",
        counts: Queries {
            bad: "sum(rate(kooper_controller_processed_event_duration_seconds_count{SELECT,success=\"false\"}[{{.window}}]))",
            total: "sum(rate(kooper_controller_processed_event_duration_seconds_count{SELECT}[{{.window}}])) \
                    - sum(rate(kooper_controller_queued_events_total{SELECT,requeue=\"true\"}[{{.window}}]))",
            select: KOOPER,
        },
        needs: &["controller"],
        may: &[],
    },
    Plugin {
        id: "kubernetes/kooper/latency",
        counts: Slow { histogram: "kooper_controller_processed_event_duration_seconds", select: KOOPER },
        needs: &["controller", "bucket"],
        may: &[],
    },
    Plugin {
        id: "kubernetes/kooper/queue-congestion",
        counts: Slow { histogram: "kooper_controller_event_in_queue_duration_seconds", select: KOOPER },
        needs: &["controller", "bucket"],
        may: &[],
    },
    Plugin {
        id: "kubernetes/nginx-ingress/availability",
        counts: Errors { metric: "nginx_ingress_controller_requests", select: "", errors: "status=~\"(5..|429)\"" },
        needs: &[],
        may: &[],
    },
    Plugin {
        id: "linkerd/v2/availability",
        counts: Errors {
            metric: "response_total",
            select: "direction=\"inbound\"",
            errors: "classification=\"failure\"",
        },
        needs: &["filter"],
        may: &[],
    },
    Plugin {
        id: "prometheus/rules/eval-availability",
        counts: Queries {
            bad: "sum(rate(prometheus_rule_evaluation_failures_total{SELECT}[{{.window}}]))",
            total: "sum(rate(prometheus_rule_evaluations_total{SELECT}[{{.window}}]))",
            select: "",
        },
        needs: &[],
        may: &[],
    },
    Plugin {
        id: "prometheus/targets/availability",
        counts: Ratio { ratio: "1 - avg(up{SELECT})", select: "" },
        needs: &[],
        may: &[],
    },
    Plugin {
        id: "slok-go-http-metrics/availability",
        counts: Errors { metric: "http_request_duration_seconds_count", select: "", errors: "code=~\"(5..|429)\"" },
        needs: &["filter"],
        may: &[],
    },
    Plugin {
        id: "slok-go-http-metrics/latency",
        counts: Slow { histogram: "http_request_duration_seconds", select: "" },
        needs: &["filter", "bucket"],
        may: &[ERRORS],
    },
    Plugin {
        id: "traefik/v1/availability",
        counts: Errors {
            metric: "traefik_backend_requests_total",
            select: "backend=~\"<backend_regex>\"",
            errors: "code=~\"(5..|429)\"",
        },
        needs: &["backend_regex"],
        may: &[],
    },
    Plugin {
        id: "traefik/v1/latency",
        counts: Slow { histogram: "traefik_backend_request_duration_seconds", select: "backend=~\"<backend_regex>\"" },
        needs: &["backend_regex", "bucket"],
        may: &[ERRORS],
    },
    Plugin {
        id: "traefik/v2/availability",
        counts: Errors {
            metric: "traefik_service_requests_total",
            select: "service=~\"<service_name_regex>\"",
            errors: "code=~\"(5..)\"",
        },
        needs: &["service_name_regex"],
        may: &[],
    },
    Plugin {
        id: "traefik/v2/latency",
        counts: Slow {
            histogram: "traefik_service_request_duration_seconds",
            select: "service=~\"<service_name_regex>\"",
        },
        needs: &["service_name_regex", "bucket"],
        may: &[ERRORS],
    },
];

/// Reads `plugin: {id, options}`.
pub(crate) fn read(at: &At<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let id_at = fields.need(report, "id", "sloth-common/kubernetes/nginx-ingress/availability");
    let options_at = fields.filled("options");
    fields.finish(report);
    let id_at = id_at?;
    let id = id_at.text(report)?;
    let Some(plugin) = PLUGINS.iter().find(|plugin| id.strip_prefix("sloth-common/") == Some(plugin.id)) else {
        return refused(&id_at, id, report);
    };
    let options = options(plugin, options_at.as_ref(), &id_at, report)?;
    let texts = plugin.queries(&options);
    let mut parsed = Vec::new();
    for text in &texts {
        let mark = if text.contains("{{") { Mark::Braces } else { Mark::None };
        match template::parse(text, mark) {
            Ok(expr) => parsed.push(expr),
            Err(fault) => {
                let what = format!("with these options {id} asks what is not PromQL: {text}: {}", fault.what);
                let at = options_at.as_ref().unwrap_or(&id_at);
                report.error(at, Code::InvalidSelector, what).write("options such as filter: 'job=\"checkout\"'");
                return None;
            }
        }
    }
    reading.notes.push(format!("the plugin {id} is not run: what it asks is {}", texts.join(" of ")));
    match (&plugin.counts, parsed.as_slice()) {
        (Slow { .. }, [good, total]) => Some(Source::good_events(good, total, reading)),
        (_, [bad, total]) => Some(Source::events(bad, total, reading)),
        (_, [ratio]) => Some(Source::ratio(ratio, false, reading)),
        _ => None,
    }
}

fn refused(at: &At<'_>, id: &str, report: &mut Report<'_>) -> Option<Source> {
    let known: Vec<String> = PLUGINS.iter().map(|plugin| format!("sloth-common/{}", plugin.id)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let (what, instead) = match (id, nearest(id, &known)) {
        ("sloth-common/linkerd/v2/latency", _) => (
            format!("the plugin {id} asks what is no PromQL: a sum of a range"),
            "events, with response_latency_ms_bucket and response_latency_ms_count".to_string(),
        ),
        (_, Some(near)) if id.starts_with("sloth-common/") => {
            (format!("the plugin {id:?} is not known here"), format!("id: {near}"))
        }
        _ => (
            format!("the plugin {id:?} is a program of Sloth, and not known here"),
            "raw: {error_ratio_query: ...}, with what the plugin asks (sloth generate prints it)".to_string(),
        ),
    };
    report.error(at, Code::UnknownReference, what).write(instead);
    None
}

/// Reads the options: all that are needed, none that is not known; `filter` may always be given.
fn options(
    plugin: &Plugin,
    at: Option<&At<'_>>,
    id_at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<(String, String)>> {
    let errors = report.errors();
    let mut given: Vec<(String, String)> = Vec::new();
    if let Some(at) = at {
        let mut known: Vec<&str> = plugin.needs.to_vec();
        known.extend(plugin.may.iter().map(|(name, _)| *name));
        if !known.contains(&"filter") {
            known.push("filter");
        }
        for (key, value) in at.map(report)?.entries() {
            if !known.contains(&key.name.as_str()) {
                crate::spec::reader::unknown_key(report, key, &at.path, &known);
            } else if value.node.value != Value::Null {
                given.push((key.name.clone(), value.spelled(report)?.trim().to_string()));
            }
        }
    }
    for need in plugin.needs {
        if given.iter().all(|(name, value)| name != need || value.is_empty()) {
            let what = format!("the plugin sloth-common/{} needs the option {need:?}", plugin.id);
            report.error(at.unwrap_or(id_at), Code::MissingKey, what).write(format!("options: {{{need}: ...}}"));
        }
    }
    if let Some((_, bucket)) = given.iter().find(|(name, _)| name == "bucket")
        && bucket.parse::<f64>().is_err()
    {
        let what = format!("the bucket {bucket:?} is no number");
        report.error(at.unwrap_or(id_at), Code::InvalidValue, what).write("bucket: \"0.5\"");
    }
    for (name, otherwise) in plugin.may {
        if given.iter().all(|(own, _)| own != name) {
            given.push((name.to_string(), otherwise.to_string()));
        }
    }
    (report.errors() == errors).then_some(given)
}

impl Plugin {
    /// What it asks: bad and total, good and total, or one ratio.
    fn queries(&self, options: &[(String, String)]) -> Vec<String> {
        let option = |name: &str| options.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str());
        let fill = |text: &str| {
            // In quotes of PromQL: a backslash stays what it is in the plugin's template.
            options.iter().fold(text.to_string(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
        };
        let filter = option("filter").trim_matches(['{', '}', ',', ' ']).to_string();
        let without_errors = match option("exclude_errors") {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => "code!~\"5..\"",
            _ => "",
        };
        let select = |parts: &[&str]| {
            let all = [filter.as_str(), without_errors].into_iter().chain(parts.iter().copied());
            all.filter(|part| !part.is_empty()).map(fill).collect::<Vec<_>>().join(",")
        };
        let rate = |metric: &str, selection: String| format!("sum(rate({metric}{{{selection}}}[{{{{.window}}}}]))");
        match &self.counts {
            Errors { metric, select: own, errors } => {
                vec![rate(metric, select(&[own, errors])), rate(metric, select(&[own]))]
            }
            Slow { histogram, select: own } => vec![
                rate(&format!("{histogram}_bucket"), select(&[own, "le=\"<bucket>\""])),
                rate(&format!("{histogram}_count"), select(&[own])),
            ],
            Queries { bad, total, select: own } => {
                [bad, total].map(|text| text.replace("{SELECT", &format!("{{{}", select(&[own])))).to_vec()
            }
            Ratio { ratio, select: own } => vec![ratio.replace("SELECT", &select(&[own]))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_asks_promql_and_most_count_exactly() {
        let mut inexact = Vec::new();
        for plugin in PLUGINS {
            let mut options: Vec<(String, String)> =
                plugin.needs.iter().map(|name| (name.to_string(), "x".to_string())).collect();
            options.extend(plugin.may.iter().map(|(name, value)| (name.to_string(), value.to_string())));
            for (name, value) in &mut options {
                match name.as_str() {
                    "filter" => *value = "{job=\"x\"},".into(),
                    "bucket" => *value = "0.5".into(),
                    "exclude_errors" => *value = "true".into(),
                    _ => {}
                }
            }
            let mut reading = Reading::default();
            let parsed: Vec<_> = plugin
                .queries(&options)
                .iter()
                .map(|text| {
                    let mark = if text.contains("{{") { Mark::Braces } else { Mark::None };
                    template::parse(text, mark).unwrap_or_else(|fault| panic!("{}: {text}: {fault:?}", plugin.id))
                })
                .collect();
            let exact = match (&plugin.counts, parsed.as_slice()) {
                (Slow { .. }, [good, total]) => reading.good_events(good, total).is_ok(),
                (_, [bad, total]) => reading.events(bad, total).is_ok(),
                _ => false,
            };
            if !exact {
                inexact.push(plugin.id);
            }
        }
        assert_eq!(inexact, ["kubernetes/kooper/availability", "prometheus/targets/availability"]);
    }
}
