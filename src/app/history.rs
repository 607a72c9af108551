//! Older history: which SLOs want theirs, reading it beside the ticks, and joining it under the ledger when it has come.
//!
//! Each SLO waits for itself. One whose history is refused keeps nobody else from being filled, and the gate of other
//! services does not ask after it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::warn;

use super::reach::Reach;
use super::rules::Rules;
use crate::engine::{Ledger, SliceDelta, Slo};
use crate::prometheus::backfill::{Backfill, Older, Progress, Way};
use crate::prometheus::history::extent::{Extent, Queried, together};
use crate::prometheus::{Client, Fault, Source, SourceOptions};
use crate::query::Plan;
use crate::query::increment::SeriesDeltas;
use crate::query::plan::Survey;
use crate::spec::Model;
use crate::store::{Said, SeriesKey};
use crate::telemetry::names;

/// A failed backfill is tried again after this many polls.
const AGAIN_AFTER_POLLS: u32 = 10;
/// After this many failures the numbers are taken for what they are: alerts must not wait for a history that never comes.
const HOPE_TRIES: u32 = 3;

/// What is known of the past, and what is being read of it.
pub struct History {
    /// SLOs that want theirs.
    waiting: Unfilled,
    /// The one reading under way.
    filling: Option<Filling>,
    /// What must be said of the history of others.
    reach: Reach,
    /// How the server lets it be read.
    pub way: Way,
    /// What may be read of it by queries.
    queried: Queried,
    /// Whether it is read at all.
    enabled: bool,
}

/// What is read next.
struct Next {
    /// Up to when, seconds.
    to_s: i64,
    slos: BTreeSet<String>,
    way: Way,
    /// How, where the server refuses that.
    otherwise: Way,
    /// How much there is of them.
    extent: Extent,
}

/// What a reading of history is started from.
pub struct Ground<'a> {
    /// Where to read.
    pub client: &'a Client,
    /// What is in force.
    pub rules: &'a Rules,
    /// What is known of Prometheus.
    pub survey: &'a Survey,
    /// Where the polls stand.
    pub source: &'a Source,
    /// What is there already.
    pub ledger: &'a Ledger,
    /// How to poll.
    pub options: &'a SourceOptions,
    /// Told how far it is.
    pub progress: &'a Arc<dyn Fn(Progress) + Send + Sync>,
}

impl History {
    /// Nothing is wanted yet. Where it is not `enabled`, nothing ever is. Of one SLO `queried_max` raw samples may be read by
    /// queries.
    pub fn new(enabled: bool, queried_max: i64) -> Self {
        let (waiting, reach, queried) = (Unfilled::default(), Reach::default(), Queried::new(queried_max));
        History { waiting, filling: None, reach, way: Way::RemoteRead, queried, enabled }
    }

    /// Whether history is read at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// These SLOs want theirs.
    pub fn want(&mut self, ids: impl IntoIterator<Item = String>) {
        if self.enabled {
            self.waiting.extend(ids);
        }
    }

    /// SLOs whose history has not been read, whether it is being read or not.
    pub fn unread(&self) -> BTreeSet<String> {
        let mut ids = self.waiting.all();
        ids.extend(self.filling.iter().flat_map(|filling| filling.slos.iter().cloned()));
        ids
    }

    /// Whether all of it has been read.
    pub fn is_read(&self) -> bool {
        self.waiting.is_empty() && self.filling.is_none()
    }

    /// SLOs whose history can still be expected: their numbers are not final.
    pub fn expected(&self) -> BTreeSet<String> {
        let mut ids = self.waiting.hopeful();
        ids.extend(self.filling.iter().flat_map(|filling| filling.slos.iter().cloned()));
        ids
    }

