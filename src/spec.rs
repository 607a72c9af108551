//! What users write, read into one model: services, SLOs, sources, severities, policies.
//!
//! Reading goes in two steps. A document becomes a *tree* whose nodes know their line and column; strict *readers*
//! (`service`, `promise`, `sli`, `alerting`, `policy`) turn it into the *model*, gathering every problem of every
//! file, with file, line, column and what to write instead, before anything is refused.
//!
//! Deliberately absent: whether the metrics exist (that needs a Prometheus), and any decision on a policy.

mod alerting;
mod burn;
mod correction;
mod defaults;
mod document;
mod duration;
mod explain;
pub mod files;
mod gathered;
pub mod identity;
mod import;
mod indicator;
mod left_out;
mod load;
pub mod model;
mod name;
mod narrow;
mod object;
mod options;
mod origin;
mod ownership;
pub mod plain;
pub(crate) mod policy;
mod preset;
mod problem;
mod promise;
pub(crate) mod reader;
pub mod resource;
mod rule_kind;
pub mod schema;
pub(crate) mod selector;
mod service;
mod shape;
mod sli;
mod telemetry;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod unread;
mod window;
pub mod workload;

pub use crate::gate::Policy;
pub(crate) use alerting::severity;
pub(crate) use burn::shown;
pub use defaults::{Defaults, TEXT as DEFAULTS_TEXT, defaults};
pub use duration::{DurationFault, TimeSpan};
pub use explain::{Explained, ExplainedClause, explain};
pub use files::LoadedFile;
pub use import::{Imported, imported};
pub use indicator::Family;
pub use left_out::LeftOut;
pub use load::{Loaded, load, load_text, load_texts, load_with, load_with_objects};
pub use model::{Model, Origin, OriginFormat, SliSource, SloSpec};
pub use object::{ObjectKey, ObjectTexts};
pub use options::Options;
pub use preset::{Buckets, Measure, Preset, PresetGeneration, PresetSli, Presets, Times};
pub use problem::{Code, Place, Problem, Severity, sarif};
pub use rule_kind::RuleKind;
pub use selector::TimeUnit;
