//! The only clock. Loops hold one; the pure modules (`engine`, `gate`, `query`) take times as arguments.
//!
//! A scaled clock starts at a chosen moment and runs faster than the wall: the demo lives through hours in minutes
//! with the daemon's own loops, and tests replay recorded days.

#![expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the machine began to run, also while it slept and while this process stood still: for what ends although nothing
/// of this process runs. It has no scale, and nobody sets it.
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const OF: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    const OF: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to room for one timespec, which clock_gettime fills whenever it returns 0.
    let time = unsafe { (libc::clock_gettime(OF, time.as_mut_ptr()) == 0).then(|| time.assume_init()) };
    // A system without this clock says that no time is left, for then nothing can be held.
    time.map_or(Duration::MAX, |time| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    })
}

/// Nobody waits longer: a year.
const WAIT_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A source of "now", cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Wall,
    Scaled { origin: Instant, start_ms: i64, speed: f64 },
}

impl Clock {
    /// The system's clock.
    pub fn wall() -> Self {
        Clock(Kind::Wall)
    }

    /// A clock that reads `start_ms` now and runs `speed` times as fast as the wall (`speed` > 0).
    pub fn scaled(start_ms: i64, speed: f64) -> Self {
        Clock(Kind::Scaled { origin: Instant::now(), start_ms, speed: speed.max(f64::MIN_POSITIVE) })
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Kind::Wall => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Kind::Scaled { origin, start_ms, speed } => {
                start_ms.saturating_add((origin.elapsed().as_secs_f64() * speed * 1000.0) as i64)
            }
        }
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Milliseconds that only ever grow at this clock's speed, whoever sets the time of the machine, also while it sleeps: what
    /// ages are measured by. They begin nowhere in particular.
    pub fn steady_ms(&self) -> i64 {
        match &self.0 {
            Kind::Wall => i64::try_from(since_boot().as_millis()).unwrap_or(i64::MAX),
            Kind::Scaled { .. } => self.now_ms(),
        }
    }

    /// How long the wall takes until this clock reads `at_ms`; zero when it has passed.
    pub fn wall_until(&self, at_ms: i64) -> Duration {
        let ahead_ms = (at_ms - self.now_ms()).max(0) as f64;
        let speed = match &self.0 {
            Kind::Wall => 1.0,
            Kind::Scaled { speed, .. } => *speed,
        };
        // A clock that all but stands still takes longer than can be said: as long as anybody waits.
        Duration::try_from_secs_f64(ahead_ms / 1000.0 / speed).unwrap_or(WAIT_MAX).min(WAIT_MAX)
    }

    /// Sleeps until this clock reads `at_ms`.
    pub async fn sleep_until(&self, at_ms: i64) {
        tokio::time::sleep(self.wall_until(at_ms)).await;
    }
}
