//! Integration tests: the library and the daemon against a real Prometheus and a real Alertmanager.
//!
//! `tests/run` fetches the real parts; without them these tests fail, they are never skipped.

mod harness;

mod harness_works;
mod notify_alertmanager;
mod notify_faults;
