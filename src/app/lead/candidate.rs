//! Standing for a lease: it is taken when it is free, renewed while it is held, and the log with it is claimed, read and given up.
//!
//! Whoever cannot renew it in time decides nothing from that moment on: the [`Hold`] ends by itself, although this task may
//! wait for an API server that hangs, or not run at all. If it is renewed afterwards, and nobody had it meanwhile, it goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::api::{Api, Says};
use super::election::{Election, Found, Step};
use crate::app::StartError;
use crate::audit::{self, Hold, Log, Seat};
use crate::clock::{Clock, since_boot};
use crate::gate_service::GateService;

/// How a log is kept, asked again each time that it is opened.
pub type LogOptions = Arc<dyn Fn() -> Result<audit::Options, String> + Send + Sync>;

/// A lease that says whose turn it is.
pub struct Lease {
    /// Where it is.
    pub api: Api,
    /// How long it lasts.
    pub duration: Duration,
    /// The log whose turn it is.
    pub log: LogOptions,
}

/// One who stands for it.
pub(in crate::app) struct Candidate {
    api: Api,
    log: LogOptions,
    election: Election,
    own: String,
    duration: Duration,
    dir: PathBuf,
    address: String,
    clock: Clock,
    /// There is state of an earlier process: its log has to be there.
    expected: bool,
    /// The lease as it was when we wrote it last; `None` while we have it not.
    ours: Option<Found>,
    hold: Hold,
    /// The log is being read, under the hold of when that began.
    reading: Option<(JoinHandle<Result<(), String>>, Hold)>,
    /// We decide, as long as it is held.
    leads: bool,
    /// After a log that could not be opened others may try first.
    rests_until: Duration,
    was_silent: bool,
}

