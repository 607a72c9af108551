//! Burn rates: one series of one SLO, evaluated at one moment.
//!
//! The burn rate over a window is `(bad / total) / error budget`: 1.0 spends the whole budget in exactly one SLO
//! window. A clause fires while both of its windows burn faster than its factor (SRE Workbook, ch. 5) and the long one
//! is more than chance (`chance`). What an event is depends on the unit: events and gauge slices count as they are, of
//! a quantile SLI the judged slices count.
//!
//! "Faster" leaves out the last billionth, where doubles cannot tell more from equal: 144 bad of 10,000 at 99.9 % burn
//! exactly 14.4x and are not over it.
//!
//! While history is still being read (`Filling`), a window that begins before what has been read has counts but no
//! ratio: six hours of an incident are not thirty days of it.
//!
//! No data decides nothing: without fresh samples a clause stays as it was, and a state that burned is held.
//!
//! A state is `FastBurn` while the page fires (`page`), and `SlowBurn` while the ticket is out (`ticket`), which are longer
//! than their clauses fire.

#[cfg(test)]
pub(crate) mod tests;

use super::budget::Budgets;
use super::chance;
use super::clustering;
use super::exclusion::Cuts;
use super::ledger::{BadBounds, SeriesLedger, SliceDelta};
use super::onset::{self, Onset};
use super::page::{MEMORY_S, Moment, Page};
use super::slo::{BurnClause, Slo, Speed, Unit, Weigh};
use super::status::{ClauseStatus, DataHealth, DataReason, DataState, SeriesStatus, SloState, WindowStatus};
use super::ticket::{self, Held, Ticket};
use super::window::{Reading, Window};
use super::{Labels, Seconds};

/// Relative difference below which two burn rates are the same.
const SAME: f64 = 1e-9;
/// Where budgets are weighed, the part of its factor by which a clause's windows must burn by their own rate.
const OWN_SHARE: f64 = 0.4;
/// How far the beginning of a state is looked for, seconds: what the fine tier of any daemon reaches.
const SINCE_REACH_S: i64 = 6 * 3600;

/// Everything known of `series` at `at`, the end of the newest slice to look at. `previous` is what the last
/// evaluation said: it keeps `since`, and is held while there is no data.
pub fn evaluate(
    slo: &Slo,
    series: &SeriesLedger,
    labels: &Labels,
    data: DataHealth,
    at: Seconds,
    previous: Option<&SeriesStatus>,
) -> SeriesStatus {
    let read_from = match data.reason {
        DataReason::Filling => series.oldest().unwrap_or(at),
        _ => Seconds::MIN,
    };
    let cuts = cuts_of(slo, labels, at);
    let mut reading = Reading { slo, series, labels, cuts: &cuts, read_from, mean_per_s: None };
    let windows = Windows::of(&reading, at);
    let budgets = Budgets::read(&reading, at);
    if slo.weigh == Weigh::Budget {
        reading.mean_per_s = budgets.main.mean_per_s(series.resolution_s());
    }
    let reading = reading;
    let blind = matches!(data.state, DataState::Stale | DataState::Absent) || data.reason.is_untrusted();
    let clauses: Vec<ClauseStatus> =
        slo.burn.iter().map(|clause| clause_status(&reading, clause, at, &windows, blind, previous)).collect();
    let page = page_of(&reading, at, blind, &clauses, previous);
    let ticket = ticket_of(&reading, at, blind, &clauses, previous);
    // A period of the calendar may just have begun: then the windows of the clauses are longer.
    let every = || windows.0.iter().chain([&budgets.main.so_far]);
    let nothing_known = budgets.main.so_far.sum.known == 0
        && every().all(|window| window.sum.known == 0)
        && every().any(|window| window.sum.slices > 0);
    let state = match previous.map(|previous| previous.state) {
        Some(held) if burns(held) && (blind || nothing_known) => held,
        _ if blind || nothing_known => SloState::Unknown,
        _ => {
            let slow = ticket.is_some_and(|ticket| ticket.fires);
            state_of(page.is_some_and(|page| page.fires()), slow, budgets.least())
        }
    };
    let burn = clauses.first().and_then(|clause| clause.burn_long);
    SeriesStatus {
        labels: labels.clone(),
        at,
        state,
        since: match page.filter(|page| page.fires() && state == SloState::FastBurn) {
            Some(page) => Some(page.since).filter(|since| *since > at - SINCE_REACH_S),
            None => {
                let before =
                    Before { page_ended: page.and_then(|page| page.ended_at), held: ticket.and_then(|t| t.held) };
                since(&reading, at, state, blind, previous, before)
            }
        },
        data,
        budget_remaining: budgets.main.remaining,
        exhaustion_s: budgets.main.exhaustion_s(burn, at),
        window: budgets.main.so_far.status(),
        coverage: budgets.main.coverage(),
        windows: windows.of_clauses(),
        clauses,
        page,
        ticket,
        onset: onset_of(&reading, at, state),
        budgets: budgets.statuses(&reading, burn, at),
    }
}

