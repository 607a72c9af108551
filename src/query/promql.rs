//! The only place that writes PromQL.
//!
//! [`request`] is what the daemon asks, [`indicator`] an SLI as a server can evaluate it by itself,
//! [`rules`] what Prometheus and Alertmanager would say without Slowburn. Selectors are trees
//! (`selector`) that are printed, parsed again and compared; what is written around them stands here, and nowhere else:
//! `tests/tidy.rs` looks for it.

pub mod indicator;
pub mod request;
pub mod rules;

pub use indicator::{Asked, Counts, Selectors, ask, presence};
