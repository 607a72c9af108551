//! Which processes answered for a target, and since when they ran: by what `process_start_time_seconds` said at its scrapes.
//!
//! Deliberately absent: what follows for counters. That is `evidence` and `delta`.

use super::evidence::TargetEvidence;
use super::target::{Known, ProcessMoment, Target};

/// Two statements of when a process began mean the same within this, milliseconds: some derive it from an uptime.
const SAME_START_MS: i64 = 1000;
/// A process outlived the one after it by far if it had so many times as long to count.
const OUTLIVED: i64 = 10;

impl TargetEvidence {
    /// Moments at which another process of a target answered than before, ascending: few of all its moments.
    pub(super) fn new_processes(&self, target: u32) -> &[i64] {
        self.began.get(&target).map_or(&[], Vec::as_slice)
    }

    /// When the process began that answered at this very moment, milliseconds.
    pub fn process_at(&self, target: u32, at_ms: i64) -> Option<i64> {
        let processes = self.processes.get(&target)?;
        let place = processes.binary_search_by_key(&at_ms, |process| process.at_ms).ok()?;
        Some(processes[place].start_ms)
    }

    /// When the process began that answered last up to `at_ms`, milliseconds; an older view of counters does not say.
    fn process_before(&self, target: u32, at_ms: i64) -> Option<i64> {
        let processes = self.processes.get(&target)?;
        processes[..processes.partition_point(|process| process.at_ms <= at_ms)].last().map(|process| process.start_ms)
    }

    /// Since when the process runs that answered at this very moment, milliseconds, if it is the newest that answered before.
    pub fn runs_since(&self, of: &Target, target: u32, at_ms: i64) -> Option<i64> {
        let newest = self.newest_start(of, target, at_ms)?;
        self.process_at(target, at_ms).filter(|began_ms| (began_ms - newest).abs() <= SAME_START_MS)
    }

    /// Whether the process that answered at this very moment is an older one than another that answered before: two answer by
    /// turns.
    pub fn is_older_process(&self, of: &Target, target: u32, at_ms: i64) -> bool {
        let newest = self.newest_start(of, target, at_ms);
        newest.zip(self.process_at(target, at_ms)).is_some_and(|(newest, own)| own < newest - SAME_START_MS)
    }

    /// When the newest process began that answered before `at_ms`, milliseconds.
    pub fn newest_start(&self, of: &Target, target: u32, at_ms: i64) -> Option<i64> {
        let known = of.process.filter(|known| known.seen_ms < at_ms).map(|known| known.start_ms);
        let processes = self.processes.get(&target)?.iter().take_while(|process| process.at_ms < at_ms);
        known.max(processes.map(|process| process.start_ms).max())
    }

    /// Whether another process answered at `at_ms` than at `was_ms`, or than is known of the target; `false` where nobody says
    /// so.
    pub fn other_process(&self, of: &Target, target: u32, was_ms: i64, at_ms: i64) -> bool {
        // One that was seen first since then, and was another than before.
        if of.process.is_some_and(|known| known.new && known.seen_ms > was_ms && known.seen_ms <= at_ms) {
            return true;
        }
        let known = of.process.filter(|known| known.seen_ms <= was_ms).map(|known| known.start_ms);
        let before = self.process_at(target, was_ms).or_else(|| self.process_before(target, was_ms)).or(known);
        before.zip(self.process_at(target, at_ms)).is_some_and(|(was, now)| (now - was).abs() > SAME_START_MS)
    }

    /// Whether the process before the one that answered at this very moment had far longer to count than this one. In a crash
    /// loop neither had.
    pub(super) fn outlived(&self, of: &Target, target: u32, was_ms: i64, at_ms: i64) -> bool {
        let lives = self.newest_start(of, target, at_ms).zip(self.process_at(target, at_ms));
        lives.is_some_and(|(before, now)| at_ms - before >= OUTLIVED * (at_ms - now).max(at_ms - was_ms))
    }

    /// Whether the process of a target began anew after `was_ms` and up to `at_ms`; `None` where nobody says so.
    pub fn began_anew(&self, of: &Target, target: u32, was_ms: i64, at_ms: i64) -> Option<bool> {
        let processes = self.processes.get(&target)?;
        let inside = |process: &&ProcessMoment| process.at_ms > was_ms && process.at_ms <= at_ms;
        let from = processes.partition_point(|process| process.at_ms <= was_ms);
        let first = processes[from..].iter().find(inside)?;
        // A process that nobody saw before is new if it began since.
        let known = from > 0 || of.process.is_some_and(|known| known.seen_ms <= was_ms);
        Some(
            processes[from..].iter().take_while(inside).any(|process| process.new) || !known && first.start_ms > was_ms,
        )
    }

    /// The newest process of a target that this read shows.
    pub fn newest_process(&self, target: u32) -> Option<Known> {
        let newest = self.processes.get(&target)?.iter().max_by_key(|process| (process.start_ms, -process.at_ms))?;
        Some(Known { seen_ms: newest.at_ms, start_ms: newest.start_ms, new: newest.new })
    }

    /// Marks which processes are other ones than before.
    pub(super) fn mark_new(&mut self, targets: &[Target]) {
        for (&target, processes) in &mut self.processes {
            processes.sort_by_key(|process| process.at_ms);
            // What was seen before may be read again: it was new then, and is no newer now.
            let known = targets[target as usize].process;
            let mut newest = None;
            for process in processes {
                newest = newest.max(known.filter(|known| known.seen_ms < process.at_ms).map(|known| known.start_ms));
                process.new = newest.is_some_and(|start_ms| process.start_ms > start_ms + SAME_START_MS)
                    || known.is_some_and(|known| known.seen_ms == process.at_ms && known.new);
                newest = newest.max(Some(process.start_ms));
                if process.new {
                    self.began.entry(target).or_default().push(process.at_ms);
                }
            }
        }
    }
}
