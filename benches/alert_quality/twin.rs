//! The policies over prefix sums: a month of slices in milliseconds. Ours shares the page, the guard and the test of
//! evidence with the engine and repeats only its windows; `engine` holds it to the engine itself.

use slowburn::engine::chance;
use slowburn::engine::clustering;
use slowburn::engine::ledger::Evidence;
use slowburn::engine::page::{Moment, Page};
use slowburn::engine::ticket;

use crate::scenario::{DAY, HOUR, RES, Service, slices};

/// The levels of the guard that are in force where nothing is said: pages, tickets.
pub const LEVELS: (f64, f64) = (0.002, 0.1);

/// Whose pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    Ours,
    Workbook,
    Sloth,
    Pyrra,
    ThreeFailures,
    Stark,
}

impl Policy {
    pub const ALL: [Policy; 6] =
        [Policy::Ours, Policy::Workbook, Policy::Sloth, Policy::Pyrra, Policy::ThreeFailures, Policy::Stark];

    pub fn name(self) -> &'static str {
        match self {
            Policy::Ours => "Slowburn",
            Policy::Workbook => "SRE Workbook",
            Policy::Sloth => "Sloth 28 d",
            Policy::Pyrra => "Pyrra",
            Policy::ThreeFailures => "three failures",
            Policy::Stark => "Stark",
        }
    }
}

struct Clause {
    long: usize,
    short: usize,
    factor: f64,
    /// Slices it must hold before it fires.
    held: usize,
    page: bool,
}

fn clauses(policy: Policy) -> Vec<Clause> {
    // In half minutes.
    let of = |rows: [(usize, usize, f64, usize); 4]| {
        let clause = |(nth, (long, short, factor, held))| {
            let [long, short, held] = [long, short, held].map(slices);
            Clause { long, short, factor, held, page: nth < 2 }
        };
        rows.into_iter().enumerate().map(clause).collect()
    };
    match policy {
        Policy::Sloth => of([(120, 10, 13.44, 0), (720, 60, 5.6, 0), (2880, 240, 2.8, 0), (8640, 720, 28.0 / 30.0, 0)]),
        Policy::Pyrra => of([(120, 10, 14.0, 4), (720, 60, 7.0, 30), (2880, 240, 2.0, 120), (11_520, 720, 1.0, 360)]),
        _ => of([(120, 10, 14.4, 0), (720, 60, 6.0, 0), (2880, 240, 3.0, 0), (8640, 720, 1.0, 0)]),
    }
}

/// When it fired, slice by slice.
#[derive(Default)]
pub struct Signals {
    pub page: Vec<bool>,
    pub ticket: Vec<bool>,
}

/// Running sums of what an SLO counts.
#[derive(Default)]
pub struct Sums(Vec<(u64, u64)>);

impl Sums {
    pub fn of(slices: &[(u64, u64)]) -> Self {
        let mut sums = Sums(vec![(0, 0)]);
        slices.iter().for_each(|slice| sums.push(*slice));
        sums
    }

    fn push(&mut self, (total, bad): (u64, u64)) {
        let last = self.0[self.0.len() - 1];
        self.0.push((last.0 + total, last.1 + bad));
    }

    /// Over slices `from..to`; before the first there was nothing.
    pub fn range(&self, from: i64, to: i64) -> (u64, u64) {
        let at = |slice: i64| self.0[slice.clamp(0, self.0.len() as i64 - 1) as usize];
        let ((total, bad), (total_before, bad_before)) = (at(to), at(from));
        (total - total_before, bad - bad_before)
    }

    fn burn(&self, end: usize, slices: usize, budget: f64) -> f64 {
        let (total, bad) = self.range(end as i64 - slices as i64, end as i64);
        if total == 0 { 0.0 } else { bad as f64 / total as f64 / budget }
    }
}

/// One policy as it lives through the slices of an SLO.
pub struct Twin {
    policy: Policy,
    clauses: Vec<Clause>,
    budget: f64,
    mean: f64,
    events: bool,
    confidence: (f64, f64),
    held: Vec<usize>,
    page: Option<Page>,
    ticket: Option<ticket::Held>,
    pub signals: Signals,
}

impl Twin {
    /// `events` says whether events are counted or judged slices.
    pub fn new(policy: Policy, service: &Service, events: bool, confidence: (f64, f64)) -> Self {
        let clauses = clauses(policy);
        let held = vec![0; clauses.len()];
        let mean = if events { service.rpm * RES as f64 / 60.0 } else { 1.0 };
        let (budget, signals) = (service.budget(), Signals::default());
        Twin { policy, clauses, budget, mean, events, confidence, held, page: None, ticket: None, signals }
    }