impl Candidate {
    pub(in crate::app) fn new(
        lease: Lease,
        audit: audit::Options,
        expected: bool,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let Some(address) = audit.turns.clone() else {
            return Err(StartError::Settings("a lease needs the address at which others reach this process".into()));
        };
        let mut bytes = [0_u8; 8];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| StartError::Settings("the system has no random numbers to give".into()))?;
        let chance: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Another one with each process: what one before it held is not ours.
        let own = format!("{address}#{chance}");
        Ok(Candidate {
            election: Election::new(own.clone(), lease.duration),
            api: lease.api,
            log: lease.log,
            own,
            duration: lease.duration,
            dir: audit.dir,
            address,
            clock,
            expected,
            ours: None,
            hold: Hold::default(),
            reading: None,
            leads: false,
            rests_until: Duration::ZERO,
            was_silent: false,
        })
    }

    /// Stands for it until `resigns`, and gives it back then.
    pub(in crate::app) async fn stand(mut self, gate_service: GateService, resigns: CancellationToken) {
        loop {
            tokio::select! {
                () = resigns.cancelled() => break,
                () = self.round(&gate_service) => {}
            }
            self.follow_up(&gate_service).await;
            tokio::select! {
                () = resigns.cancelled() => break,
                () = tokio::time::sleep(self.election.every(chance())) => {}
            }
        }
        self.give_back().await;
    }

    /// One look at the lease, and what is to be done about it.
    async fn round(&mut self, gate_service: &GateService) {
        if since_boot() < self.rests_until {
            return;
        }
        if let Some(ours) = self.ours.clone() {
            let asked = since_boot();
            match self.api.replace(&ours, &self.election.spec(Some(&ours), Step::Renew, &wall_time())).await {
                Says::Is(found) => return self.held(found, asked),
                Says::Conflict | Says::Absent => {}
                Says::Nothing(why) => return self.silent(&why),
            }
        }
        // It is not as we left it, or was not ours.
        let found = match self.api.get().await {
            Says::Is(found) => Some(found),
            Says::Absent => None,
            Says::Conflict => return self.silent("it answers a question with a conflict"),
            Says::Nothing(why) => return self.silent(&why),
        };
        self.was_silent = false;
        let vacant = !Seat::was_claimed(&self.dir);
        let step = self.election.step(found.as_ref(), since_boot(), vacant);
        if step != Step::Renew {
            // Somebody else has it, or had it, or took it away: what we began with it is over.
            self.lost(gate_service);
        }
        let asked = since_boot();
        let spec = self.election.spec(found.as_ref(), step, &wall_time());
        let says = match (step, &found) {
            (Step::Wait, _) | (Step::Renew | Step::Take, None) => return,
            (Step::Create, _) => self.api.create(spec).await,
            (Step::Renew | Step::Take, Some(found)) => self.api.replace(found, &spec).await,
        };
        match says {
            Says::Is(found) => {
                if step != Step::Renew {
                    info!(holder = self.own, transitions = found.transitions, "the lease is taken");
                }
                self.held(found, asked);
            }
            // Another one was faster.
            Says::Conflict | Says::Absent => {}
            Says::Nothing(why) => self.silent(&why),
        }
    }

    fn held(&mut self, found: Found, asked: Duration) {
        self.hold.until(asked + self.election.good_for());
        (self.ours, self.was_silent) = (Some(found), false);
    }

    fn silent(&mut self, why: &str) {
        if !std::mem::replace(&mut self.was_silent, true) {
            warn!(why, held = self.hold.holds(), "the lease cannot be looked at");
        }
    }

    /// It is not ours any more.
    fn lost(&mut self, gate_service: &GateService) {
        self.hold.end();
        // What was opened under it never comes back to life: the next time has a hold of its own.
        self.hold = Hold::default();
        let had = self.ours.take().is_some();
        if std::mem::take(&mut self.leads) {
            warn!(holder = self.own, "the lease is lost");
            close(gate_service);
        } else if had {
            info!(holder = self.own, "the lease was lost before the log was read");
        }
    }

    /// Reads the log once the lease is held, and tells the gate whom to follow while it is not.
    async fn follow_up(&mut self, gate_service: &GateService) {
        if self.reading.as_ref().is_some_and(|(reading, _)| reading.is_finished())
            && let Some((reading, hold)) = self.reading.take()
        {
            let whole = self.ours.is_some() && self.hold.is(&hold);
            match reading.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) if whole => self.leads = true,
                // The lease has gone meanwhile, although it may have come back: what was opened under it is over, and the gate
                // follows until the log is read again.
                Ok(()) => close(gate_service),
                // Nothing is wrong with the log: if the lease is had again, or still, it is read again.
                Err(why) if !self.hold.holds() || !whole => {
                    warn!(why, "the log was not taken over: the lease was not held any more");
                }
                Err(why) => {
                    error!(why, "this process has the lease and cannot take over");
                    self.give_back().await;
                    self.rests_until = since_boot() + self.duration;
                }
            }
        }
        if self.leads && !Seat::is_claimed_as(&self.dir, &self.address, &self.own) {
            warn!(holder = self.own, "another process has claimed the log, and the lease is here: it is claimed again");
            self.hold.end();
            self.hold = Hold::default();
            self.leads = false;
            close(gate_service);
        }
        if self.leads {
            return;
        }
        let others = if self.ours.is_none() { Seat::claimed_by(&self.dir) } else { None };
        gate_service.follow_leader(others.filter(|address| *address != self.address));
        if self.ours.is_some() && self.reading.is_none() && self.hold.holds() {
            self.reading = Some((self.take_over(gate_service.clone()), self.hold.clone()));
        }
    }

    fn take_over(&self, gate_service: GateService) -> JoinHandle<Result<(), String>> {
        let (options, clock, dir) = (Arc::clone(&self.log), self.clock.clone(), self.dir.clone());
        let (address, own, hold) = (self.address.clone(), self.own.clone(), self.hold.clone());
        let expected = self.expected || Seat::was_claimed(&dir);
        tokio::task::spawn_blocking(move || {
            let options = options()?;
            let said = |error: audit::OpenError| error.to_string();
            let seat = Seat::claim(&dir, &address, &own, hold, options.memory_file.as_deref()).map_err(said)?;
            let options = audit::Options { seat: Some(seat), expected, ..options };
            let log = Log::open(options, clock).map_err(said)?;
            gate_service.take_over(log.clone()).inspect_err(|_| log.close())
        })
    }

    /// Whoever comes next need not wait until it has run out.
    async fn give_back(&mut self) {
        self.hold.end();
        self.hold = Hold::default();
        let Some(ours) = self.ours.take() else { return };
        match self.api.replace(&ours, &Election::given_back(&wall_time())).await {
            Says::Is(_) => info!(holder = self.own, "the lease is given back"),
            says => debug!(?says, "the lease was not given back, and runs out"),
        }
    }
}