/// Adds to `status` what the bad events of each window are between: `ends` are those of the series it is of.
pub fn add_bounds(slo: &Slo, series: &SeriesLedger, ends: [&SeriesLedger; 2], status: &mut SeriesStatus) {
    let (labels, at) = (status.labels.clone(), status.at);
    let cuts = cuts_of(slo, &labels, at);
    let read = |series| {
        let reading = Reading { slo, series, labels: &labels, cuts: &cuts, read_from: Seconds::MIN, mean_per_s: None };
        let Budgets { main, more } = Budgets::read(&reading, at);
        let periods: Vec<Window> = std::iter::once(main).chain(more).map(|budget| budget.so_far).collect();
        (Windows::of(&reading, at).0, periods)
    };
    let [(windows, periods), (least, least_of), (most, most_of)] = [series, ends[0], ends[1]].map(read);
    // Ends that do not know all that the series knows were not kept all the time.
    let between = |own: &Window, least: &Window, most: &Window| {
        let whole = [least, most].iter().all(|end| end.sum.known == own.sum.known);
        // Verdicts on slices need not lie in the order of what they are made of.
        let bad = [least.bad, own.bad, most.bad];
        whole.then(|| BadBounds { least: bad.into_iter().min().unwrap_or(0), most: bad.into_iter().max().unwrap_or(0) })
    };
    for (i, window) in status.windows.iter_mut().enumerate() {
        window.bad_bounds = between(&windows[i], &least[i], &most[i]);
    }
    status.window.bad_bounds = between(&periods[0], &least_of[0], &most_of[0]);
    for (i, budget) in status.budgets.iter_mut().enumerate() {
        budget.window.bad_bounds = between(&periods[i], &least_of[i], &most_of[i]);
    }
}

fn cuts_of(slo: &Slo, labels: &Labels, at: Seconds) -> Cuts {
    match slo.terms.exclusions.as_slice() {
        [] => Cuts::default(),
        some => Cuts::of(some, labels, at - slo.longest_s() - SINCE_REACH_S, at),
    }
}

/// Every distinct window of the burn clauses, read once, shortest first.
struct Windows(Vec<Window>);

impl Windows {
    fn of(reading: &Reading<'_>, at: Seconds) -> Self {
        let mut windows: Vec<Window> = Vec::with_capacity(2 * reading.slo.burn.len());
        for length_s in reading.slo.burn.iter().flat_map(|clause| [clause.short_s, clause.long_s]) {
            if let Err(place) = windows.binary_search_by_key(&length_s, |window| window.length_s) {
                windows.insert(place, reading.window(at, length_s));
            }
        }
        Windows(windows)
    }

    fn get(&self, length_s: i64) -> Window {
        let place = self.0.binary_search_by_key(&length_s, |window| window.length_s);
        self.0[place.expect("every window of a clause was read")]
    }

    fn of_clauses(&self) -> Vec<WindowStatus> {
        self.0.iter().map(Window::status).collect()
    }
}

fn clause_status(
    reading: &Reading<'_>,
    clause: &BurnClause,
    at: Seconds,
    windows: &Windows,
    blind: bool,
    previous: Option<&SeriesStatus>,
) -> ClauseStatus {
    let (long, short) = (windows.get(clause.long_s), windows.get(clause.short_s));
    let (over, chance) = verdict(reading, clause, at, &long, &short);
    // A window of which no slice is known says nothing, even while the source answers again. One of which none counts
    // says that nothing burns.
    let held = blind || [long, short].iter().any(|window| window.is_dark() || window.unread);
    let firing = if held { fired(clause, previous) } else { over };
    ClauseStatus {
        speed: clause.speed,
        text: clause.text.clone(),
        long_s: clause.long_s,
        short_s: clause.short_s,
        factor: clause.factor,
        burn_long: long.burn,
        burn_short: short.burn,
        chance,
        firing,
    }
}

