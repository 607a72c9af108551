//! Logging, and the name of every metric Slowburn exposes of itself.

pub mod names;