    /// What must be said of SLOs whose history could not be read, or not as far back as it was wanted.
    pub fn notes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.waiting.notes().chain(self.reach.notes().map(|(id, note)| (id, note.into())))
    }

    /// What must be said of history that was read, to be kept.
    pub fn said(&self) -> Arc<[Said]> {
        self.reach.said()
    }

    /// What was kept of what must be said.
    pub fn say_again(&mut self, said: Vec<Said>) {
        self.reach.say_again(said);
    }

    /// Starts to read older history of SLOs that have none, unless some is being read.
    pub fn start(&mut self, ground: &Ground<'_>, at_s: i64) {
        self.waiting.poll();
        self.reach.forget(at_s);
        if self.filling.is_some() {
            return;
        }
        let span_s = ground.rules.longest_window_s() + 3600;
        let Some(Next { to_s, slos, way, otherwise, extent }) = self.next(ground, at_s, span_s) else { return };
        let step_s = match way {
            Way::RemoteRead | Way::Queries => ground.options.resolution_s,
            Way::Ranges => 300,
        };
        let to_s = to_s.min(at_s).div_euclid(step_s) * step_s;
        let specs = ground.rules.model.slos.iter().filter(|spec| slos.contains(&spec.slo.id)).cloned().collect();
        let model = Model { slos: specs, services: Vec::new() };
        let (plan, _) = Plan::surveyed(&model, ground.survey);
        let progress = Arc::clone(ground.progress);
        let backfill = Backfill {
            client: ground.client.clone(),
            fanout: ground.source.fanout().moved(&ground.rules.plan, &plan),
            plan: Arc::new(plan),
            slos: model.slos.iter().map(|spec| Arc::clone(&spec.slo)).collect(),
            options: ground.options.clone(),
            starts: ground.source.starts(),
            jobs: ground.source.jobs().clone(),
            way,
            otherwise,
            extent,
            progress: Box::new(move |done| progress(done)),
        };
        let from_s = to_s - span_s;
        let kept = slos.iter().flat_map(|id| ground.ledger.of(id).map(move |(labels, series)| (id, labels, series)));
        let kept = kept.map(|(id, labels, series)| {
            (SeriesKey { slo_id: id.clone(), labels: labels.clone() }, series.judged_by_older(to_s))
        });
        let kept = kept.filter(|(_, slices)| !slices.is_empty()).collect();
        self.filling = Some(Filling::start(backfill, from_s, to_s, self.waiting.take(&slos), kept));
    }

    /// Whose history is read next, `span_s` of it, and up to when: to where the polls began, at a cold start the recent hours and
    /// for an SLO that is new this moment. Where their first slices are held no longer, it is read up to those that are
    /// ([`crate::engine::SeriesLedger::joins_at`]); range queries in coarse steps never stand in place of what was read raw.
    fn next(&self, ground: &Ground<'_>, at_s: i64, span_s: i64) -> Option<Next> {
        let due: Vec<String> = self.waiting.due().into_iter().collect();
        let known = ground.source.extents(at_s);
        let none = Extent { series: 0, scrape_s: 30 };
        let extent_of = |id: &String| ground.rules.place_of(id).and_then(|sli| known.get(sli)).copied().unwrap_or(none);
        let extents: Vec<Extent> = due.iter().map(extent_of).collect();
        let (places, way) = together(self.way, &extents, span_s, self.queried);
        let due: BTreeSet<String> = places.into_iter().map(|place| due[place].clone()).collect();
        let joins = |id: &str| {
            let of_slo = || ground.ledger.of(id).map(|(_, series)| series);
            let begins = of_slo().filter_map(|series| series.begins()).min()?;
            let joins = of_slo().filter_map(|series| series.joins_at()).min().filter(|_| way != Way::Ranges);
            Some((joins.unwrap_or(begins), begins))
        };
        let next = |to_s: i64, slos: BTreeSet<String>| {
            let extents: Vec<Extent> = slos.iter().map(extent_of).collect();
            let otherwise = match way == Way::RemoteRead && self.queried.lets_all(&extents, span_s) {
                true => Way::Queries,
                false => Way::Ranges,
            };
            Some(Next { to_s, slos, way, otherwise, extent: Extent::sum(extents) })
        };
        if let Some(to_s) = due.iter().filter_map(|id| joins(id)).map(|(at, _)| at).min() {
            // Those that began much later are filled by the next round, and those whose slices are held from elsewhere on.
            let together = |(at, begins): (i64, i64)| at == to_s || at == begins && at <= to_s + 3600;
            return next(to_s, due.into_iter().filter(|id| joins(id).is_some_and(together)).collect());
        }
        // One that was never seen comes alone, so that a request that fails keeps nobody waiting; its history ends where
        // its next read begins.
        let id = due.into_iter().next()?;
        let read_s = ground.rules.place_of(&id).and_then(|sli| ground.source.read_until_of(sli));
        next(read_s.unwrap_or(at_s), BTreeSet::from([id]))
    }

    /// Waits for the reading under way, for ever when there is none.
    pub async fn done(&mut self) -> Result<Older, Fault> {
        match &mut self.filling {
            Some(filling) => filling.done().await,
            None => std::future::pending().await,
        }
    }

    /// Whether some is being read.
    pub fn is_reading(&self) -> bool {
        self.filling.is_some()
    }

    /// Takes what the reading gave: joins it under the ledger, or waits for another try. Answers which series changed.
    pub fn take(&mut self, older: Result<Older, Fault>, ledger: &mut Ledger) -> Vec<SeriesKey> {
        let Some(filling) = self.filling.take() else { return Vec::new() };
        match older {
            Ok(older) => {
                self.queried.spend(older.queried as i64);
                metrics::counter!(names::QUERIES_TOTAL, "kind" => "history").increment(older.requests as u64);
                metrics::counter!(names::SAMPLES_READ_TOTAL).increment(older.samples as u64);
                metrics::counter!(names::RESPONSE_BYTES_TOTAL).increment(older.bytes as u64);
                for (id, fault) in self.reach.note(&filling.order, &older, filling.to_s) {
                    warn!(slo = id, %fault, "history could not be read; the budget misses it until it can");
                    self.waiting.again_one(&filling.tries, id, &fault);
                }
                join(ledger, older, &filling.order, filling.to_s, &filling.kept)
            }
            Err(fault) => {
                warn!(%fault, "history could not be read; budgets miss it until it can");
                // A server without remote read says so; one that is ill may say anything, once.
                let refused = matches!(fault, Fault::Status(400..500, _) | Fault::Refused(..));
                let again = !matches!(fault, Fault::Unreachable(_) | Fault::Timeout);
                if refused || filling.tries.failed_before() && again {
                    self.way = Way::Ranges;
                }
                self.waiting.again(filling.tries, &fault);
                Vec::new()
            }
        }
    }

    /// Other rules are in force: what is being read is read again by them, for SLOs that `keep` names.
    pub fn begin_anew(&mut self, keep: impl Fn(&str) -> bool) {
        if let Some(filling) = self.filling.take() {
            filling.abort();
            self.waiting.again_at_once(filling.tries);
        }
        self.waiting.retain(&keep);
        self.reach.retain(keep);
    }

    /// Stops what is being read.
    pub fn abort(&self) {
        self.filling.iter().for_each(Filling::abort);
    }
}

