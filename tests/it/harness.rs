//! The test harness. Benches include this file by path.
//!
//! - [`parts`]: the real binaries, processes that end with the test, waiting.
//! - [`prometheus`], [`alertmanager`]: the real servers.
//! - [`exporter`]: something to scrape whose counters the test moves.
//! - [`fault_proxy`]: stands before a Prometheus, breaks its answers, counts what they cost.
//! - [`receiver`]: an HTTP server that answers as told and hands over what it got.

#![allow(dead_code, reason = "no single test or bench uses all of the harness")]

pub mod alertmanager;
pub mod exporter;
pub mod fault_proxy;
pub mod parts;
pub mod prometheus;
pub mod receiver;
