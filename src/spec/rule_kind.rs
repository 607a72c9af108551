//! Kinds of objects of Kubernetes that hold rules: ours, those of other tools, and ConfigMaps.
//!
//! Deliberately absent: reading them. Here is what they are called.

use super::resource::{GROUP, ResourceKind, VERSION};

/// A kind of objects that hold rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleKind {
    /// One of ours.
    Own(ResourceKind),
    /// `PrometheusServiceLevel` of Sloth.
    Sloth,
    /// `ServiceLevelObjective` of Pyrra.
    Pyrra,
    /// ConfigMaps whose keys are files of SLOs.
    ConfigMap,
}

impl RuleKind {
    /// All of them.
    pub const ALL: [RuleKind; 5] = [
        RuleKind::Own(ResourceKind::ServiceLevel),
        RuleKind::Own(ResourceKind::ActionPolicy),
        RuleKind::Sloth,
        RuleKind::Pyrra,
        RuleKind::ConfigMap,
    ];

    /// `ServiceLevel`: the kind of an object.
    pub fn name(self) -> &'static str {
        match self {
            RuleKind::Own(kind) => kind.name(),
            RuleKind::Sloth => "PrometheusServiceLevel",
            RuleKind::Pyrra => "ServiceLevelObjective",
            RuleKind::ConfigMap => "ConfigMap",
        }
    }

    /// `servicelevels`: how addresses and roles call it.
    pub fn plural(self) -> &'static str {
        match self {
            RuleKind::Own(kind) => kind.plural(),
            RuleKind::Sloth => "prometheusservicelevels",
            RuleKind::Pyrra => "servicelevelobjectives",
            RuleKind::ConfigMap => "configmaps",
        }
    }

    /// `slowburn.dev`: its group as roles call it.
    pub fn group(self) -> &'static str {
        match self {
            RuleKind::Own(_) => GROUP,
            RuleKind::Sloth => "sloth.slok.dev",
            RuleKind::Pyrra => "pyrra.dev",
            RuleKind::ConfigMap => "",
        }
    }

    /// `slowburn.dev/v1alpha1`.
    pub fn api_version(self) -> String {
        match self {
            RuleKind::Own(_) => format!("{GROUP}/{VERSION}"),
            RuleKind::Sloth => "sloth.slok.dev/v1".into(),
            RuleKind::Pyrra => "pyrra.dev/v1alpha1".into(),
            RuleKind::ConfigMap => "v1".into(),
        }
    }

    /// The address of all of them, or of those of one namespace.
    pub fn path(self, namespace: Option<&str>) -> String {
        let root = if self == RuleKind::ConfigMap { "/api" } else { "/apis" };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{root}/{}{namespace}/{}", self.api_version(), self.plural())
    }
}
