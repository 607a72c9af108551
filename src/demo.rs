//! Seeded scenarios with a known truth, and a simulated Prometheus that serves them over real HTTP.
//!
//! A scenario is a pure function of its seed and the second asked for: nothing is stored, so thirty days of a fleet
//! cost a few kilobytes, any moment is reached at once, and the truth (how many events really happened, how many of
//! them were bad, how many no scrape could have seen) is known exactly. `slowburn demo`, the tests and the benches
//! live on the same scenarios.
//!
//! Deliberately absent: anything the daemon needs in production. Only `cli` and tests import this module.

pub mod count;
pub mod fleet;
pub mod openmetrics;
pub mod prometheus;
pub mod promql;
pub mod scenario;
pub mod scenarios;
pub mod story;

pub use scenario::{Sample, Scenario, Truth};

/// The fleet's services and the policies of two of them as (file name, YAML), in name order: what a user would have written
/// for it.
pub fn rules() -> [(&'static str, &'static str); 6] {
    [
        ("checkout-policy.yaml", include_str!("demo/rules/checkout-policy.yaml")),
        ("checkout.yaml", include_str!("demo/rules/checkout.yaml")),
        ("feature-store.yaml", include_str!("demo/rules/feature-store.yaml")),
        ("gpu-cluster.yaml", include_str!("demo/rules/gpu-cluster.yaml")),
        ("llm-chat-policy.yaml", include_str!("demo/rules/llm-chat-policy.yaml")),
        ("llm-chat.yaml", include_str!("demo/rules/llm-chat.yaml")),
    ]
}
