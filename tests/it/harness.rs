//! The test harness. Benches include it by path, which is why the modules below name theirs:
//!
//! ```ignore
//! #[path = "../tests/it/harness.rs"]
//! mod harness;
//! ```
//!
//! - [`parts`]: the real binaries, processes that end with the test, waiting.
//! - [`prometheus`], [`victoria`], [`alertmanager`]: the real servers.
//! - [`authority`]: a certificate authority, and servers with its certificates.
//! - [`api_server`]: the Leases of a Kubernetes API server on a bad day, and a way to it that can be cut.
//! - [`issuer`]: a real OpenID Connect issuer.
//! - [`liar`]: a server that says what the test makes up.
//! - [`many`]: a cheap one of very many services.
//! - [`browser`]: a real Chromium.
//! - [`exporter`]: something to scrape whose counters the test moves.
//! - [`native`]: the same for native histograms, which need protobuf.
//! - [`chunks`]: answers of remote read, changed.
//! - [`fault_proxy`]: stands before a Prometheus, breaks its answers, counts what they cost.
//! - [`receiver`]: an HTTP server that answers as told and hands over what it got.
//! - [`writer`]: samples by remote write, whose errors the test moves.

#![allow(dead_code, reason = "no single test or bench uses all of the harness")]

#[path = "harness/alertmanager.rs"]
pub mod alertmanager;
#[path = "harness/api_server.rs"]
pub mod api_server;
#[path = "harness/authority.rs"]
pub mod authority;
#[path = "harness/browser.rs"]
pub mod browser;
#[path = "harness/chunks.rs"]
pub mod chunks;
#[path = "harness/exporter.rs"]
pub mod exporter;
#[path = "harness/fault_proxy.rs"]
pub mod fault_proxy;
#[path = "harness/issuer.rs"]
pub mod issuer;
#[path = "harness/liar.rs"]
pub mod liar;
#[path = "harness/many.rs"]
pub mod many;
#[path = "harness/native.rs"]
pub mod native;
#[path = "harness/parts.rs"]
pub mod parts;
#[path = "harness/prometheus.rs"]
pub mod prometheus;
#[path = "harness/receiver.rs"]
pub mod receiver;
#[path = "harness/victoria.rs"]
pub mod victoria;
#[path = "harness/writer.rs"]
pub mod writer;