/// Whether both windows are over the factor and not by chance; and the chance, where it had to be asked for.
fn verdict(
    reading: &Reading<'_>,
    clause: &BurnClause,
    at: Seconds,
    long: &Window,
    short: &Window,
) -> (bool, Option<f64>) {
    if !is_over(reading, clause, short) || !is_over(reading, clause, long) {
        return (false, None);
    }
    let slo = reading.slo;
    match confidence(slo, clause.speed) {
        None => (true, None),
        Some(confidence) => {
            // Events as at the beginning of the hour and what was bad since: what is no chance stays so for the hour.
            let more_s = long.length_s - clause.long_s;
            let chance_of = |window: &Window| {
                let total = match more_s {
                    0 => window.total,
                    _ => reading.window(at - more_s, window.length_s - more_s).total.max(window.bad),
                };
                match slo.unit {
                    Unit::Events => {
                        let counts = (total, window.bad);
                        clustered(reading.series, at, window.length_s, counts, slo.budget(), confidence)
                    }
                    _ => chance::tail(window.bad, total, slo.budget()),
                }
            };
            let chance = chance_of(long);
            if clause.speed == Speed::Slow && chance > confidence {
                let part_s = ticket::part_of(clause.long_s, reading.series.slice_s()) + more_s;
                let of_part = chance_of(&reading.window(at, part_s));
                if of_part <= confidence {
                    return (true, Some(of_part));
                }
            }
            (chance <= confidence, Some(chance))
        }
    }
}

/// The chance of so many bad events, which may come in clusters.
fn clustered(
    series: &SeriesLedger,
    at: Seconds,
    length_s: i64,
    counts: (u64, u64),
    budget: f64,
    confidence: f64,
) -> f64 {
    let steps = |from: Seconds, to: Seconds, step_s: i64| series.steps(from, to, step_s).collect();
    clustering::chance(&steps, at, length_s, counts, budget, confidence)
}

/// Whether `previous` had this clause firing.
fn fired(clause: &BurnClause, previous: Option<&SeriesStatus>) -> bool {
    previous.into_iter().flat_map(|previous| &previous.clauses).any(|was| {
        was.firing
            && (was.speed, was.long_s, was.short_s) == (clause.speed, clause.long_s, clause.short_s)
            && was.factor == clause.factor
    })
}

/// What was said before, later than `oldest`, and can be gone on from: what was said while history was being read was said of
/// less than there was.
fn believed<'a>(
    reading: &Reading<'_>,
    at: Seconds,
    oldest: Seconds,
    previous: Option<&'a SeriesStatus>,
) -> Option<&'a SeriesStatus> {
    let filling = reading.read_from > Seconds::MIN;
    previous.filter(|previous| {
        previous.at <= at && previous.at > oldest && (filling || previous.data.reason != DataReason::Filling)
    })
}

