//! The poll loop: each tick reads, books, evaluates, stores, publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::access::Access;
use super::evaluation::{Health, Statuses, add_wholes, evaluate};
use super::history::{Filling, Unfilled, give_back, join};
use super::outlook::Outlook;
use super::{Options, StartError, guard};
use crate::engine::alert::{AlertMachine, Transition};
use crate::engine::ledger::End;
use crate::engine::whole::Counted;
use crate::engine::{Labels, Ledger, SliceDelta, Slo, SloState, Snapshot};
use crate::gate_service::{self, GateService};
use crate::notify::Notifier;
use crate::prometheus::backfill::{self, Backfill, Way};
use crate::prometheus::poll::Outcome;
use crate::prometheus::survey::survey;
use crate::prometheus::workloads::Wanted;
use crate::prometheus::{Client, Fault, Poll, Position, Source};
use crate::query::Plan;
use crate::query::fanout::{OTHER, child_key};
use crate::query::plan::Survey;
use crate::spec::Loaded;
use crate::spec::Model;
use crate::store::{Commit, Piece, Saved, SeriesKey, Store, StoreError, definitions};
use crate::telemetry::names;
use crate::web::{Info, Readiness, Reload, Reloaded};

/// A series without data for this long after its longest window is forgotten, seconds.
const FORGOTTEN_AFTER_S: i64 = 2 * 86_400;

/// Series of a fan-out that are kept at most, with those of children that are gone: so many times `series_max`.
const CHILDREN_KEPT: usize = 3;

/// What readers see of a daemon.
pub struct Views {
    /// Every evaluation.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What it still waits for.
    pub readiness: watch::Receiver<Readiness>,
    /// Its configuration.
    pub info: watch::Receiver<Arc<Info>>,
}

/// The state of a running daemon. Only its loop touches it.
pub struct Daemon {
    options: Options,
    client: Client,
    rules: Rules,
    source: Source,
    ledger: Ledger,
    book: AlertMachine,
    statuses: Statuses,
    store: Option<Store>,
    filling: Option<Filling>,
    /// SLOs that want their history.
    unfilled: Unfilled,
    /// Decides on changes; `None` where nothing is decided.
    gate_service: Option<GateService>,
    access: Option<Access>,
    outlook: Outlook,
    way: Way,
    cold: bool,
    /// The hour in which forgotten series were last looked for.
    /// Events read of each SLO, where the series of other tools are exposed.
    counted: BTreeMap<String, Counted>,
    swept_hour: i64,
    snapshot: watch::Sender<Arc<Snapshot>>,
    readiness: watch::Sender<Readiness>,
    info: watch::Sender<Arc<Info>>,
}

/// The rules in force, in plan order.
struct Rules {
    model: Model,
    slos: Vec<Arc<Slo>>,
    plan: Arc<Plan>,
    digest: String,
    gate: gate_service::Rules,
    workloads: Vec<(String, Wanted)>,
}

impl Rules {
    fn new(loaded: Loaded, survey: &Survey) -> Self {
        let plan = planned(&loaded.model, survey);
        let slos = loaded.model.slos.iter().map(|spec| Arc::new(spec.slo.clone())).collect();
        let (gate, workloads) = guard::rules(&loaded);
        Rules { slos, plan, digest: loaded.digest, model: loaded.model, gate, workloads }
    }

    fn longest_window_s(&self) -> i64 {
        self.slos.iter().map(|slo| slo.longest_s()).max().unwrap_or(0)
    }
}

