//! Drafts as files: one `service.yaml` a service, with what was changed as comments above it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::draft::Draft;
use crate::spec::load::Loaded;
use crate::spec::tree::{Node, Value};

/// A service made of foreign files.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its name.
    pub service: String,
    /// The files it is made of.
    pub files: Vec<String>,
    /// Its SLOs, each with what was changed on the way.
    pub slos: Vec<(String, Vec<String>)>,
    /// Where each of them stands: `file:line`.
    at: Vec<String>,
    document: Node,
}

/// All services that foreign files make, sorted by name.
pub fn imported(loaded: &Loaded) -> Vec<Imported> {
    let mut services: BTreeMap<&str, Vec<&Draft>> = BTreeMap::new();
    for draft in &loaded.drafts {
        services.entry(&draft.service.it).or_default().push(draft);
    }
    let service = |(name, drafts): (&str, Vec<&Draft>)| {
        let (first, place) = (drafts[0], drafts[0].service.place);
        let entries = Node::list(drafts.iter().map(|draft| draft.entry()), place);
        let document = Node::map(
            [
                ("name", Node::text(name, place)),
                ("owner", Node::text(&first.owner.it, place)),
                ("slo", Node::map([("custom", entries)], place)),
            ],
            place,
        );
        let mut files: Vec<String> = drafts.iter().map(|draft| loaded.files[draft.file].path.clone()).collect();
        files.sort();
        files.dedup();
        let slos = drafts.iter().map(|draft| (draft.id(), draft.remarks())).collect();
        let at = drafts.iter().map(|draft| format!("{}:{}", loaded.files[draft.file].path, draft.name.place.line));
        Imported { service: name.to_string(), files, slos, at: at.collect(), document }
    };
    services.into_iter().map(service).collect()
}

impl Imported {
    /// Its SLOs: where each stands (`file:line`), its id, and what was changed on the way.
    pub fn places(&self) -> impl Iterator<Item = (String, &str, &[String])> {
        self.at.iter().zip(&self.slos).map(|(at, (id, remarks))| (at.clone(), id.as_str(), remarks.as_slice()))
    }

    /// As YAML, with its remarks as comments.
    pub fn to_yaml(&self) -> String {
        let mut out = format!("# Imported from {}\n", self.files.join(", "));
        for (id, remarks) in &self.slos {
            for remark in remarks {
                let _ = writeln!(out, "# {id}: {}", remark.replace(['\n', '\r'], " "));
            }
        }
        out + &serde_saphyr::to_string(&self.document).expect("a tree of texts, numbers, lists and maps")
    }

    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.document).expect("maps have text keys") + "\n"
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                serializer.serialize_i64(*number as i64)
            }
            Value::Number(number) => serializer.serialize_f64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, node) in entries {
                    map.serialize_entry(&key.name, node)?;
                }
                map.end()
            }
        }
    }
}
