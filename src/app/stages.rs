//! How long each stage of a tick takes: the histogram that tells a slow disk from a slow Prometheus.

use std::time::Instant;

use crate::telemetry::names;

/// A tick that is under way.
pub struct Stages {
    began: Instant,
    stage_began: Instant,
}

impl Stages {
    /// The first stage begins.
    pub fn new() -> Self {
        let now = Instant::now();
        Stages { began: now, stage_began: now }
    }

    /// `stage` has ended, and the next one begins.
    pub fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.stage_began).as_secs_f64();
        metrics::histogram!(names::TICK_STAGE_DURATION_SECONDS, "stage" => stage).record(took);
        self.stage_began = now;
    }

    /// All that readers wait for has been done.
    pub fn published(&self) {
        metrics::histogram!(names::POLL_DURATION_SECONDS).record(self.began.elapsed().as_secs_f64());
    }
}
