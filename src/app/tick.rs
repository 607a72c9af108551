//! One tick, from the first question to Prometheus to what the gate sees.
//!
//! ```text
//! surveys, workloads ‖ read ─► book ─► evaluate ─► save ─► publish ─► gate
//! ```
//!
//! What may be slow is begun and not waited for: surveys, looks for workloads, history, and writing what history brought.
//! Each has a deadline of its own, and is taken when it has come. Only reading is waited for, and that ends when the next
//! tick is due. Nothing leaves the process before it is stored.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::daemon::{Daemon, FIRST_ANSWER, NO_ANSWER, answer};
use super::evaluation::Health;
use super::history::Ground;
use super::incidents::Incidents;
use super::rules::Rules;
use super::saved::{Saved, Tick};
use super::stages::Stages;
use super::{apart, heap};
use crate::engine::alert::Transition;
use crate::engine::ledger::End;
use crate::engine::now::SKEW_MAX_S;
use crate::engine::{AlertKind, Labels, Ledger, Now, SliceDelta, Slo, Snapshot};
use crate::gate_service::{self, GateService};
use crate::incident::book::Changes;
use crate::notify::Notifier;
use crate::prometheus::poll::Outcome;
use crate::prometheus::{Poll, Source, backfill};
use crate::query::fanout::OTHER;
use crate::query::increment::SeriesDeltas;
use crate::store::SeriesKey;
use crate::telemetry::names;
use crate::web::LedgerRequest;

/// A series without data for this long after its longest window is forgotten, seconds.
const FORGOTTEN_AFTER_S: i64 = 2 * 86_400;
/// Series of a fan-out that are kept at most, with those of children that are gone: so many times `series_max`.
const CHILDREN_KEPT: usize = 3;
/// How long Prometheus may take to say what time it is.
const TIME_ASKED_MAX: Duration = Duration::from_secs(3);
/// An answer of Prometheus is waited for this long, seconds, before the process is ready without one: as long as missing data
/// is waited for before it is alerted of.
const FIRST_ANSWER_MAX_S: i64 = 120;
/// A clock that Prometheus contradicts is waited for this long, seconds, before its time is taken for what it is.
const LOST_MAX_S: i64 = 600;

impl Daemon {
    /// One tick: everything up to `at_s`.
    pub async fn tick(&mut self, at_s: i64, notifier: &Notifier) {
        if self.is_lost(at_s).await {
            return;
        }
        let mut stages = Stages::new();
        self.look_around(at_s).await;
        let mut poll = self.read(at_s).await;
        self.note_answer(&poll);
        let now = self.moment(at_s, &poll);
        stages.end("read");
        let booked = self.book(std::mem::take(&mut poll.series));
        stages.end("book");
        let mut snapshot = self.evaluate(at_s);
        self.sweep(now);
        stages.end("evaluate");
        self.save(now, &booked);
        self.step_incidents(&mut snapshot);
        stages.end("store");
        self.add_alerts_of_gate(&mut snapshot);
        self.publish(Arc::new(snapshot), notifier);
        stages.end("publish");
        stages.published();
        self.workloads.take_ended().await;
        self.show_gate(notifier);
        stages.end("gate");
        stages.log();
        if poll.outcome() != Outcome::Failed {
            self.take_up_state();
        }
        self.start_history(at_s);
        if !std::mem::replace(&mut self.settled_in, true) && self.history.is_read() {
            heap::give_back();
        }
    }