/// SLOs that want their history.
#[derive(Debug, Default)]
struct Unfilled(BTreeMap<String, Wait>);

#[derive(Debug, Clone, Default)]
struct Wait {
    /// In how many polls it is asked for.
    polls: u32,
    tries: u32,
    fault: String,
}

/// How often the history of SLOs was asked for in vain, by SLO.
#[derive(Debug, Default)]
struct Tries(BTreeMap<String, Wait>);

impl Tries {
    /// Whether the last reading failed, too.
    fn failed_before(&self) -> bool {
        self.0.values().any(|wait| wait.tries > 0)
    }
}

impl Unfilled {
    /// Adds SLOs that are not waiting yet.
    fn extend(&mut self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            self.0.entry(id).or_default();
        }
    }

    /// Forgets those that are not wanted any more.
    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// Whether none is waiting.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that waits.
    fn all(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// Those whose history can still be expected: their numbers are not final.
    fn hopeful(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, wait)| wait.tries < HOPE_TRIES).map(|(id, _)| id.clone()).collect()
    }

    /// What to say of the others.
    fn notes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let hopeless = self.0.iter().filter(|(_, wait)| wait.tries >= HOPE_TRIES);
        hopeless.map(|(id, wait)| (&**id, format!("older history could not be read yet: {}", wait.fault).into()))
    }

    /// A poll has passed.
    fn poll(&mut self) {
        self.0.values_mut().for_each(|wait| wait.polls = wait.polls.saturating_sub(1));
    }

    /// Those to be asked for now.
    fn due(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, wait)| wait.polls == 0).map(|(id, _)| id.clone()).collect()
    }

    /// Takes these out: they are being read.
    fn take(&mut self, ids: &BTreeSet<String>) -> Tries {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(id, _)| ids.contains(id));
        self.0 = left;
        Tries(taken)
    }

    /// Puts back what could not be read.
    fn again(&mut self, tries: Tries, fault: &Fault) {
        let failed = |wait: Wait| {
            let tries = wait.tries + 1;
            Wait { polls: AGAIN_AFTER_POLLS * tries.min(12), tries, fault: fault.to_string() }
        };
        self.0.extend(tries.0.into_iter().map(|(id, wait)| (id, failed(wait))));
    }

    /// Puts back one of several that were read together.
    fn again_one(&mut self, tries: &Tries, id: String, fault: &Fault) {
        let tries = tries.0.get(&id).map_or(0, |wait| wait.tries) + 1;
        self.0.insert(id, Wait { polls: AGAIN_AFTER_POLLS * tries.min(12), tries, fault: fault.to_string() });
    }

    /// Puts back what was interrupted.
    fn again_at_once(&mut self, tries: Tries) {
        self.0.extend(tries.0);
    }
}

/// Slices of series that are judged anew when their history has come.
pub type Kept = HashMap<SeriesKey, Vec<SliceDelta>>;

