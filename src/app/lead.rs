//! Taking turns at one log: who finds its seat taken follows, and takes over when it is free. Here by the lock of the log, which
//! only the end of a process gives up; in the modules below by a Lease of Kubernetes, which runs out.

mod api;
mod candidate;
mod election;

pub use api::Api;
pub(super) use candidate::Candidate;
pub use candidate::Lease;

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::{self, Log, OpenError, Seat};
use crate::clock::Clock;
use crate::gate_service::GateService;

/// How often the seat is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The seat of a log, for a process that is reached at an address.
#[derive(Debug)]
pub(super) struct Turn {
    dir: PathBuf,
    address: String,
}

impl Turn {
    pub(super) fn new(dir: PathBuf, address: String) -> Self {
        Turn { dir, address }
    }

    /// Takes it, if it is free.
    pub(super) fn take(&self) -> Result<Seat, OpenError> {
        Seat::take(&self.dir, Some(&self.address))
    }
}

/// Follows until the seat is free, then takes over.
pub(super) async fn wait(
    turn: Turn,
    options: audit::Options,
    gate_service: GateService,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        match turn.take() {
            Ok(seat) => {
                let options = audit::Options { seat: Some(seat), expected: true, ..options };
                let taken = tokio::task::spawn_blocking(move || {
                    let log = Log::open(options, clock).map_err(|error| error.to_string())?;
                    gate_service.take_over(log)
                });
                match taken.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(error, "this process has the log and cannot take over"),
                    Err(error) => tracing::error!(%error, "taking over was given up"),
                }
                return;
            }
            Err(OpenError::InUse(_)) => gate_service.follow_leader(Seat::address(&turn.dir)),
            Err(error) => {
                tracing::warn!(%error, "the seat of the log cannot be looked at");
                gate_service.follow_leader(None);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