impl Daemon {
    /// Loads rules and state. Bad rules are a reason not to start; later they only keep the old ones in force.
    pub fn new(options: Options) -> Result<(Self, Views), StartError> {
        let loaded = (options.rules)();
        if loaded.is_fatal() {
            return Err(StartError::Rules(loaded.render(false)));
        }
        for problem in &loaded.problems {
            warn!(file = %problem.file, line = problem.line, "{}", problem.what);
        }
        let rules = Rules::new(loaded, &Survey::default());
        let client = Client::new(&options.client).map_err(StartError::Settings)?;
        let resolution_s = options.source.resolution_s;
        let mut store = match &options.data_dir {
            Some(dir) => Some(
                Store::open(dir, resolution_s, definitions(&rules.model, resolution_s)).map_err(StartError::Store)?,
            ),
            None => None,
        };
        let saved = match &mut store {
            Some(store) => store.load().map_err(StartError::Store)?,
            None => None,
        };
        let mut waiting = Readiness::default();
        waiting.hold("first_evaluation", "the first poll of Prometheus has not been evaluated yet");
        let (snapshot, snapshots) = watch::channel(Arc::default());
        let (readiness, readinesses) = watch::channel(waiting);
        let (info, infos) = watch::channel(Arc::new(info_of(&options, &rules, false)));
        let source = Source::new(client.clone(), Arc::clone(&rules.plan), options.source.clone(), None);
        let mut daemon = Daemon {
            options,
            client,
            source,
            ledger: Ledger::new(resolution_s),
            book: AlertMachine::new(),
            statuses: Statuses::new(),
            store,
            filling: None,
            unfilled: Unfilled::default(),
            gate_service: None,
            access: None,
            outlook: Outlook::default(),
            way: Way::RemoteRead,
            cold: saved.is_none(),
            counted: BTreeMap::new(),
            swept_hour: 0,
            rules,
            snapshot,
            readiness,
            info,
        };
        if let Some(saved) = saved {
            daemon.restore(saved).map_err(StartError::Store)?;
        }
        Ok((daemon, Views { snapshot: snapshots, readiness: readinesses, info: infos }))
    }

