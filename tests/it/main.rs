//! Integration tests: the library and the daemon against a real Prometheus and a real Alertmanager.
//!
//! `tests/run` fetches the real parts; without them these tests fail, they are never skipped.

mod daemon;
mod harness;

mod alerting;
mod alerts_of_others;
mod audit;
mod backtest;
mod chart;
mod check;
mod compare;
mod conformance;
mod counts;
mod crash_points;
mod daemon_faults;
mod dashboards;
mod decider;
mod doctor;
mod exactness;
mod explain;
mod export;
mod fanout;
mod faults;
mod fleet;
mod gate;
mod gate_faults;
mod gate_stage;
mod gate_survival;
mod gate_tampering;
mod gauge_events;
mod gpu_node;
mod harness_works;
mod histogram;
mod history;
mod import;
mod incident_path;
mod incidents;
mod init;
mod lease;
mod manifests;
mod native;
mod newcomer;
mod notify_alertmanager;
mod notify_faults;
mod planned;
mod presets;
mod queue;
mod queue_silence;
mod receivers;
mod recorded;
mod refused;
mod resolution;
mod scale;
mod series;
mod several;
mod sidecar;
mod sign_in;
mod survival;
mod their_alerts;

mod transport;
mod victoria;
mod volume;
mod windows;
mod witness;