    /// Whether the clock is somewhere else than Prometheus is: it jumped, and is not believed yet. What would be read at
    /// such a moment is nothing, and what would be said of it is wrong.
    async fn is_lost(&mut self, at_s: i64) -> bool {
        let Some(clock) = &self.options.source.clock else { return false };
        let Some(jump_s) = self.pace.jump(at_s) else {
            self.lost_ticks = 0;
            return false;
        };
        let asked = tokio::time::timeout(TIME_ASKED_MAX, self.client.query("vector(1)", at_s)).await;
        let server_s = asked.ok().and_then(Result::ok).and_then(|answer| answer.server_time_s);
        let off_s = server_s.map(|server_s| server_s - clock.now()).filter(|off_s| off_s.abs() > SKEW_MAX_S);
        let lost = off_s.filter(|_| self.lost_ticks * self.options.source.poll_interval_s < LOST_MAX_S);
        if let Some(off_s) = lost {
            self.lost_ticks += 1;
            warn!(jump_s, off_s, "the clock jumped and Prometheus has another time; this tick is left out");
        }
        lost.is_some()
    }

    /// Begins what goes on beside the tick, and takes what surveys have found since.
    async fn look_around(&mut self, at_s: i64) {
        let options = &self.options.source;
        self.workloads.begin(&self.client, &self.rules, at_s, options.concurrency);
        if self.reading.is_some() {
            // The rules that are being read are planned by what is known now.
            return;
        }
        self.surveys.begin(&self.client, &self.rules.model, at_s, options);
        let changed = self.surveys.learn(self.cold).await;
        if changed.is_empty() {
            return;
        }
        info!(slos = ?changed, "Prometheus stores these metrics in another way than was assumed; they are read that way from now on");
        apart(|| self.rules.plan_by(&self.surveys.schedule.survey));
        self.read_on(self.source.position().into_owned());
    }

    /// Reads what is new; at a cold start the recent hours.
    async fn read(&mut self, at_s: i64) -> Poll {
        self.source.expect_history(!self.history.is_read());
        if !self.cold || !self.history.is_enabled() {
            self.cold = false;
            let mut lender = Lender { ledger: &self.ledger, incidents: &mut self.incidents, saved: &mut self.saved };
            let poll = lender.lend(&mut self.asked, self.source.poll(at_s)).await;
            report(&poll, at_s);
            return poll;
        }
        self.source.expect_history(true);
        let from_s = backfill::recent_from(at_s);
        let reading = backfill::recent(&mut self.source, from_s, at_s);
        let mut lender = Lender { ledger: &self.ledger, incidents: &mut self.incidents, saved: &mut self.saved };
        let (way, poll) = lender.lend(&mut self.asked, reading).await;
        self.history.way = way;
        // Without any answer the next tick starts over; nothing was read that could be read twice.
        self.cold = poll.series.is_empty() && !poll.faults.is_empty();
        if !self.cold {
            self.history.want(self.rules.slos.iter().map(|slo| slo.id.clone()));
        }
        report(&poll, at_s);
        poll
    }

    /// Lets the process be ready once Prometheus has answered it, or was asked in vain for long: then there is something to
    /// say without it, and the page and the gate are needed to say it.
    fn note_answer(&mut self, poll: &Poll) {
        if !self.readiness.borrow().waits_for(FIRST_ANSWER) {
            return;
        }
        self.unanswered_polls += 1;
        let poll_s = self.options.source.poll_interval_s;
        if poll.outcome() == Outcome::Failed && self.unanswered_polls * poll_s < FIRST_ANSWER_MAX_S {
            let why = poll.faults.first().map_or("", |(_, fault)| fault.code());
            self.readiness.send_modify(|readiness| readiness.hold(FIRST_ANSWER, format!("{NO_ANSWER} ({why})")));
            return;
        }
        if poll.outcome() == Outcome::Failed {
            warn!("Prometheus has not answered since the start; the page and the gate say so from now on");
        }
        self.readiness.send_if_modified(|readiness| readiness.release(FIRST_ANSWER));
    }

    /// The moment of this tick, and whether it is trusted.
    fn moment(&mut self, at_s: i64, poll: &Poll) -> Now {
        let now = self.pace.follow(at_s, poll.requests > poll.faults.len(), self.source.clock_skew_s());
        if now.trusted {
            self.source.forget_silent(at_s);
        }
        now
    }