    /// Ticks until `stop`.
    pub async fn run(&mut self, notifier: &Notifier, mut reloads: mpsc::Receiver<Reload>, stop: &CancellationToken) {
        let clock = self.options.clock.clone();
        let poll_s = self.options.source.poll_interval_s;
        let delay_s = self.options.evaluation_delay_s;
        let mut next = (clock.now() - delay_s).div_euclid(poll_s) * poll_s;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                request = reloads.recv() => if let Some(request) = request { self.reload(request) },
                older = filled(&mut self.filling) => self.fill(older),
                () = clock.sleep_until((next + delay_s) * 1000) => {
                    let newest = (clock.now() - delay_s).div_euclid(poll_s) * poll_s;
                    if newest < next - poll_s {
                        warn!(back_s = next - newest, "the clock was set back; going on from there");
                        next = newest;
                    }
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = self.tick(next, notifier) => {}
                    }
                    // A tick that took long is followed by the newest one, which reads what was missed; and when the
                    // clock was set back, the loop goes back with it instead of waiting for it.
                    let newest = (clock.now() - delay_s).div_euclid(poll_s) * poll_s;
                    next = if newest < next - poll_s { newest + poll_s } else { newest.max(next + poll_s) };
                }
            }
        }
        if let Some(filling) = &self.filling {
            filling.abort();
        }
        info!("poll loop ended");
    }

    /// One tick: everything up to `at_s`.
    pub async fn tick(&mut self, at_s: i64, notifier: &Notifier) {
        let began = Instant::now();
        let poll = self.read(at_s).await;
        self.report(&poll, at_s);
        let booked = self.book_poll(&poll);
        let (snapshot, transitions) = self.evaluate(at_s);
        self.outlook.watch(&snapshot);
        for transition in &transitions {
            log_transition(transition);
        }
        self.sweep(at_s);
        self.save(at_s, &booked, &[]);
        let mut snapshot = snapshot;
        self.guard_poll(&mut snapshot, at_s).await;
        let snapshot = Arc::new(snapshot);
        self.snapshot.send_replace(Arc::clone(&snapshot));
        self.readiness.send_if_modified(|readiness| readiness.release("first_evaluation"));
        notifier.publish(snapshot);
        metrics::histogram!(names::POLL_DURATION_SECONDS).record(began.elapsed().as_secs_f64());
        self.start_filling(at_s);
    }

    /// Lets a gate, where there is one, decide on the services of this daemon, and `access` follow each reload.
    pub fn guard(&mut self, gate_service: Option<GateService>, access: Access) {
        if let Some(gate_service) = &gate_service {
            gate_service.take_rules(self.rules.gate.clone());
        }
        self.gate_service = gate_service;
        self.access = Some(access);
    }

    /// Shows the gate what this poll brought, and what runs.
    async fn guard_poll(&mut self, snapshot: &mut Snapshot, at_s: i64) {
        let Some(gate_service) = self.gate_service.clone() else { return };
        let seen = guard::look(&self.client, &self.rules.workloads, at_s).await;
        let warm = !self.cold && self.unfilled.is_empty() && self.filling.is_none();
        let poll =
            gate_service::Poll { snapshot, ledger: &self.ledger, seen, warm, clock_skew_s: self.source.clock_skew_s() };
        apart(|| gate_service.poll(poll));
        snapshot.alerts.extend(gate_service.alerts(&snapshot.slos, at_s));
        snapshot.alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    }

    /// Waits until older history has been read and joined, if it is being read. The loop of [`Daemon::run`] does the
    /// same between ticks; whoever ticks by hand calls this.
    pub async fn settled(&mut self) {
        if self.filling.is_some() {
            let older = filled(&mut self.filling).await;
            self.fill(older);
        }
    }

    /// All slices there are.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn read(&mut self, at_s: i64) -> Poll {
        self.look_around(at_s).await;
        if !self.cold {
            return self.source.poll(at_s).await;
        }
        if !self.options.backfill {
            self.cold = false;
            return self.source.poll(at_s).await;
        }
        let from_s = backfill::recent_from(at_s);
        let (way, poll) = backfill::recent(&mut self.source, from_s, at_s).await;
        self.way = way;
        // Without any answer the next tick starts over; nothing was read that could be read twice.
        self.cold = poll.series.is_empty() && !poll.faults.is_empty();
        if !self.cold {
            self.unfilled = self.rules.slos.iter().map(|slo| slo.id.clone()).collect();
        }
        poll
    }

    fn book_poll(&mut self, poll: &Poll) -> Vec<(SeriesKey, Vec<SliceDelta>)> {
        let mut booked = Vec::with_capacity(poll.series.len());
        for harvest in &poll.series {
            if harvest.deltas.is_empty() {
                continue;
            }
            let slo = &self.rules.slos[harvest.sli];
            let applied = self.ledger.series_mut(slo, &harvest.labels).apply(&harvest.deltas);
            if applied.dropped > 0 {
                warn!(slo = slo.id, dropped = applied.dropped, "events older than the ledger reaches were left out");
            }
            if applied.corrected > 0 {
                debug!(slo = slo.id, corrected = applied.corrected, "late samples corrected slices");
                metrics::counter!(names::SLICES_CORRECTED_TOTAL).increment(applied.corrected);
            }
            // Of a fan-out the whole counts everything once.
            let whole = slo.by.is_empty() && !End::is_in(&harvest.labels) || slo.is_whole(&harvest.labels);
            if !self.options.compat.windows_s().is_empty() && whole {
                self.counted.entry(slo.id.clone()).or_default().add(&harvest.deltas);
            }
            let key = SeriesKey { slo_id: slo.id.clone(), labels: harvest.labels.clone() };
            booked.push((key, harvest.deltas.clone()));
        }
        booked
    }

    fn evaluate(&mut self, at_s: i64) -> (Snapshot, Vec<Transition>) {
        let mut filling = self.unfilled.hopeful();
        filling.extend(self.filling.iter().flat_map(|filling| filling.slos.iter().cloned()));
        let mut notes = self.rules.plan.notes.clone();
        for (id, note) in self.unfilled.notes() {
            notes.entry(id).or_default().push(note);
        }
        for (sli, note) in self.source.notes() {
            notes.entry(self.rules.slos[sli].id.clone()).or_default().push(note);
        }
        for (sli, slo) in self.rules.slos.iter().enumerate().filter(|(_, slo)| !slo.by.is_empty()) {
            notes.entry(slo.id.clone()).or_default().extend(self.note_of_children(sli, slo));
        }
        let unseen = |sli| self.source.health_unseen(sli, at_s);
        let folded = |sli: usize, labels: &Labels| self.source.is_folded(sli, labels);
        let health = Health { seen: self.source.health(at_s), unseen: &unseen, folded: &folded, filling: &filling };
        let slos = &self.rules.slos;
        let (mut snapshot, transitions) =
            evaluate(slos, &notes, &self.ledger, &health, at_s, &mut self.statuses, &mut self.book);
        let windows_s = self.options.compat.windows_s();
        if !windows_s.is_empty() {
            add_wholes(&mut snapshot, &self.ledger, windows_s, &self.counted);
        }
        (snapshot, transitions)
    }

    fn save(&mut self, at_s: i64, booked: &[(SeriesKey, Vec<SliceDelta>)], rewritten: &[SeriesKey]) {
        // Before anything was read a restart must begin from the beginning.
        let Some(store) = self.store.as_mut().filter(|_| !self.cold) else { return };
        let statuses: Vec<_> =
            self.statuses.iter().flat_map(|(id, of)| of.values().map(move |status| (id.as_str(), status))).collect();
        let mut unfilled = self.unfilled.all();
        unfilled.extend(self.filling.iter().flat_map(|filling| filling.slos.iter().cloned()));
        let commit = Commit {
            at_s,
            position: postcard::to_stdvec(&(self.source.position(), &self.outlook.survey))
                .expect("a position holds nothing postcard refuses"),
            alerts: &self.book,
            statuses: &statuses,
            booked,
            ledger: &self.ledger,
            rewritten,
            unfilled: &unfilled,
            oldest_s: at_s - self.rules.longest_window_s() - FORGOTTEN_AFTER_S,
        };
        if let Err(error) = apart(|| store.commit(&commit)) {
            metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
            error!(%error, "state was not written; the next poll tries again");
        }
    }

    /// Once an hour: lets the busiest children have rows, and forgets series that are in no window any more, such as
    /// those of a label value that is gone. Of a fan-out whose children came and went in numbers those that are silent
    /// the longest are forgotten sooner: their events stay in the whole.
    fn sweep(&mut self, at_s: i64) {
        if std::mem::replace(&mut self.swept_hour, at_s.div_euclid(3600)) == self.swept_hour {
            return;
        }
        let resolution_s = self.options.source.resolution_s;
        self.source.reconsider_children(&self.loud_children());
        for slo in &self.rules.slos {
            let oldest = (at_s - slo.longest_s() - FORGOTTEN_AFTER_S).div_euclid(resolution_s);
            let silent = |series: &crate::engine::SeriesLedger| series.newest().is_none_or(|newest| newest < oldest);
            let gone: Vec<Labels> = self
                .ledger
                .kept(&slo.id)
                .filter(|(_, series)| silent(series))
                .map(|(labels, _)| labels.clone())
                .collect();
            for labels in gone {
                self.ledger.remove(&slo.id, &labels);
            }
            self.ledger.keep_newest(&slo.id, CHILDREN_KEPT * slo.series_max as usize);
        }
    }

    /// What must be said of the children of a fan-out.
    fn note_of_children(&self, sli: usize, slo: &Slo) -> Option<String> {
        let (known, own) = self.source.fanout().extent(sli);
        if self.source.is_undivided(sli) {
            Some("it has so many children that Prometheus is not asked for them: only the whole is counted".into())
        } else if known > own {
            Some(format!(
                "{own} of {known} children have rows of their own (series_max: {}); the others are counted in {OTHER:?}",
                slo.series_max
            ))
        } else if known == 0 && self.ledger.get(&slo.id, &Labels::new()).is_some() {
            let by = slo.by.join(", ");
            Some(format!("none of its series has a label of `by` ({by}): there are no children"))
        } else {
            None
        }
    }

    /// Children on which something fires, or may: they keep their rows.
    fn loud_children(&self) -> BTreeSet<(usize, u128)> {
        let of = |(sli, slo): (usize, &Arc<Slo>)| {
            let statuses = self.statuses.get(&slo.id).into_iter().flatten();
            let loud = statuses.filter(|(labels, status)| !labels.is_empty() && status.state != SloState::Ok);
            loud.map(move |(labels, _)| (sli, child_key(labels))).collect::<Vec<_>>()
        };
        self.rules.slos.iter().enumerate().filter(|(_, slo)| !slo.by.is_empty()).flat_map(of).collect()
    }

    /// Starts to read older history for SLOs that have none.
    fn start_filling(&mut self, at_s: i64) {
        self.unfilled.poll();
        if self.filling.is_some() {
            return;
        }
        let due = self.unfilled.due();
        // Up to where the polls began: the recent hours at a cold start, this moment for an SLO that is new.
        let seen = |id: &str| self.ledger.of(id).filter_map(|(_, series)| series.begins()).min();
        let (to_s, slos): (i64, BTreeSet<String>) = match due.iter().filter_map(|id| seen(id)).min() {
            // Those that began much later are filled by the next round.
            Some(to_s) => (to_s, due.into_iter().filter(|id| seen(id).is_some_and(|at| at <= to_s + 3600)).collect()),
            // One that was never seen comes alone, so that a request that fails keeps nobody waiting; its history ends
            // where its next read begins.
            None => {
                let Some(id) = due.into_iter().next() else { return };
                let sli = self.rules.plan.slis.iter().position(|sli| sli.id == id);
                (sli.and_then(|sli| self.source.read_until_of(sli)).unwrap_or(at_s), BTreeSet::from([id]))
            }
        };
        let step_s = match self.way {
            Way::RemoteRead => self.options.source.resolution_s,
            Way::Ranges => 300,
        };
        let to_s = to_s.min(at_s).div_euclid(step_s) * step_s;
        let specs = self.rules.model.slos.iter().filter(|spec| slos.contains(&spec.slo.id)).cloned().collect();
        let model = Model { slos: specs, services: Vec::new() };
        let (plan, _) = Plan::surveyed(&model, &self.outlook.survey);
        let order: Vec<Arc<Slo>> = model.slos.iter().map(|spec| Arc::new(spec.slo.clone())).collect();
        let (raw_series, scrape_s) = self.source.extent();
        let progress = Arc::clone(&self.options.progress);
        let backfill = Backfill {
            client: self.client.clone(),
            fanout: self.source.fanout().moved(&self.rules.plan, &plan),
            plan: Arc::new(plan),
            slos: order,
            options: self.options.source.clone(),
            starts: self.source.starts(),
            way: self.way,
            scrape_s,
            raw_series,
            progress: Box::new(move |done| progress(done)),
        };
        let from_s = to_s - self.rules.longest_window_s() - 3600;
        self.filling = Some(Filling::start(backfill, from_s, to_s, self.unfilled.take(&slos)));
    }

    fn fill(&mut self, older: Result<backfill::Older, Fault>) {
        let Some(filling) = self.filling.take() else { return };
        match older {
            Ok(older) => {
                metrics::counter!(names::QUERIES_TOTAL, "kind" => "history").increment(older.requests as u64);
                metrics::counter!(names::SAMPLES_READ_TOTAL).increment(older.samples as u64);
                metrics::counter!(names::RESPONSE_BYTES_TOTAL).increment(older.bytes as u64);
                let changed = join(&mut self.ledger, older, &filling.order);
                if self.unfilled.is_empty() {
                    self.source.forget_starts();
                }
                let at_s = self.snapshot.borrow().at;
                self.save(at_s, &[], &changed);
            }
            Err(fault) => {
                warn!(%fault, "history could not be read; budgets miss it until it can");
                // A server without remote read says so; one that is ill may say anything, once.
                let refused = matches!(fault, Fault::Status(400..500, _) | Fault::Refused(..));
                if refused || filling.tries.failed_before() && !matches!(fault, Fault::Unreachable(_) | Fault::Timeout)
                {
                    self.way = Way::Ranges;
                }
                self.unfilled.again(filling.tries, &fault);
            }
        }
        give_back();
    }

    fn restore(&mut self, saved: Saved) -> Result<(), StoreError> {
        let known: BTreeSet<String> = self.rules.slos.iter().map(|slo| slo.id.clone()).collect();
        self.replay(&known)?;
        for (slo_id, mut status) in saved.statuses {
            // Written when it last changed; it was the same ever since.
            status.at = status.at.max(saved.at_s);
            self.statuses.entry(slo_id).or_default().insert(status.labels.clone(), status);
        }
        self.book = saved.alerts;
        info!(at_s = saved.at_s, series = self.ledger.len(), "state restored");
        let (position, survey) = postcard::from_bytes(&saved.position).unwrap_or_else(|error| {
            warn!(%error, "the saved position cannot be read; the next samples set new starts");
            (Position::since(saved.at_s), Survey::default())
        });
        self.rules.plan = planned(&self.rules.model, &survey);
        self.outlook = Outlook::restored(survey);
        self.continue_from(position);
        if self.options.backfill {
            self.unfilled.extend(saved.unfilled.into_iter().filter(|id| known.contains(id)));
        }
        Ok(())
    }

    /// Takes the series of these SLOs out of the store.
    fn replay(&mut self, slos: &BTreeSet<String>) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let by_id: BTreeMap<&str, &Arc<Slo>> = self.rules.slos.iter().map(|slo| (slo.id.as_str(), slo)).collect();
        let ledger = &mut self.ledger;
        store.replay(
            |id| slos.contains(id),
            |key, piece| {
                let Some(slo) = by_id.get(key.slo_id.as_str()) else { return };
                match piece {
                    Piece::Anew => drop(ledger.remove(&key.slo_id, &key.labels)),
                    Piece::Slices(slices) => drop(ledger.series_mut(slo, &key.labels).apply(slices)),
                    Piece::Hour(hour) => ledger.series_mut(slo, &key.labels).restore_hour(hour),
                }
            },
        )
    }

    /// Asks what Prometheus holds where that must be known, and reads on by what it said.
    async fn look_around(&mut self, at_s: i64) {
        let due = self.outlook.due(&self.rules.model, at_s);
        if due.is_empty() {
            return;
        }
        let wanted = |id: &str| due.contains(id);
        let found = survey(&self.client, &self.rules.model, wanted, at_s, &self.options.source).await;
        metrics::counter!(names::QUERIES_TOTAL, "kind" => "survey").increment(found.requests as u64);
        for (query, fault) in &found.faults {
            warn!(query = %short(query), code = fault.code(), "{fault}");
        }
        let changed = self.outlook.learn(due, found.known, at_s);
        if changed.is_empty() {
            return;
        }
        info!(slos = ?changed, "Prometheus was found to hold their metrics in another way than was read so far");
        self.rules.plan = planned(&self.rules.model, &self.outlook.survey);
        self.read_on(self.source.position());
    }

    /// A new source by the rules in force.
    fn read_on(&mut self, position: Position) {
        if self.cold {
            let (plan, options) = (Arc::clone(&self.rules.plan), self.options.source.clone());
            self.source = Source::new(self.client.clone(), plan, options, None);
        } else {
            self.continue_from(position);
        }
    }

    /// A new source that goes on where the ledger and the position stand.
    fn continue_from(&mut self, position: Position) {
        let plan = Arc::clone(&self.rules.plan);
        let options = self.options.source.clone();
        self.source = Source::new(self.client.clone(), plan, options, Some(position));
        for (sli, slo) in self.rules.slos.iter().enumerate() {
            for (labels, series) in self.ledger.kept(&slo.id) {
                if let Some(newest) = series.newest() {
                    self.source.note_booked(sli, labels, newest, series.fine());
                }
            }
        }
        if self.options.backfill {
            let without = |slo: &&Arc<Slo>| self.ledger.of(&slo.id).next().is_none();
            self.unfilled.extend(self.rules.slos.iter().filter(without).map(|slo| slo.id.clone()));
        }
    }

    /// Reads the rules again and answers; with errors in them the old ones stay in force.
    pub fn reload(&mut self, request: Reload) {
        let loaded = (self.options.rules)();
        let access = self.access.as_ref().map_or(Ok(None), Access::read_again);
        let answer = match (loaded.is_fatal(), access) {
            (false, Ok(identities)) => {
                if let (Some(access), Some(identities)) = (&self.access, identities) {
                    access.take(identities, self.gate_service.as_ref());
                }
                Ok(self.take_rules(loaded))
            }
            (_, access) => {
                let faults = access.err().unwrap_or_default();
                error!("rules were not reloaded: {}{}", loaded.render(false), faults.join("\n"));
                self.gate_service.iter().for_each(GateService::rules_refused);
                let problems = loaded.problems.iter().map(|problem| problem.render(None, false));
                Err(problems.chain(faults).collect())
            }
        };
        self.info.send_replace(Arc::new(info_of(&self.options, &self.rules, answer.is_err())));
        drop(request.answer.send(answer));
    }

    fn take_rules(&mut self, loaded: Loaded) -> Reloaded {
        let resolution_s = self.options.source.resolution_s;
        let before = definitions(&self.rules.model, resolution_s);
        let after = definitions(&loaded.model, resolution_s);
        let same = |id: &str| after.contains_key(id) && before.get(id) == after.get(id);
        self.outlook.begin_anew(same);
        let rules = Rules::new(loaded, &self.outlook.survey);
        self.ledger.retain_slos(same);
        self.statuses.retain(|id, _| same(id));
        self.counted.retain(|id, _| same(id));
        let position = self.source.position();
        if let Some(filling) = self.filling.take() {
            filling.abort();
            self.unfilled.again_at_once(filling.tries);
        }
        self.unfilled.retain(same);
        let back: BTreeSet<String> = after.keys().filter(|id| !same(id)).cloned().collect();
        super::corrections::log(&self.rules.slos, &rules.slos);
        self.rules = rules;
        if let Some(gate_service) = &self.gate_service {
            gate_service.take_rules(self.rules.gate.clone());
        }
        if let Some(store) = &mut self.store {
            let followed = apart(|| store.redefine(after)).and_then(|()| self.replay(&back));
            if let Err(error) = followed {
                metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
                error!(%error, "the state file does not follow the new rules");
            }
        }
        self.read_on(position);
        let reloaded = Reloaded {
            services: self.rules.model.services.len(),
            slos: self.rules.slos.len(),
            config_hash: self.rules.digest.clone(),
        };
        info!(services = reloaded.services, slos = reloaded.slos, config_hash = reloaded.config_hash, "rules in force");
        reloaded
    }

    fn report(&self, poll: &Poll, at_s: i64) {
        let outcome = poll.outcome();
        metrics::counter!(names::POLLS_TOTAL, "outcome" => outcome.as_str()).increment(1);
        metrics::counter!(names::QUERIES_TOTAL, "kind" => "poll").increment(poll.requests as u64);
        metrics::counter!(names::SAMPLES_READ_TOTAL).increment(poll.samples as u64);
        metrics::counter!(names::RESPONSE_BYTES_TOTAL).increment(poll.bytes as u64);
        for (query, fault) in &poll.faults {
            metrics::counter!(names::QUERY_FAULTS_TOTAL, "code" => fault.code()).increment(1);
            warn!(query = %short(query), code = fault.code(), "{fault}");
        }
        for (query, reason) in &poll.doubts {
            warn!(query = %short(query), ?reason, "an answer cannot be fully trusted");
        }
        if outcome != Outcome::Failed {
            metrics::gauge!(names::LAST_POLL_TIMESTAMP_SECONDS).set(at_s as f64);
        }
        debug!(
            at_s,
            outcome = outcome.as_str(),
            requests = poll.requests,
            samples = poll.samples,
            bytes = poll.bytes,
            "polled"
        );
    }
}

