//! What can be asked for: seven actions that are known here, those that a policy names itself, and what each is for.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An action without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionKind {
    /// Back to an earlier version.
    Rollback,
    /// Another number of replicas.
    Scale,
    /// Pods are replaced by the same version: all of a workload, or one (`pod/NAME`).
    Restart,
    /// A new version.
    Deploy,
    /// Another configuration.
    Config,
    /// A node takes no new pods.
    Cordon,
    /// A node takes no new pods, and those that run on it go elsewhere.
    Drain,
    /// An action of a policy's own: `flush-cache`.
    Custom(ActionName),
}

/// Longest name of an action, bytes.
pub const ACTION_NAME_BYTES_MAX: usize = 32;

/// The name of an action that a policy defines: small letters, digits and `-`, a letter first. Never one of those that
/// are known here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionName([u8; ACTION_NAME_BYTES_MAX]);

impl ActionName {
    /// The name, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= ACTION_NAME_BYTES_MAX && text.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let known = ActionKind::NAMES.iter().any(|(name, _)| *name == text);
        if !fits || known || !text.chars().all(plain) {
            return None;
        }
        let mut bytes = [0; ACTION_NAME_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(ActionName(bytes))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(ACTION_NAME_BYTES_MAX);
        std::str::from_utf8(&self.0[..end]).expect("a name is of small letters, digits and dashes")
    }
}

impl TryFrom<String> for ActionName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ActionName::new(&text).ok_or_else(|| format!("{text:?} is no name of an action"))
    }
}

impl From<ActionName> for String {
    fn from(name: ActionName) -> String {
        name.as_str().to_owned()
    }
}

impl std::fmt::Debug for ActionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ActionKind {
    /// The actions that are known without a policy.
    pub const ALL: [ActionKind; 7] = [
        ActionKind::Rollback,
        ActionKind::Scale,
        ActionKind::Restart,
        ActionKind::Deploy,
        ActionKind::Config,
        ActionKind::Cordon,
        ActionKind::Drain,
    ];

    /// Their names.
    pub const NAMES: [(&'static str, ActionKind); 7] = [
        ("rollback", ActionKind::Rollback),
        ("scale", ActionKind::Scale),
        ("restart", ActionKind::Restart),
        ("deploy", ActionKind::Deploy),
        ("config", ActionKind::Config),
        ("cordon", ActionKind::Cordon),
        ("drain", ActionKind::Drain),
    ];

    /// As in policies, requests, metrics and audit records.
    pub fn as_str(&self) -> &str {
        match self {
            ActionKind::Custom(name) => name.as_str(),
            known => ActionKind::NAMES.iter().find(|(_, kind)| kind == known).map_or("", |(name, _)| name),
        }
    }

    /// The action of this name: one that is known here, or one that a policy may define.
    pub fn named(name: &str) -> Option<Self> {
        let known = ActionKind::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind);
        known.or_else(|| ActionName::new(name).map(ActionKind::Custom))
    }

    /// Whether it is done to a node.
    pub fn is_of_node(self) -> bool {
        matches!(self, ActionKind::Cordon | ActionKind::Drain)
    }

    /// What it is for where nobody says otherwise. A scale is a cure upwards, which only what runs can tell.
    pub fn class(self) -> ActionClass {
        match self {
            ActionKind::Rollback | ActionKind::Restart => ActionClass::Mitigate,
            _ => ActionClass::Risk,
        }
    }
}

impl Serialize for ActionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ActionKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl serde::de::Visitor<'_> for Named {
            type Value = ActionKind;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of an action")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ActionKind, E> {
                ActionKind::named(text).ok_or_else(|| {
                    let known = ActionKind::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
                    E::custom(format!("unknown variant {text:?}, expected one of {known}, or an action of the policy"))
                })
            }
        }
        deserializer.deserialize_str(Named)
    }
}

/// What an action is for. A rollback, a scale-up and a restart mitigate; a deploy, a scale-down, a change of
/// configuration and what is done to a node are a risk. The policy may say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionClass {
    /// Changes nothing.
    Observe,
    /// Cures: needs a burn, and must not harm.
    Mitigate,
    /// Spends budget: needs headroom.
    Risk,
}

impl ActionClass {
    /// All classes.
    pub const ALL: [ActionClass; 3] = [ActionClass::Observe, ActionClass::Mitigate, ActionClass::Risk];

    /// As in policies, signals and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionClass::Observe => "observe",
            ActionClass::Mitigate => "mitigate",
            ActionClass::Risk => "risk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_and_none_that_is_known() {
        for name in ["flush-cache", "failover", "a", "x2", &"a".repeat(32)] {
            let kind = ActionKind::named(name).expect(name);
            assert_eq!(kind.as_str(), name);
            let text = serde_json::to_string(&kind).expect("it has a JSON form");
            assert_eq!(serde_json::from_str::<ActionKind>(&text).ok(), Some(kind));
        }
        let long = "a".repeat(33);
        for name in ["", "Flush", "flush cache", "flush_cache", "-x", "2x", "flush\u{0}", "*", "d\u{e9}ploy", &long] {
            assert_eq!(ActionKind::named(name), None, "{name:?}");
        }
        assert_eq!(ActionName::new("rollback"), None);
        assert_eq!(ActionKind::named("drain"), Some(ActionKind::Drain));
    }
}