    fn book(&mut self, read: Vec<SeriesDeltas>) -> Vec<(SeriesKey, Vec<SliceDelta>)> {
        let counting = !self.options.compat.windows_s().is_empty();
        let counted = |slo: &Slo, deltas: &[SliceDelta]| {
            if counting {
                self.evaluator.count(&slo.id, deltas);
            }
        };
        book(read, &self.rules, &mut self.ledger, counted)
    }

    fn evaluate(&mut self, at_s: i64) -> Snapshot {
        let expected = self.history.expected();
        let of_plan = self.rules.plan.notes.iter().flat_map(|(id, notes)| notes.iter().map(|note| (id.as_str(), note)));
        let mut notes: Vec<(&str, Cow<'_, str>)> = of_plan.map(|(id, note)| (id, note.into())).collect();
        notes.extend(self.history.notes());
        notes_of_source(&self.source, &self.rules, &self.ledger, &mut notes);
        let source = &self.source;
        let unseen = |sli| source.health_unseen(sli, at_s);
        let folded = |sli: usize, labels: &Labels| source.is_folded(sli, labels);
        let scaled_to_zero = self.workloads.scaled_to_zero(at_s);
        let health = Health {
            seen: source.health(at_s),
            unseen: &unseen,
            folded: &folded,
            filling: &expected,
            scaled_to_zero: &scaled_to_zero,
        };
        let windows_s = self.options.compat.windows_s();
        let (snapshot, transitions) =
            self.evaluator.evaluate(&self.rules.slos, notes, &self.ledger, &health, at_s, windows_s);
        self.surveys.schedule.watch(&snapshot);
        transitions.iter().for_each(log_transition);
        snapshot
    }

    /// Once an hour: lets the busiest children have rows, and forgets series that are in no window any more, such as
    /// those of a label value that is gone. Of a fan-out whose children came and went in numbers those that are silent
    /// the longest are forgotten sooner: their events stay in the whole.
    fn sweep(&mut self, now: Now) {
        let hour = now.at.div_euclid(3600);
        if std::mem::replace(&mut self.children_hour, hour) != hour {
            self.source.reconsider_children(&self.evaluator.loud_children(&self.rules.slos));
            for slo in &self.rules.slos {
                self.ledger.keep_newest(&slo.id, CHILDREN_KEPT * slo.series_max as usize);
            }
        }
        if !now.trusted || std::mem::replace(&mut self.swept_hour, hour) == hour {
            return;
        }
        self.gate_service.iter().for_each(|gate_service| gate_service.sweep(now));
        let resolution_s = self.options.source.resolution_s;
        for slo in &self.rules.slos {
            let oldest = (now.at - slo.longest_s() - FORGOTTEN_AFTER_S).div_euclid(resolution_s);
            let silent = |series: &crate::engine::SeriesLedger| series.newest().is_none_or(|newest| newest < oldest);
            let gone = self.ledger.kept(&slo.id).filter(|(_, series)| silent(series));
            for labels in gone.map(|(labels, _)| labels.clone()).collect::<Vec<_>>() {
                self.ledger.remove(&slo.id, &labels);
            }
        }
    }

    fn save(&mut self, now: Now, booked: &[(SeriesKey, Vec<SliceDelta>)]) {
        // Before anything was read a restart must begin from the beginning.
        if self.cold || !self.saved.is_kept() {
            return;
        }
        self.saved.put_said(self.history.said());
        if let Some(gate_service) = &self.gate_service {
            self.saved.put_anchor(gate_service.log().note());
        }
        let position = self.source.position();
        self.saved.commit(Tick {
            now,
            rules: &self.rules,
            position: &position,
            survey: &self.surveys.schedule.survey,
            alerts: self.evaluator.alerts(),
            statuses: self.evaluator.statuses(),
            booked,
            ledger: &self.ledger,
            unread: self.history.unread(),
            oldest_s: now.at - self.rules.longest_window_s() - FORGOTTEN_AFTER_S,
        });
    }

    /// Brings incidents up to date. Before anything was read nothing is over.
    fn step_incidents(&mut self, snapshot: &mut Snapshot) {
        if self.cold {
            return;
        }
        let changes = self.gate_service.as_ref().map(GateService::suspects).unwrap_or_default();
        let changes = Changes { all: changes.0, dependencies: changes.1 };
        self.incidents.step(snapshot, &changes, &mut self.saved);
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, notifier: &Notifier) {
        self.snapshot.send_replace(Arc::clone(&snapshot));
        self.readiness.send_if_modified(|readiness| readiness.release("first_evaluation"));
        notifier.publish(snapshot);
    }

    fn add_alerts_of_gate(&self, snapshot: &mut Snapshot) {
        let Some(gate_service) = &self.gate_service else { return };
        snapshot.alerts.extend(gate_service.alerts(&snapshot.slos, snapshot.at));
        snapshot.alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    }

    /// Shows the gate what was published last, and what runs. What it finds to alert of is published with it.
    pub(super) fn show_gate(&mut self, notifier: &Notifier) {
        let Some(gate_service) = self.gate_service.clone() else { return };
        let snapshot = self.snapshot.borrow().clone();
        if snapshot.at == 0 {
            return;
        }
        let poll = gate_service::Poll {
            snapshot: &snapshot,
            ledger: &self.ledger,
            seen: self.workloads.seen().clone(),
            nodes: self.workloads.nodes().clone(),
            unread: self.unread_services(),
            clock_skew_s: self.source.clock_skew_s(),
        };
        apart(|| gate_service.poll(poll));
        let mut with_alerts = Snapshot::clone(&snapshot);
        with_alerts.alerts.retain(|alert| !matches!(alert.kind, AlertKind::ChangeWorse | AlertKind::BreakGlass));
        self.add_alerts_of_gate(&mut with_alerts);
        if with_alerts.alerts != snapshot.alerts {
            self.publish(Arc::new(with_alerts), notifier);
        }
    }

    /// Services whose past is not known yet: their SLOs have data, and history that was not read.
    fn unread_services(&self) -> BTreeSet<String> {
        if self.cold {
            return self.rules.slos.iter().map(|slo| slo.service.clone()).collect();
        }
        let unread = self.history.unread();
        let with_data = unread.iter().filter(|id| self.ledger.of(id).next().is_some());
        with_data.filter_map(|id| Some(self.rules.slos[self.rules.place_of(id)?].service.clone())).collect()
    }

    fn start_history(&mut self, at_s: i64) {
        let ground = Ground {
            client: &self.client,
            rules: &self.rules,
            survey: &self.surveys.schedule.survey,
            source: &self.source,
            ledger: &self.ledger,
            options: &self.options.source,
            progress: &self.options.progress,
        };
        self.history.start(&ground, at_s);
    }
}

/// What readers are answered from while Prometheus is waited for: it may be slow just when people look.
struct Lender<'a> {
    ledger: &'a Ledger,
    incidents: &'a mut Incidents,
    saved: &'a mut Saved,
}

