//! `cluster`: which objects of Kubernetes hold rules, and where the API server is.

use std::path::Path;

use super::{SettingsReader, resource_name, url};
use crate::config::{Cluster, POD, SecretFile, is_selector};
use crate::spec::reader::{At, Report};
use crate::spec::{Code, RuleKind};

impl SettingsReader<'_> {
    pub(super) fn cluster(&self, at: &At<'_>, report: &mut Report<'_>) -> Option<Cluster> {
        let mut fields = at.map(report)?;
        let mut cluster = Cluster::default();
        if fields.get("kinds").is_some() {
            let known = RuleKind::ALL.map(|kind| (kind.name(), kind));
            cluster.kinds = self.each(&mut fields, "kinds", report, |_, at, report| at.choice(report, &known));
            cluster.kinds.sort();
            cluster.kinds.dedup();
        }
        cluster.namespaces = self.each(&mut fields, "namespaces", report, |_, at, report| resource_name(at, report));
        cluster.labels = fields.get("labels").and_then(|at| selector(&at, report));
        if let Some(labels) = fields.get("config_map_labels").and_then(|at| selector(&at, report)) {
            cluster.config_map_labels = labels;
        }
        let api = fields.get("url").map(|at| url(&at, report));
        let token = self.path(&mut fields, "token_file", report);
        let ca_file = self.path(&mut fields, "ca_file", report);
        fields.finish(report);
        if let Some(api) = api {
            cluster.url = api?;
        }
        cluster.token_file = SecretFile::new(token.unwrap_or_else(|| Path::new(POD).join("token")));
        let is_plain = cluster.url.starts_with("http://");
        cluster.ca_file = ca_file.or_else(|| (!is_plain).then(|| Path::new(POD).join("ca.crt")));
        Some(cluster)
    }
}

/// A label selector.
fn selector(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    if !is_selector(text) {
        report.error(at, Code::InvalidSetting, format!("{text:?} is no label selector")).write("team=checkout");
        return None;
    }
    Some(text.to_owned())
}
