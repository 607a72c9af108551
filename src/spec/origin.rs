//! What another tool calls an SLO whose file was imported: its names and labels there.
//!
//! Nothing is decided by it. It is kept so that series can be given out under the names that dashboards of that tool
//! look for; `slowburn import` writes it, and nobody has to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reader::{At, Report};

/// Which tool's file an SLO came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginFormat {
    /// Sloth, `version: prometheus/v1`.
    Sloth,
    /// Sloth's resource for Kubernetes, `PrometheusServiceLevel`.
    SlothResource,
    /// Pyrra, `ServiceLevelObjective` of `pyrra.dev`.
    Pyrra,
    /// OpenSLO.
    Openslo,
    /// slo-generator, `ServiceLevelObjective` of `sre.google.com`.
    SloGenerator,
}

/// An SLO's identity where it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Origin {
    /// The tool.
    pub format: OriginFormat,
    /// The service's name there; Pyrra has none.
    pub service: Option<String>,
    /// The SLO's name there.
    pub slo: String,
    /// The Kubernetes namespace, where the file names one.
    pub namespace: Option<String>,
    /// What its alerts are called there.
    pub alert: Option<String>,
    /// Labels that the tool puts on all series of the SLO, beside those that name it.
    pub labels: BTreeMap<String, String>,
}

impl OriginFormat {
    /// All formats and the words for them in files.
    pub const ALL: [(&'static str, OriginFormat); 5] = [
        ("sloth", OriginFormat::Sloth),
        ("sloth-resource", OriginFormat::SlothResource),
        ("pyrra", OriginFormat::Pyrra),
        ("openslo", OriginFormat::Openslo),
        ("slo-generator", OriginFormat::SloGenerator),
    ];

    /// `sloth`, ...: the same text as in files and in JSON.
    pub fn as_str(self) -> &'static str {
        OriginFormat::ALL.iter().find(|(_, format)| *format == self).map_or("", |(word, _)| *word)
    }
}

/// Reads `origin`.
pub(crate) fn read(at: &At<'_>, report: &mut Report<'_>) -> Option<Origin> {
    let mut fields = at.map(report)?;
    let format = fields.need(report, "format", "sloth").and_then(|at| at.choice(report, &OriginFormat::ALL));
    let slo = fields.need(report, "slo", "availability").and_then(|at| at.spelled(report));
    let service = fields.get("service").and_then(|at| at.spelled(report));
    let namespace = fields.get("namespace").and_then(|at| at.spelled(report));
    let alert = fields.get("alert").and_then(|at| at.spelled(report));
    let labels = fields.get("labels").map(|at| super::alerting::labels(&at, report)).unwrap_or_default();
    fields.finish(report);
    Some(Origin { format: format?, service, slo: slo?, namespace, alert, labels: labels.into_iter().collect() })
}
