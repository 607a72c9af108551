//! How long each stage of a tick takes: the histogram that tells a slow disk from a slow Prometheus, and a line of the log
//! at level debug that says what the stages cost.

use std::time::{Duration, Instant};

use tracing::debug;

use crate::telemetry::names;

/// A tick that is under way.
pub struct Stages {
    began: Instant,
    stage_began: Instant,
    cpu_before: Duration,
    /// CPU time of the whole process during each stage that has ended.
    cpu: Vec<(&'static str, Duration)>,
}

impl Stages {
    /// The first stage begins.
    pub fn new() -> Self {
        let now = Instant::now();
        Stages { began: now, stage_began: now, cpu_before: process_cpu(), cpu: Vec::with_capacity(6) }
    }

    /// `stage` has ended, and the next one begins.
    pub fn end(&mut self, stage: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.stage_began).as_secs_f64();
        metrics::histogram!(names::TICK_STAGE_DURATION_SECONDS, "stage" => stage).record(took);
        self.stage_began = now;
        let cpu = process_cpu();
        self.cpu.push((stage, cpu.saturating_sub(self.cpu_before)));
        self.cpu_before = cpu;
    }

    /// All that readers wait for has been done.
    pub fn published(&self) {
        metrics::histogram!(names::POLL_DURATION_SECONDS).record(self.began.elapsed().as_secs_f64());
    }

    /// The tick has ended. Its CPU times hold what other threads did meanwhile: answers of the API, messages that were
    /// sent.
    pub fn log(&self) {
        let cpu_ms = |stage: &str| {
            let of_stage = self.cpu.iter().find(|(name, _)| *name == stage);
            of_stage.map_or(0.0, |(_, cpu)| cpu.as_secs_f64() * 1e3)
        };
        debug!(
            read_cpu_ms = cpu_ms("read"),
            book_cpu_ms = cpu_ms("book"),
            evaluate_cpu_ms = cpu_ms("evaluate"),
            store_cpu_ms = cpu_ms("store"),
            publish_cpu_ms = cpu_ms("publish"),
            gate_cpu_ms = cpu_ms("gate"),
            "tick"
        );
    }
}

/// CPU time this process has used, user and system.
fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this frame that lives across the call, which writes nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } != 0;
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    if failed { Duration::ZERO } else { Duration::new(seconds, nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time() {
        let before = process_cpu();
        std::hint::black_box((0..5_000_000u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        let used = process_cpu().saturating_sub(before);
        assert!(used > Duration::ZERO && used < Duration::from_secs(600), "{used:?}");
    }
}