/// The plan of a model. SLOs of which no request can be made are named: they are not read, and the others are.
fn planned(model: &Model, survey: &Survey) -> Arc<Plan> {
    let (plan, _) = Plan::surveyed(model, survey);
    for sli in &plan.slis {
        if let Some(reason) = &sli.refused {
            warn!(
                slo = sli.id,
                reason, "no request can be made of the source of this SLO: it has no data until that is mended"
            );
        }
    }
    Arc::new(plan)
}

/// Does work that waits for the disk. On a runtime with several threads the others go on meanwhile.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Waits for the backfill under way, for ever when there is none.
async fn filled(filling: &mut Option<Filling>) -> Result<backfill::Older, Fault> {
    match filling {
        Some(filling) => filling.done().await,
        None => std::future::pending().await,
    }
}

fn info_of(options: &Options, rules: &Rules, failed: bool) -> Info {
    let origins = rules.model.slos.iter().filter_map(|spec| Some((spec.slo.id.clone(), spec.origin.clone()?)));
    Info {
        version: env!("CARGO_PKG_VERSION").into(),
        config_hash: rules.digest.clone(),
        external_url: options.external_url.clone(),
        services: rules.model.services.clone(),
        loaded_at: options.clock.now(),
        last_reload_failed: failed,
        compat: options.compat,
        metrics_detail: options.metrics_detail,
        origins: origins.collect(),
    }
}

fn log_transition(transition: &Transition) {
    let Transition { labels, slo_id, kind, change, .. } = transition;
    info!(slo = slo_id, %labels, kind = kind.as_str(), ?change, "alert");
}

fn short(query: &str) -> String {
    crate::prometheus::answer::excerpt(query)
}
