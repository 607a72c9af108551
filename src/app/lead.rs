//! Taking turns at one log: who finds its seat taken follows, and takes over when it is free. Here by the lock of the log, which
//! only the end of a process gives up; in the modules below by a Lease of Kubernetes, which runs out.
//!
//! A log whose volume is full or read-only is waited for in the same way: machines wait until it can be written.

mod api;
mod candidate;
mod election;

pub use api::Api;
pub(super) use candidate::Candidate;
pub use candidate::{Lease, LogOptions};

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::{self, Log, OpenError, Seat};
use crate::clock::Clock;
use crate::gate_service::GateService;

/// How often the seat is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A log that cannot be opened is tried again after this, and after twice as long each time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Up to this.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

/// The seat of a log, for a process that is reached at an address, where others take turns with it.
#[derive(Debug)]
pub(super) struct Turn {
    dir: PathBuf,
    address: Option<String>,
}

impl Turn {
    pub(super) fn new(dir: PathBuf, address: Option<String>) -> Self {
        Turn { dir, address }
    }

    /// Takes it, if it is free.
    pub(super) fn take(&self) -> Result<Seat, OpenError> {
        Seat::take(&self.dir, self.address.as_deref())
    }
}

/// Why a log was not taken over.
enum Fault {
    /// It may be otherwise in a while.
    ForNow(String),
    ForGood(String),
}

/// Waits until the seat is free and the log can be written, then takes over. `expected`: there was a log before.
pub(super) async fn wait(
    turn: Turn,
    again: LogOptions,
    expected: bool,
    gate_service: GateService,
    clock: Clock,
    stop: CancellationToken,
) {
    let (mut pause, mut said) = (AGAIN_AFTER, None);
    loop {
        let fault = match turn.take() {
            Err(OpenError::InUse(_)) => {
                gate_service.follow_leader(Seat::address(&turn.dir));
                None
            }
            Err(error) => {
                gate_service.follow_leader(None);
                Some(error.to_string())
            }
            Ok(seat) => {
                let (again, clock, gate_service) = (again.clone(), clock.clone(), gate_service.clone());
                let taken =
                    tokio::task::spawn_blocking(move || take_over(&again, seat, expected, clock, &gate_service));
                match taken.await.unwrap_or_else(|error| Err(Fault::ForGood(error.to_string()))) {
                    Ok(()) => return,
                    Err(Fault::ForNow(why)) => Some(why),
                    Err(Fault::ForGood(why)) => {
                        tracing::error!(why, "this process holds the audit log and cannot take over");
                        return;
                    }
                }
            }
        };
        let wait = if fault.is_some() { pause } else { LOOK_EVERY };
        pause = if fault.is_some() { (pause * 2).min(AGAIN_AFTER_MAX) } else { AGAIN_AFTER };
        // Once, not with each try.
        if fault.is_some() && fault != said {
            tracing::warn!(why = fault, "the audit log cannot be opened: machines wait, and it is tried again");
            said = fault;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn take_over(
    again: &LogOptions,
    seat: Seat,
    expected: bool,
    clock: Clock,
    gate_service: &GateService,
) -> Result<(), Fault> {
    let options = again().map_err(Fault::ForNow)?;
    let options = audit::Options { seat: Some(seat), expected, ..options };
    let log = Log::open(options, clock).map_err(|error| match error.may_pass() {
        true => Fault::ForNow(error.to_string()),
        false => Fault::ForGood(error.to_string()),
    })?;
    tracing::info!(origin = log.public_key().name(), records = log.checkpoint().size, "the audit log is open");
    gate_service.take_over(log).map_err(Fault::ForGood)
}