impl Lender<'_> {
    /// Waits for `work`, and answers readers meanwhile.
    async fn lend<T>(&mut self, asked: &mut mpsc::Receiver<LedgerRequest>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(request) = asked.recv() => answer(request, self.ledger, self.incidents, self.saved),
            }
        }
    }
}

/// Books what a poll brought. Answers what is new of each series, which at a cold start is too much to be there twice; `counted`
/// is told what each SLO counts once.
fn book(
    read: Vec<SeriesDeltas>,
    rules: &Rules,
    ledger: &mut Ledger,
    mut counted: impl FnMut(&Slo, &[SliceDelta]),
) -> Vec<(SeriesKey, Vec<SliceDelta>)> {
    let mut booked = Vec::with_capacity(read.len());
    for harvest in read.into_iter().filter(|harvest| !harvest.is_empty()) {
        let slo = &rules.slos[harvest.sli];
        let applied = harvest.apply_to(ledger.series_mut(slo, &harvest.labels));
        if applied.dropped > 0 {
            warn!(slo = slo.id, dropped = applied.dropped, "events older than the ledger reaches were left out");
        }
        if applied.corrected > 0 {
            debug!(slo = slo.id, corrected = applied.corrected, "late samples corrected slices");
            metrics::counter!(names::SLICES_CORRECTED_TOTAL).increment(applied.corrected);
        }
        // Of a fan-out the whole counts everything once.
        if slo.by.is_empty() && !End::is_in(&harvest.labels) || slo.is_whole(&harvest.labels) {
            counted(slo, &harvest.deltas);
        }
        // What was taken back is in no addition: such a series is written anew.
        let added = if harvest.rewrites() { Vec::new() } else { harvest.deltas };
        booked.push((SeriesKey { slo_id: slo.id.clone(), labels: harvest.labels }, added));
    }
    booked
}