/// The page, stepped through the slices since `previous`, or through the last six hours.
fn page_of(
    reading: &Reading<'_>,
    at: Seconds,
    blind: bool,
    clauses: &[ClauseStatus],
    previous: Option<&SeriesStatus>,
) -> Option<Page> {
    let before = believed(reading, at, at - MEMORY_S, previous);
    let page = before.and_then(|previous| previous.page);
    if blind {
        return page;
    }
    let slice_s = reading.series.slice_s();
    let fast = || reading.slo.burn.iter().filter(|clause| clause.speed == Speed::Fast);
    let factor = fast().map(|clause| clause.factor).reduce(f64::min)?;
    let short_s = fast().map(|clause| clause.short_s.min(clause.long_s)).min()?;
    let fires_now = clauses.iter().any(|clause| clause.speed == Speed::Fast && clause.firing);
    let from = before.map_or(at - MEMORY_S, seen_until).max(at - MEMORY_S);
    if page.is_none() && !fires_now && (from >= at - slice_s || !may_have_fired(reading, at, from)) {
        return None;
    }
    // What does not count by somebody's decision ends a page: there will be no news of it.
    if reading.window(at, slice_s).sum.slices == 0 {
        return page.map(|page| page.ended_at.map_or(Page::over(at), |_| page));
    }
    let over = |at: Seconds| fast().any(|clause| fires_at(reading, clause, at, None));
    let counts = |to: Seconds, length_s: i64| {
        let window = reading.window(to, length_s);
        (window.total, window.bad)
    };
    // Steps are on the grid of slices that ends at `at`, so that they are the same whenever the last evaluation was.
    let steps = ((at - from) + slice_s - 1) / slice_s;
    (0..steps).rev().fold(page, |page, back| {
        let now = at - back * slice_s;
        let over_since = |since: Seconds| fast().any(|clause| fires_at(reading, clause, now, Some(since)));
        let budget = reading.slo.budget();
        let over = if back == 0 { fires_now } else { over(now) };
        let (over_since, counts) = (&over_since, &counts);
        Page::step(page, &Moment { at: now, slice_s, budget, factor, short_s, over, over_since, counts })
    })
}

/// The ticket, stepped through the full hours since `previous`, or through twice the longest window.
fn ticket_of(
    reading: &Reading<'_>,
    at: Seconds,
    blind: bool,
    clauses: &[ClauseStatus],
    previous: Option<&SeriesStatus>,
) -> Option<Ticket> {
    let slow = || reading.slo.burn.iter().filter(|clause| clause.speed == Speed::Slow);
    let longest_s = slow().map(|clause| clause.long_s.max(clause.short_s)).max()?;
    let oldest = at - ticket::MEMORY_WINDOWS * longest_s;
    let before = believed(reading, at, oldest, previous);
    let ticket = before.and_then(|previous| previous.ticket);
    if blind {
        return ticket;
    }
    let over_now = clauses.iter().any(|clause| clause.speed == Speed::Slow && clause.firing);
    let mut held = ticket.and_then(|ticket| ticket.held);
    // While history is read, windows are not yet what they were: then nothing is looked for in the past.
    let filling = reading.read_from > Seconds::MIN;
    let unseen = || if filling { at - reading.series.slice_s() } else { oldest };
    let from = before.map_or_else(unseen, seen_until).max(oldest);
    let nothing_was = || held.is_none() && !over_now && reading.window(at, at - from + longest_s).bad == 0;
    let hours = from.div_euclid(ticket::STEP_S) + 1..=at.div_euclid(ticket::STEP_S);
    if hours.clone().nth(1).is_none() || !nothing_was() {
        for now in hours.map(|hour| hour * ticket::STEP_S) {
            let over = slow().any(|clause| fired_in_hour(reading, clause, now));
            held = ticket_moment(reading, now, over, |now| Held::step(held, now));
        }
    }
    let over = over_now || slow().any(|clause| fired_in_hour(reading, clause, at));
    let fires = ticket_moment(reading, at, over, |now| now.fires(held));
    (fires || held.is_some()).then_some(Ticket { fires, held })
}

/// Whether a slow clause fires at `at` by a long window that is longer by what has passed of the hour: what made it fire in
/// this hour is all in it, also where the oldest of it has left the window that ends now.
fn fired_in_hour(reading: &Reading<'_>, clause: &BurnClause, at: Seconds) -> bool {
    let short = reading.window(at, clause.short_s);
    let long = || reading.window(at, clause.long_s + ticket::of_hour(at));
    is_over(reading, clause, &short) && verdict(reading, clause, at, &long(), &short).0
}

