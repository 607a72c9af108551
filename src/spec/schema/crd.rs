//! `CustomResourceDefinition`s of `ServiceLevel` and `ActionPolicy`, made of the schemas of the files that their `spec` is.
//!
//! Deliberately absent: conversion. There is one version, and a second one would be read beside it.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use super::Schema;
use super::structural::structural;
use crate::spec::problem::Place;
use crate::spec::resource::{GROUP, ResourceKind, VERSION};
use crate::spec::tree::{self, Node};

/// What is the same in each: the scope, the version, how `kubectl get` shows it, and the status, which Slowburn alone writes.
const FRAME: &str = include_str!("crd.yaml");

impl ResourceKind {
    /// The schema of its `spec`.
    pub fn schema(self) -> Schema {
        match self {
            ResourceKind::ServiceLevel => Schema::Service,
            ResourceKind::ActionPolicy => Schema::Policy,
        }
    }

    /// Its short name for `kubectl get`.
    fn short_name(self) -> &'static str {
        match self {
            ResourceKind::ServiceLevel => "sl",
            ResourceKind::ActionPolicy => "ap",
        }
    }

    /// `servicelevels.slowburn.dev`: the name of its definition.
    pub fn crd_name(self) -> String {
        format!("{}.{GROUP}", self.plural())
    }

    /// Its `CustomResourceDefinition`, as YAML.
    pub fn crd(self) -> String {
        let kind = self.name();
        let mut frame = FRAME.to_owned();
        for (mark, word) in [
            ("KIND", kind),
            ("LIST", &format!("{kind}List")),
            ("PLURAL", self.plural()),
            ("SINGULAR", &kind.to_lowercase()),
            ("SHORT", self.short_name()),
            ("CRD", &self.crd_name()),
            ("GROUP", GROUP),
            ("VERSION", VERSION),
            ("HOLDS", &format!("{}.yaml", self.schema().name())),
        ] {
            frame = frame.replace(&format!("@{mark}@"), word);
        }
        let mut root = tree::parse(&frame).expect("a test reads it").remove(0);
        let spec = structural(&self.schema().root(), self.named_by());
        assert!(put(&mut root, &spec), "the frame has a place for the spec");
        let mut out = String::new();
        let lead = "# Printed by `slowburn crds` from the readers' schemas; a test holds it to them.";
        writeln!(out, "{lead}").expect("a String takes it");
        out + &serde_saphyr::to_string(&root).expect("a tree of texts, numbers, lists and maps")
    }
}

/// Puts the schema in the place of the text `@SPEC@`.
fn put(node: &mut Node, spec: &Node) -> bool {
    match &mut node.value {
        tree::Value::Text(text) if text == "@SPEC@" => {
            *node = Node::made(spec.value.clone(), Place::default());
            true
        }
        tree::Value::List(items) => items.iter_mut().any(|item| put(item, spec)),
        tree::Value::Map(entries) => entries.iter_mut().any(|(_, value)| put(value, spec)),
        _ => false,
    }
}