/// What must be said of how the source reads.
fn notes_of_source<'a>(source: &Source, rules: &'a Rules, ledger: &Ledger, notes: &mut Vec<(&'a str, Cow<'a, str>)>) {
    notes.extend(source.notes().map(|(sli, note)| (rules.slos[sli].id.as_str(), note.into())));
    for (sli, slo) in rules.slos.iter().enumerate().filter(|(_, slo)| !slo.by.is_empty()) {
        notes.extend(note_of_children(source, sli, slo, ledger).map(|note| (slo.id.as_str(), note.into())));
    }
}

/// What must be said of the children of a fan-out.
fn note_of_children(source: &Source, sli: usize, slo: &Slo, ledger: &Ledger) -> Option<String> {
    let (known, own) = source.fanout().extent(sli);
    if source.is_undivided(sli) {
        Some("it has so many children that Prometheus is not asked for them: only the whole is counted".into())
    } else if known > own {
        Some(format!(
            "{own} of {known} children have rows of their own (series_max: {}); the others are counted in {OTHER:?}",
            slo.series_max
        ))
    } else if known == 0 && ledger.get(&slo.id, &Labels::new()).is_some() {
        let by = slo.by.join(", ");
        Some(format!("none of its series has a label of `by` ({by}): there are no children"))
    } else {
        None
    }
}

fn report(poll: &Poll, at_s: i64) {
    let outcome = poll.outcome();
    metrics::counter!(names::POLLS_TOTAL, "outcome" => outcome.as_str()).increment(1);
    metrics::counter!(names::QUERIES_TOTAL, "kind" => "poll").increment(poll.requests as u64);
    metrics::counter!(names::SAMPLES_READ_TOTAL).increment(poll.samples as u64);
    metrics::counter!(names::RESPONSE_BYTES_TOTAL).increment(poll.bytes as u64);
    for (query, fault) in &poll.faults {
        metrics::counter!(names::QUERY_FAULTS_TOTAL, "code" => fault.code()).increment(1);
        warn!(query = %short(query), code = fault.code(), "{fault}");
    }
    for (reason, count) in poll.reasons.iter().filter(|(reason, _)| reason.is_doubt()) {
        metrics::counter!(names::UNPLACED_SAMPLES_TOTAL, "reason" => reason.as_str()).increment(*count);
    }
    for (query, reason) in &poll.doubts {
        warn!(query = %short(query), ?reason, "an answer cannot be fully trusted");
    }
    if outcome != Outcome::Failed {
        metrics::gauge!(names::LAST_POLL_TIMESTAMP_SECONDS).set(at_s as f64);
    }
    let outcome = outcome.as_str();
    debug!(at_s, outcome, requests = poll.requests, samples = poll.samples, bytes = poll.bytes, "polled");
}

fn log_transition(transition: &Transition) {
    let Transition { labels, slo_id, kind, change, .. } = transition;
    info!(slo = slo_id, %labels, kind = kind.as_str(), ?change, "alert");
}

fn short(query: &str) -> String {
    crate::prometheus::answer::excerpt(query)
}
