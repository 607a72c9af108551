//! One decider: of the processes that share a log the one that writes it decides. The others explain, send on what is asked of
//! them, and take over when it is gone: they read the log, and decide once it is proved.
//!
//! Deliberately absent: how the one is chosen. Whoever has the log open has been, for as long as it is held.

use std::sync::PoisonError;

use tracing::{error, info};

use super::{GateService, Rules, read_state};
use crate::audit::{Log, OpenError};
use crate::gate::GateState;

/// What a follower knows of the one that decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Following {
    /// Where it is reached, where it says so.
    pub leader: Option<String>,
}

impl GateService {
    /// Whether this process decides.
    pub fn leads(&self) -> bool {
        self.following().is_none()
    }

    /// Whom it follows; `None` where it decides itself. One that has the log and cannot say any more that it is its own follows
    /// nobody who is known: that is so from the moment on that its lease could not be renewed in time.
    pub fn following(&self) -> Option<Following> {
        let following = self.0.following.read().unwrap_or_else(PoisonError::into_inner).clone();
        following.or_else(|| (!self.log().is_held()).then(Following::default))
    }

    /// Another process decides; it says that it is reached there.
    pub fn follow_leader(&self, leader: Option<String>) {
        let mut following = self.0.following.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(following) = following.as_mut()
            && following.leader != leader
        {
            info!(leader = leader.as_deref().unwrap_or("unknown"), "another process decides");
            following.leader = leader;
        }
    }

    /// Takes over with this log. It is read first: until it is, this process goes on following, so nothing is allowed that
    /// was not decided on all of it. What holds here comes into force anew, on record.
    ///
    /// # Errors
    /// The log cannot be read; for people. Then nothing is decided here.
    pub fn take_over(&self, log: Log) -> Result<(), String> {
        let (gate, reports) = read_state(&log)?;
        let rules: Rules = {
            let mut state = self.state();
            if !log.is_held() {
                return Err("it was held no more when it had been read".into());
            }
            (state.gate, state.refusals_known) = (gate, log.refusals());
            // From here on it is another process's word that holds: every policy is written down as new.
            state.digests.clear();
            *self.0.log.write().unwrap_or_else(PoisonError::into_inner) = log.clone();
            *self.0.following.write().unwrap_or_else(PoisonError::into_inner) = None;
            self.0.reported.restore(reports);
            self.lapse(&mut state);
            state.rules.clone()
        };
        self.take_rules(rules, "take_over");
        match log.doubts().is_empty() {
            true => info!(epoch = log.epoch(), "this process decides from now on"),
            false => error!(
                epoch = log.epoch(),
                "this process holds the audit log and cannot prove it complete: machines wait"
            ),
        }
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Decides no more: another process does, or may. What this one knew is forgotten, for it is not kept up from here on.
    /// Gives back the log, to be closed.
    pub fn step_down(&self) -> Log {
        let mut state = self.state();
        let before = self.log();
        let dir = before.dir().to_owned();
        *self.0.following.write().unwrap_or_else(PoisonError::into_inner) = Some(Following::default());
        *self.0.log.write().unwrap_or_else(PoisonError::into_inner) =
            Log::of_another(dir.clone(), &OpenError::InUse(dir));
        // The one that decides goes on with the alerts: they are not resolved here, they are not told of any more.
        (state.gate, state.alerts) = (GateState::new(), Default::default());
        self.0.reported.restore(Default::default());
        info!(epoch = before.epoch(), "this process decides no more");
        self.0.changes.send_modify(|count| *count += 1);
        before
    }
}
