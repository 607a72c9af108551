//! Objects of a cluster as sources of rules: what names one, and the texts that it holds.
//!
//! Deliberately absent: how they are got. `cluster` watches them; here they are texts with an owner.

use std::fmt;
use std::sync::Arc;

/// What names an object: its kind, its namespace, its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// `ServiceLevel`.
    pub kind: String,
    /// The namespace, which owns what the object holds.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl ObjectKey {
    /// What stands for a file name in messages.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// The texts of one object. They may name each other, and nothing of another object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectTexts {
    /// The object.
    pub key: Arc<ObjectKey>,
    /// Each with what is put behind the object's path: empty, or `/key.yaml` of a ConfigMap.
    pub texts: Vec<(String, String)>,
}