/// What a ticket asks of `at`, where a slow clause is over, or none is.
fn ticket_moment<T>(reading: &Reading<'_>, at: Seconds, over: bool, ask: impl FnOnce(&ticket::Moment<'_>) -> T) -> T {
    let slow = || reading.slo.burn.iter().filter(|clause| clause.speed == Speed::Slow);
    let longest_s = slow().map(|clause| clause.long_s.max(clause.short_s)).max().unwrap_or(0);
    // Everything begins at a full hour: that is known exactly of the past, too.
    let hour = at.div_euclid(ticket::STEP_S) * ticket::STEP_S;
    let newest = |span_s: i64| {
        let window = reading.window(at, ticket::span_from_hour(at, span_s));
        (window.total, window.bad)
    };
    let lasts = || {
        slow().any(|clause| {
            let long = reading.window(hour, clause.long_s);
            let allowed = clause.factor * reading.slo.budget();
            is_over(reading, clause, &long)
                && ticket::lasts((long.total, long.bad), allowed, clause.long_s, clause.short_s, &newest)
        })
    };
    let over_since = |since: Seconds| slow().any(|clause| ticketed_since(reading, clause, at, since));
    ask(&ticket::Moment { at, longest_s, over, lasts: &lasts, over_since: &over_since })
}

/// Whether a slow clause fires at `at`, and would by chance as little on what came after `since`.
fn ticketed_since(reading: &Reading<'_>, clause: &BurnClause, at: Seconds, since: Seconds) -> bool {
    let new = reading.window(at, clause.long_s.min(at - since));
    let chance = || chance::tail(new.bad, new.total, reading.slo.budget());
    is_over(reading, clause, &new)
        && confidence(reading.slo, Speed::Slow).is_none_or(|confidence| chance() <= confidence)
        && (fires_at(reading, clause, at, None) || fired_in_hour(reading, clause, at))
}

/// Up to where `previous` saw what there was: what was said without data was not seen.
fn seen_until(previous: &SeriesStatus) -> Seconds {
    match previous.data.state {
        DataState::Stale | DataState::Absent => previous.data.newest.unwrap_or(Seconds::MIN).min(previous.at),
        DataState::Fresh | DataState::Partial => previous.at,
    }
}

/// Whether a clause fires at `at` by the counts; with `since`, also with what came after that alone in its short window.
fn fires_at(reading: &Reading<'_>, clause: &BurnClause, at: Seconds, since: Option<Seconds>) -> bool {
    let short = reading.window(at, clause.short_s);
    if !is_over(reading, clause, &short) {
        return false;
    }
    let long = reading.window(at, clause.long_s);
    let anew =
        || since.is_none_or(|since| is_over(reading, clause, &reading.window(at, clause.short_s.min(at - since))));
    verdict(reading, clause, at, &long, &short).0 && anew()
}

/// Whether a fast clause may have fired between `from` and `at`: all that was bad since, at the burn of its short window.
fn may_have_fired(reading: &Reading<'_>, at: Seconds, from: Seconds) -> bool {
    let fast = reading.slo.burn.iter().filter(|clause| clause.speed == Speed::Fast);
    let longest_s = fast.map(|clause| clause.long_s.max(clause.short_s)).max().unwrap_or(0);
    let all = reading.window(at, at - from.max(at - MEMORY_S) + longest_s);
    let confident = |slo: &Slo| confidence(slo, Speed::Fast).unwrap_or(0.5);
    // A clause fires on a part of these, so all of them are no less unlikely where it did.
    all.bad > 0 && (all.bad > 1 || reading.slo.budget() <= confident(reading.slo))
}

/// Whether a window burns faster than a clause allows, as the SLO weighs it.
fn is_over(reading: &Reading<'_>, clause: &BurnClause, window: &Window) -> bool {
    let allowed = clause.factor * (1.0 + SAME);
    let rate = |least: f64| window.burn.is_some_and(|burn| burn > least);
    match reading.mean_per_s {
        None => rate(allowed),
        // A share of the budget that users hardly notice is no burn either: few of very many.
        Some(mean) => {
            let may_be_bad = reading.slo.budget() * mean * window.length_s as f64;
            rate(OWN_SHARE * allowed) && window.bad as f64 > allowed * may_be_bad
        }
    }
}

/// The chance guard of clauses of this speed, where there is one.
fn confidence(slo: &Slo, speed: Speed) -> Option<f64> {
    slo.confidence.filter(|_| slo.unit != Unit::RatioSlices).map(|confidence| confidence.of(speed))
}

fn state_of(pages: bool, burns_slowly: bool, budget_remaining: Option<f64>) -> SloState {
    match budget_remaining {
        _ if pages => SloState::FastBurn,
        _ if burns_slowly => SloState::SlowBurn,
        Some(left) if left <= 0.0 => SloState::Exhausted,
        _ => SloState::Ok,
    }
}