/// A backfill under way.
struct Filling {
    /// The SLOs it is for.
    slos: BTreeSet<String>,
    /// How often it was tried before.
    tries: Tries,
    /// Their definitions in the order of the backfill's own plan.
    order: Vec<Arc<Slo>>,
    /// Where it ends.
    to_s: i64,
    /// Slices behind its end that it has a say in.
    kept: Kept,
    task: JoinHandle<Result<Older, Fault>>,
}

impl Filling {
    /// Starts to read `(from_s, to_s]`.
    fn start(backfill: Backfill, from_s: i64, to_s: i64, tries: Tries, kept: Kept) -> Self {
        let order = backfill.slos.clone();
        Filling {
            slos: order.iter().map(|slo| slo.id.clone()).collect(),
            tries,
            order,
            to_s,
            kept,
            task: tokio::spawn(backfill.run(from_s, to_s)),
        }
    }

    /// Waits for it.
    async fn done(&mut self) -> Result<Older, Fault> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(Fault::NotAnAnswer(format!("the reader of history stopped: {error}"))),
        }
    }

    /// Stops it.
    fn abort(&self) {
        self.task.abort();
    }
}

/// Puts older history, which ends at `joined_s`, under the ledger. Answers which series changed.
pub fn join(ledger: &mut Ledger, mut older: Older, order: &[Arc<Slo>], joined_s: i64, kept: &Kept) -> Vec<SeriesKey> {
    let mut changed = Vec::new();
    // What joins the two goes before the younger slices: among them it may be too old by now to be told apart.
    let (last, adds): (Vec<_>, Vec<_>) =
        std::mem::take(&mut older.joined).into_iter().partition(SeriesDeltas::rewrites);
    for joined in adds {
        older.ledger.series_mut(&order[joined.sli], &joined.labels).apply(&joined.deltas);
    }
    for slo in order {
        let labels: Vec<_> = older.ledger.kept(&slo.id).map(|(labels, _)| labels.clone()).collect();
        for labels in labels {
            if let Some(series) = older.ledger.remove(&slo.id, &labels) {
                let key = SeriesKey { slo_id: slo.id.clone(), labels };
                let kept = kept.get(&key).map_or(&[][..], Vec::as_slice);
                ledger.series_mut(slo, &key.labels).absorb_older(series, joined_s, kept);
                changed.push(key);
            }
        }
    }
    for joined in last {
        joined.apply_to(ledger.series_mut(&order[joined.sli], &joined.labels));
        changed.push(SeriesKey { slo_id: order[joined.sli].id.clone(), labels: joined.labels });
    }
    changed.sort();
    changed.dedup();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Coverage, Labels, Unit, burn};

    /// A quiet p95 that begins with the last slice of 5 minutes: what it gained in that slice is known only with its
    /// history, which comes when the slice is held no longer.
    #[test]
    fn what_joins_history_to_the_polls_is_judged_by_what_came_before_it() {
        let slo = Arc::new(Slo { unit: Unit::QuantileSlices { quantile: 0.95 }, ..burn::tests::slo(99.0) });
        let labels = Labels::new();
        let delta = |slice: i64| SliceDelta { slice, total: 3, bad: 0, coverage: Coverage::Known };
        let all = |slices: std::ops::Range<i64>| slices.map(delta).collect::<Vec<_>>();
        let (start, begins, now, late) = (1_000_000, 1_002_009, 1_002_009 + 740, 90);
        let (mut lived, mut whole) = (Ledger::new(30), Ledger::new(30));
        whole.series_mut(&slo, &labels).apply(&all(start..now + late));
        let series = lived.series_mut(&slo, &labels);
        series.apply(&[SliceDelta { total: 0, ..delta(begins) }]);
        series.apply(&all(begins + 1..now));
        let joined_s = series.joins_at().expect("it knows slices");
        let kept = Kept::from([(
            SeriesKey { slo_id: slo.id.clone(), labels: labels.clone() },
            series.judged_by_older(joined_s),
        )]);
        series.apply(&all(now..now + late));
        let mut older = Ledger::new(30);
        older.series_mut(&slo, &labels).apply(&all(start..begins));
        let joined = SeriesDeltas { labels: labels.clone(), deltas: vec![delta(begins)], ..SeriesDeltas::default() };
        let older = Older {
            ledger: older,
            joined: vec![joined],
            requests: 0,
            samples: 0,
            bytes: 0,
            short: BTreeMap::new(),
            approximate: BTreeSet::new(),
            queried: 0,
            remembered: Default::default(),
        };
        let changed = join(&mut lived, older, std::slice::from_ref(&slo), joined_s, &kept);
        assert_eq!(changed.len(), 1);
        let window = |ledger: &Ledger| ledger.get(&slo.id, &labels).map(|s| s.window((now + late) * 30, 30 * 86_400));
        assert_eq!(window(&lived), window(&whole));
    }
}