/// The gate follows from now on, and its log is closed behind it.
fn close(gate_service: &GateService) {
    let log = gate_service.step_down();
    drop(tokio::task::spawn_blocking(move || log.close()));
}

/// A number from 0 to 1 that nobody foresees; 0 where the system has none to give.
fn chance() -> f64 {
    let mut bytes = [0_u8; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

/// The time of the system, as a Lease has it; nobody goes by it.
fn wall_time() -> String {
    let now = jiff::Timestamp::from_millisecond(Clock::wall().now_ms()).unwrap_or_default();
    now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::OpenError;
    use crate::gate_service::Options;
    use crate::outbound::ApiServer;

    fn at(dir: &std::path::Path) -> (Candidate, GateService) {
        let turns = Some("http://here".to_owned());
        let audit = audit::Options { turns, ..audit::Options::new(dir) };
        let server =
            ApiServer::new("http://127.0.0.1:1", None, Box::new(|| Err("it is not asked".into()))).expect("a URL");
        let log = dir.to_owned();
        let lease = Lease {
            api: Api::new(server, "ns".into(), "slowburn".into(), Duration::from_secs(1)),
            duration: Duration::from_secs(15),
            log: Arc::new(move || Ok(audit::Options::new(&log))),
        };
        let candidate = Candidate::new(lease, audit, false, Clock::wall()).expect("it has an address");
        let gate_service = GateService::new(Options {
            log: Log::of_another(dir, &OpenError::InUse(dir.to_owned())),
            dir: dir.to_owned(),
            clock: Clock::wall(),
            identities: Default::default(),
            external_url: None,
            follows: true,
        });
        (candidate, gate_service.expect("it follows"))
    }

    fn has_lease(candidate: &mut Candidate) {
        let spec = json!({"holderIdentity": candidate.own, "leaseDurationSeconds": 15});
        let found = Found::of(json!({"metadata": {"resourceVersion": "1"}, "spec": spec})).expect("a Lease");
        candidate.held(found, since_boot());
    }

    async fn has_read(candidate: &Candidate) {
        while !candidate.reading.as_ref().expect("it reads").0.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_read_under_a_lease_that_went_and_came_back_is_read_again_before_anything_is_decided() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut candidate, gate_service) = at(folder.path());
        has_lease(&mut candidate);
        candidate.follow_up(&gate_service).await;
        has_read(&candidate).await;
        // Another one may have had it between the two, and written.
        candidate.lost(&gate_service);
        has_lease(&mut candidate);
        candidate.follow_up(&gate_service).await;
        assert!(!candidate.leads && !gate_service.leads(), "what was read before is over");
        has_read(&candidate).await;
        candidate.follow_up(&gate_service).await;
        assert!(candidate.leads && gate_service.leads());
    }

    /// A relative: it is lost before the log is claimed, and is back when that has failed.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_claim_that_failed_under_a_lease_that_went_is_no_fault_of_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut candidate, gate_service) = at(folder.path());
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let (waits, log) = (std::sync::Mutex::new(waits), Arc::clone(&candidate.log));
        candidate.log = Arc::new(move || {
            waits.lock().expect("no panic").recv().expect("it is told to go on");
            log()
        });
        has_lease(&mut candidate);
        candidate.follow_up(&gate_service).await;
        candidate.lost(&gate_service);
        has_lease(&mut candidate);
        goes_on.send(()).expect("it waits");
        has_read(&candidate).await;
        candidate.follow_up(&gate_service).await;
        assert!(!candidate.leads && candidate.rests_until.is_zero(), "it does not stand aside for that");
        goes_on.send(()).expect("it waits");
        has_read(&candidate).await;
        candidate.follow_up(&gate_service).await;
        assert!(candidate.leads && gate_service.leads());
    }
}
