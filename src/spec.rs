//! What users write, read into one model: services, SLOs, sources, severities, policies.
//!
//! Reading happens in two steps. The *written* shapes (`service`, `policy`) mirror the files and keep positions; the
//! *model* here is what they mean. Every problem of every file is gathered, with file, line, column and what to write
//! instead, before anything is refused.

pub mod model;

pub use model::{Model, SliSource, SloSpec};
