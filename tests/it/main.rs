//! Integration tests: the library and the daemon against a real Prometheus and a real Alertmanager.
//!
//! `tests/run` fetches the real parts; without them these tests fail, they are never skipped.

mod daemon;
mod harness;

mod conformance;
mod exactness;
mod faults;
mod harness_works;
mod notify_alertmanager;
mod notify_faults;
mod transport;