/// Since when the series is in `state`: within the last six hours, else `None`, for so far every daemon can look back,
/// whenever it was started. Where nobody watched (before the start, between two polls, without data) the counts are
/// asked slice by slice. Not knowing has no beginning: the time of the newest sample says more.
fn since(
    reading: &Reading<'_>,
    at: Seconds,
    state: SloState,
    blind: bool,
    previous: Option<&SeriesStatus>,
    past: Before,
) -> Option<Seconds> {
    if state == SloState::Unknown {
        return None;
    }
    // While history is read, each evaluation would walk back anew for every series of a fleet. Only what burns has a
    // beginning that somebody needs: its alert says when it began.
    if reading.read_from > Seconds::MIN && !burns(state) {
        return None;
    }
    // What was said while history was being read was said of less than there was.
    let judged = |previous: &&SeriesStatus| {
        previous.state != SloState::Unknown && previous.data.reason != DataReason::Filling && previous.at <= at
    };
    let previous = previous.filter(judged);
    let oldest = at - SINCE_REACH_S;
    if blind {
        return previous.and_then(|previous| previous.since).filter(|since| *since > oldest);
    }
    let (step_s, slice_s) = (reading.series.slice_s(), reading.series.resolution_s());
    let seen_until = previous.map_or(Seconds::MIN, seen_until);
    let mut onset = at;
    // Who was watched all the time needs no look into the slices.
    let mut known_from = None;
    loop {
        let before = onset - step_s;
        if let Some(previous) = previous.filter(|_| before <= seen_until) {
            let since = if previous.state == state { previous.since } else { Some(onset) };
            return since.filter(|since| *since > oldest);
        }
        let known_from = *known_from
            .get_or_insert_with(|| reading.series.fine().next().map_or(at, |slice| (slice.slice + 1) * slice_s));
        if before < oldest.max(known_from) {
            return (onset > oldest && burns(state)).then_some(onset);
        }
        // Up to its end there was the page; after it a clause that still holds the incident does not page.
        let ended = past.page_ended.is_some_and(|end| before < end);
        if ended || state_at(reading, before, past) != state {
            return Some(onset);
        }
        onset = before;
    }
}

/// When the errors of what burns now began to rise, within what is known slice by slice and counts.
fn onset_of(reading: &Reading<'_>, at: Seconds, state: SloState) -> Option<Onset> {
    if !matches!(state, SloState::FastBurn | SloState::SlowBurn) {
        return None;
    }
    let slice_s = reading.series.resolution_s();
    let counts = |slice: &SliceDelta| {
        let (from, to) = (slice.slice * slice_s, (slice.slice + 1) * slice_s);
        to <= at && reading.cuts.within(from, to).is_empty()
    };
    let slices: Vec<SliceDelta> = reading.series.fine().filter(counts).collect();
    onset::onset(&slices, slice_s, reading.slo.unit.scale())
}

fn burns(state: SloState) -> bool {
    matches!(state, SloState::FastBurn | SloState::SlowBurn | SloState::Exhausted)
}

/// What the newest evaluation knows of moments before it.
#[derive(Clone, Copy)]
struct Before {
    /// When the last page ended, of none that fires.
    page_ended: Option<Seconds>,
    /// The ticket that is held, or ended last.
    held: Option<Held>,
}

/// The state the counts gave at `at`, after the end of what has ended.
fn state_at(reading: &Reading<'_>, at: Seconds, past: Before) -> SloState {
    let of = |speed: Speed| reading.slo.burn.iter().filter(move |clause| clause.speed == speed);
    let fires = |speed| of(speed).any(|clause| fires_at(reading, clause, at, None));
    // Before it ended it was held, since when is forgotten.
    let held = match past.held {
        Some(held) if held.ended_at.is_some_and(|end| at < end) => Some(Held { ended_at: None, ..held }),
        Some(held) if held.ended_at.is_none() && at < held.since => None,
        held => held,
    };
    let over = || fires(Speed::Slow) || of(Speed::Slow).any(|clause| fired_in_hour(reading, clause, at));
    let tickets = || ticket_moment(reading, at, over(), |now| now.fires(held));
    state_of(past.page_ended.is_none() && fires(Speed::Fast), tickets(), Budgets::read(reading, at).least())
}
