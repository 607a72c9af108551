//! What the gate would have answered: the recorded requests of an audit log, decided again at their moments on what each
//! policy says of the SLOs then.
//!
//! The log is read beside, as far as the range has come, so that what is held does not grow with it. Of what a decision
//! rested on, only the SLOs are put in place, and the gate's policy where a policy's files have one for the service;
//! permits, halts, versions and workloads stay as they were recorded.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;

use super::lived::{Flipped, Lived};
use crate::cli::table::counted;
use crate::engine::{Ledger, Snapshot};
use crate::gate::replay::Flip;
use crate::gate::view::Scene;
use crate::gate_service::replay::{Recorded, recorded};

/// Decisions that are read ahead.
const AHEAD: usize = 64;

/// The recorded requests, and what came of them.
pub struct Decisions {
    log: Receiver<Recorded>,
    reader: Option<JoinHandle<std::io::Result<()>>>,
    next: Option<Recorded>,
    from_s: i64,
    counted: CountedDecisions,
}

/// How many were decided again.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct CountedDecisions {
    pub decided: usize,
    /// Whose inputs are gone.
    pub gone: usize,
    /// That are decided otherwise by this version on what was recorded.
    pub drifted: usize,
}

impl CountedDecisions {
    /// For people.
    pub fn text(&self, flips: usize) -> String {
        let mut text = format!("{} decided again: {}", counted(self.decided, "decision"), counted(flips, "flip"));
        for (count, what) in [
            (self.gone, "cannot be decided again"),
            (self.drifted, "decided otherwise by this version on what was recorded"),
        ] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        text
    }
}

impl Decisions {
    /// Begins to read the log in `dir`.
    pub fn open(dir: &Path, from_s: i64) -> Result<Self, String> {
        if !dir.is_dir() {
            return Err(format!("there is no audit log in {}", dir.display()));
        }
        let (found, log) = sync_channel(AHEAD);
        let dir = dir.to_owned();
        let read = move || {
            let mut listens = true;
            recorded(&dir, from_s.saturating_mul(1000), |one| listens = listens && found.send(one).is_ok())
        };
        Ok(Decisions {
            log,
            reader: Some(std::thread::spawn(read)),
            next: None,
            from_s,
            counted: CountedDecisions::default(),
        })
    }

    /// Decides what was asked up to `at_s`. `lived` are the policies, with what each says of it.
    pub fn decide(&mut self, at_s: i64, lived: &mut [Lived], snapshots: &[Snapshot], ledger: &Ledger) {
        while let Some(one) = self.due(at_s) {
            let inputs = match one.inputs {
                Err(_) => {
                    self.counted.gone += 1;
                    continue;
                }
                Ok(inputs) if inputs.decide().answer != one.answer => {
                    self.counted.drifted += 1;
                    continue;
                }
                Ok(inputs) => *inputs,
            };
            self.counted.decided += 1;
            let mut before = inputs.clone();
            let own = lived.iter_mut().zip(snapshots).filter(|(lived, _)| !lived.policy.is_peer());
            for (nth, (lived, snapshot)) in own.enumerate() {
                let mut seen = inputs.seen_in(&Scene::new(snapshot, Some(ledger), []));
                if let Some(policy) = lived.policy.gate.get(&inputs.request.service) {
                    seen = seen.under(Some(policy));
                }
                if let Some(flip) = Flip::between(&before, &seen) {
                    lived.flips.push(Flipped { decision_id: one.id.clone(), flip });
                }
                if nth == 0 {
                    before = seen;
                }
            }
        }
    }

    /// The next one that was decided on what was evaluated up to `at_s`.
    fn due(&mut self, at_s: i64) -> Option<Recorded> {
        loop {
            let one = match self.next.take() {
                Some(one) => one,
                None => self.log.recv().ok()?,
            };
            match seen_at(&one) {
                seen_at if seen_at > at_s => {
                    self.next = Some(one);
                    return None;
                }
                seen_at if seen_at <= self.from_s => {}
                _ => return Some(one),
            }
        }
    }

    /// At the end of the range: how many were decided again, or why the log could not be read.
    pub fn end(mut self) -> Result<CountedDecisions, String> {
        let whole = self.next.is_none() && self.log.try_recv().is_err();
        drop(self.log);
        match self.reader.take().filter(|_| whole).map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(format!("the audit log cannot be read: {error}")),
            _ => Ok(self.counted),
        }
    }
}

/// When the evaluation was that it was decided on.
fn seen_at(one: &Recorded) -> i64 {
    let view = one.inputs.as_ref().ok().and_then(|inputs| inputs.view.as_ref());
    view.map_or(one.time_ms.div_euclid(1000), |view| view.at)
}