    /// The slice that ends at `end`, the count of slices so far.
    pub fn step(&mut self, sums: &Sums, end: usize) {
        let mut fires = [false; 2];
        for nth in 0..self.clauses.len() {
            let over = self.over(sums, &self.clauses[nth], end);
            self.held[nth] = if over { self.held[nth] + 1 } else { 0 };
            fires[usize::from(!self.clauses[nth].page)] |= over && self.held[nth] > self.clauses[nth].held;
        }
        let mut page = fires[0];
        if self.policy == Policy::Ours {
            self.page = self.stepped(sums, end, page);
            page = self.page.is_some_and(|page| page.fires());
            let over = std::mem::take(&mut fires[1]);
            (self.ticket, fires[1]) = self.ticketed(sums, end, over);
        }
        self.signals.page.push(page);
        self.signals.ticket.push(fires[1]);
    }

    /// What is held of a ticket, and whether it is out.
    fn ticketed(&self, sums: &Sums, end: usize, over: bool) -> (Option<ticket::Held>, bool) {
        let at = end as i64 * RES;
        let tickets = || self.clauses.iter().filter(|clause| !clause.page);
        let counts = |to: i64, span_s: i64| sums.range((to - span_s) / RES, to / RES);
        let (length_s, allowed) = (|slices: usize| slices as i64 * RES, 1.0 + 1e-9);
        let hour = at / ticket::STEP_S * ticket::STEP_S;
        let newest = |span_s: i64| counts(at, ticket::span_from_hour(at, span_s));
        let lasts = || {
            tickets().any(|clause| {
                let (long_s, short_s) = (length_s(clause.long), length_s(clause.short));
                sums.burn((hour / RES) as usize, clause.long, self.budget) > clause.factor * allowed
                    && ticket::lasts(counts(hour, long_s), clause.factor * self.budget, long_s, short_s, &newest)
            })
        };
        let of_hour = (ticket::of_hour(at) / RES) as usize;
        let in_hour = || tickets().any(|clause| self.over_for(sums, clause, end, of_hour));
        let over_since = |since: i64| {
            tickets().any(|clause| {
                let alone = clause.long.min(((at - since) / RES) as usize);
                let (total, bad) = counts(at, length_s(alone));
                (self.over(sums, clause, end) || self.over_for(sums, clause, end, of_hour))
                    && sums.burn(end, alone, self.budget) > clause.factor * allowed
                    && chance::tail(bad, total, self.budget) <= self.confidence.1
            })
        };
        let longest_s = tickets().map(|clause| length_s(clause.long)).max().unwrap_or(0);
        let over = over || in_hour();
        let now = ticket::Moment { at, longest_s, over, lasts: &lasts, over_since: &over_since };
        let held = match at % ticket::STEP_S {
            0 => ticket::Held::step(self.ticket, &ticket::Moment { over: in_hour(), ..now }),
            _ => self.ticket,
        };
        (held, now.fires(held))
    }

    fn stepped(&self, sums: &Sums, end: usize, over: bool) -> Option<Page> {
        if self.page.is_none() && !over {
            return None;
        }
        let counts = |to: i64, length_s: i64| sums.range((to - length_s) / RES, to / RES);
        let at = end as i64 * RES;
        let over_since = |since: i64| {
            let alone = ((at - since) / RES) as usize;
            let page = |clause: &&Clause| clause.page;
            self.clauses.iter().filter(page).any(|clause| {
                self.over(sums, clause, end)
                    && sums.burn(end, clause.short.min(alone), self.budget) > clause.factor * (1.0 + 1e-9)
            })
        };
        let now = Moment {
            at,
            slice_s: RES,
            budget: self.budget,
            factor: 6.0,
            short_s: 300,
            over,
            over_since: &over_since,
            counts: &counts,
        };
        Page::step(self.page, &now)
    }

    fn over(&self, sums: &Sums, clause: &Clause, end: usize) -> bool {
        self.over_for(sums, clause, end, 0)
    }

    /// By a long window that is so many slices longer.
    fn over_for(&self, sums: &Sums, clause: &Clause, end: usize, more: usize) -> bool {
        let allowed = clause.factor * (1.0 + 1e-9);
        let burns = |slices| match self.policy {
            Policy::Stark => {
                let (_, bad) = sums.range(end as i64 - slices as i64, end as i64);
                bad as f64 > allowed * self.budget * self.mean * slices as f64
            }
            _ => sums.burn(end, slices, self.budget) > allowed,
        };
        if !burns(clause.short) || !burns(clause.long + more) {
            return false;
        }
        match self.policy {
            Policy::Ours => {
                let part = ticket::part_of(clause.long as i64 * RES, RES) / RES;
                self.is_no_chance(sums, end, clause, clause.long, more)
                    || !clause.page && self.is_no_chance(sums, end, clause, part as usize, more)
            }
            Policy::ThreeFailures => sums.range(end as i64 - clause.long as i64, end as i64).1 >= 3,
            _ => true,
        }
    }

