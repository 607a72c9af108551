//! `workloads:` of a service: what runs it, so that the gate can hold a request against what is really there.

use serde::Serialize;

use super::problem::Code;
use super::reader::{At, Report};
use super::selector;

/// Most workloads of one service.
const WORKLOADS_MAX: usize = 50;
/// Kinds whose series are known.
const KINDS: [&str; 2] = ["deployment", "statefulset"];

/// One workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// `deployment/checkout-service`: as requests and records name it.
    pub resource: String,
    /// Its namespace; `None`: the only one that has it.
    pub namespace: Option<String>,
    /// Label of `kube_deployment_labels` that holds the version; `None`: that of `app.kubernetes.io/version`.
    pub version_label: Option<String>,
    /// PromQL whose one value is the share of its capacity in use, ratio.
    pub utilization: Option<String>,
}

/// Reads `workloads:`.
pub(crate) fn read(at: &At<'_>, report: &mut Report<'_>) -> Vec<Workload> {
    let items = at.list(report).unwrap_or_default();
    if items.len() > WORKLOADS_MAX {
        report.error(at, Code::InvalidValue, format!("over {WORKLOADS_MAX} workloads"));
        return Vec::new();
    }
    let mut found: Vec<Workload> = Vec::new();
    for item in items {
        let Some(workload) = read_one(&item, report) else { continue };
        if found.iter().any(|earlier| earlier.resource == workload.resource) {
            let what = format!("the workload {} is listed twice", workload.resource);
            report.error(&item, Code::DuplicateKey, what).write("one row for each resource");
            continue;
        }
        found.push(workload);
    }
    found
}

fn read_one(at: &At<'_>, report: &mut Report<'_>) -> Option<Workload> {
    let mut fields = at.map(report)?;
    let resource_at = fields.need(report, "resource", "deployment/checkout-service");
    let resource = resource_at.as_ref().and_then(|at| at.text(report)).map(str::to_string);
    let namespace_at = fields.get("namespace");
    let namespace = namespace_at.as_ref().and_then(|at| at.text(report)).map(str::to_string);
    let label_at = fields.get("version_label");
    let version_label = label_at.as_ref().and_then(|at| at.text(report)).map(str::to_string);
    let utilization_at = fields.get("utilization");
    let utilization =
        utilization_at.as_ref().and_then(|at| at.text(report)).and_then(|text| match selector::gauge(text) {
            Ok(expr) => Some(expr.to_string()),
            Err(fault) => {
                let at = utilization_at.as_ref().expect("it was just read");
                report.error(at, Code::InvalidSli, format!("`utilization` is no PromQL value: {}", fault.what));
                None
            }
        });
    fields.finish(report);
    let resource = resource?;
    let named = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    let known = resource.split_once('/').is_some_and(|(kind, name)| KINDS.contains(&kind) && named(name));
    if !known {
        let what = format!("{resource:?} is no workload whose replicas and versions can be seen");
        report
            .error(resource_at.as_ref().unwrap_or(at), Code::InvalidValue, what)
            .write("deployment/NAME or statefulset/NAME");
        return None;
    }
    if let (Some(at), Some(name)) = (&namespace_at, &namespace)
        && !named(name)
    {
        report.error(at, Code::InvalidName, format!("{name:?} is no namespace"));
    }
    if let (Some(at), Some(name)) = (&label_at, &version_label)
        && !selector::is_label_name(name)
    {
        report
            .error(at, Code::InvalidName, format!("{name:?} is no label name"))
            .write("version_label: label_app_kubernetes_io_version");
    }
    Some(Workload { resource, namespace, version_label, utilization })
}