    /// Whether the bad ones of the newest slices of the long window of a clause, and `more` before them, are no chance.
    fn is_no_chance(&self, sums: &Sums, end: usize, clause: &Clause, slices: usize, more: usize) -> bool {
        let (from, to) = (end as i64 - (slices + more) as i64, end as i64);
        let bad = sums.range(from, to).1;
        let counts = (sums.range(from, to - more as i64).0.max(bad), bad);
        let confidence = if clause.page { self.confidence.0 } else { self.confidence.1 };
        if !self.events {
            return chance::tail(counts.1, counts.0, self.budget) <= confidence;
        }
        let steps = |from: i64, to: i64, step_s: i64| {
            let steps = from.max(0).div_euclid(step_s)..to.div_euclid(step_s);
            let sum = |step: i64| sums.range(step * step_s / RES, (step + 1) * step_s / RES);
            steps.map(sum).collect()
        };
        let at = end as i64 * RES;
        clustering::chance(&steps, at, (slices + more) as i64 * RES, counts, self.budget, confidence) <= confidence
    }
}

/// Lives through events.
pub fn events(policies: &[Policy], slices: &[(u64, u64)], service: &Service, confidence: (f64, f64)) -> Vec<Signals> {
    let sums = Sums::of(slices);
    let run = |policy: &Policy| {
        let mut twin = Twin::new(*policy, service, true, confidence);
        (1..=slices.len()).for_each(|end| twin.step(&sums, end));
        twin.signals
    };
    policies.iter().map(run).collect()
}

/// How slices of a p95 are judged: on evidence, or by the share of a sample of twenty, as others do and we did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    Evidence,
    Share,
}

/// Lives through the judged slices of a p95.
pub fn judged(judging: Judging, slices: &[(u64, u64)], service: &Service) -> (Signals, Vec<bool>) {
    let policy = if judging == Judging::Evidence { Policy::Ours } else { Policy::Workbook };
    let mut twin = Twin::new(policy, service, false, LEVELS);
    let counts = Sums::of(slices);
    let test = Evidence::of(50_000);
    let (mut sums, mut bad) = (Sums::of(&[]), vec![false; slices.len()]);
    let mut judged = vec![false; slices.len()];
    for end in 0..slices.len() as i64 {
        let hour = counts.range(end + 1 - HOUR as i64, end + 1);
        let mut from = end;
        match judging {
            Judging::Share => {
                let span = (end + 1 - HOUR as i64..=end).rev().map(|from| counts.range(from, end + 1));
                let decided = span.into_iter().find(|(total, _)| *total >= 20);
                judged[end as usize] = decided.is_some();
                bad[end as usize] = decided.is_some_and(|(total, slow)| test.is_over(total, slow));
            }
            Judging::Evidence => {
                judged[end as usize] = hour.0 > 0;
                if let Some(first) = broken_from(&test, slices, &counts, end) {
                    from = first;
                    bad[first as usize..=end as usize].fill(true);
                    judged[first as usize..=end as usize].fill(true);
                }
            }
        }
        sums.0.truncate(from as usize + 1);
        for slice in from..=end {
            sums.push((u64::from(judged[slice as usize]), u64::from(bad[slice as usize])));
        }
        twin.step(&sums, end as usize + 1);
    }
    (twin.signals, bad)
}

fn broken_from(test: &Evidence, slices: &[(u64, u64)], counts: &Sums, end: i64) -> Option<i64> {
    let over = |slice: i64| test.is_over(slices[slice as usize].0, slices[slice as usize].1);
    let mid = 300 / RES;
    let in_mid = end.div_euclid(mid) * mid;
    let mids = (1..12).map(|nth| in_mid - nth * mid).filter(|from| end - from < HOUR as i64);
    let mut spans = (in_mid..=end).rev().chain(mids);
    let evident = |from: &i64| {
        let (total, slow) = counts.range(*from, end + 1);
        test.is_broken(total, slow)
    };
    let from = Some(end).filter(|end| over(*end)).and_then(|_| spans.find(evident))?;
    (from.max(0)..=end).find(|slice| over(*slice))
}

/// So long a story that every window is filled, slices.
pub const CALM: usize = 4 * DAY;
