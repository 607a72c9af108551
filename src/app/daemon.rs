//! The daemon: its parts, the loop that ticks, and what a reload changes of each part.
//!
//! Deliberately absent: what happens in a tick. That is in `tick`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::access::Access;
use super::evaluation::Evaluator;
use super::history::History;
use super::incidents::Incidents;
use super::rules::{Found, Outcome, Reading, Rules, Sources, is_same};
use super::saved::{Saved, position_of};
use super::survey_schedule::Surveys;
use super::workloads::{Observer, Workloads};
use super::{Options, StartError, heap};
use crate::clock::Clock;
use crate::engine::{Ledger, Pace, SeriesStatus, Snapshot};
use crate::gate_service::GateService;
use crate::incident::Book;
use crate::notify::Notifier;
use crate::prometheus::backfill::Older;
use crate::prometheus::{Client, Fault, Position, Source};
use crate::query::plan::Survey;
use crate::store::{Restored, SeriesKey, Store, StoreError};
use crate::web::{Explainer, Info, LedgerReader, LedgerRequest, Readiness, Reload, Reloaded};

/// What readers see of a daemon.
pub struct Views {
    /// Every evaluation.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What it still waits for.
    pub readiness: watch::Receiver<Readiness>,
    /// Its configuration.
    pub info: watch::Receiver<Arc<Info>>,
    /// Copies of series of its ledger, and what is said of incidents.
    pub ledger: LedgerReader,
    /// Every incident.
    pub incidents: watch::Receiver<Arc<Book>>,
}

/// A running daemon. Only its loop touches it.
pub struct Daemon {
    pub(super) options: Options,
    pub(super) client: Client,
    pub(super) rules: Rules,
    /// Rules that are being read.
    pub(super) reading: Option<Reading>,
    pub(super) source: Source,
    pub(super) ledger: Ledger,
    pub(super) evaluator: Evaluator,
    pub(super) saved: Saved,
    pub(super) history: History,
    pub(super) surveys: Surveys,
    pub(super) workloads: Workloads,
    /// Decides on changes; `None` where nothing is decided.
    pub(super) gate_service: Option<GateService>,
    access: Option<Arc<Access>>,
    pub(super) pace: Pace,
    /// Ticks left out since the clock jumped.
    pub(super) lost_ticks: i64,
    /// Polls since the start, until one of them is answered.
    pub(super) unanswered_polls: i64,
    /// Nothing was read yet, and no state was found.
    pub(super) cold: bool,
    /// The hour in which children of fan-outs last got and lost their rows.
    pub(super) children_hour: i64,
    /// The hour in which forgotten series were last looked for.
    pub(super) swept_hour: i64,
    /// A tick has been made.
    pub(super) settled_in: bool,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) readiness: watch::Sender<Readiness>,
    info: watch::Sender<Arc<Info>>,
    /// Series that readers want copies of, and what is said of incidents.
    pub(super) asked: mpsc::Receiver<LedgerRequest>,
    pub(super) incidents: Incidents,
}

/// The latch that the first answer of Prometheus releases, and what is said meanwhile.
pub(super) const FIRST_ANSWER: &str = "first_answer";
pub(super) const NO_ANSWER: &str = "no poll of Prometheus was answered yet";

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
        let resolution_s = options.source.resolution_s;
        let rules = Rules::new(loaded, &Survey::default(), resolution_s);
        let client = Client::new(&options.client).map_err(StartError::Settings)?;
        let store = options.data_dir.as_ref().map(|dir| Store::open(dir, resolution_s, rules.definitions.clone()));
        let mut saved = match store.transpose() {
            Ok(store) => Saved::new(store),
            // Alerts matter more than what a restart knows of them.
            Err(error @ StoreError::Unwritable(..)) => {
                error!(%error, "no state is kept until it can be: history is read from Prometheus, alerts go out");
                Saved::lost()
            }
            Err(error) => return Err(StartError::Store(error)),
        };
        let restored = saved.load().map_err(StartError::Store)?;
        let mut waiting = Readiness::default();
        waiting.hold("first_evaluation", "the first poll of Prometheus has not been evaluated yet");
        waiting.hold(FIRST_ANSWER, NO_ANSWER);
        let (snapshot, snapshots) = watch::channel(Arc::default());
        let (readiness, readinesses) = watch::channel(waiting);
        let (info, infos) = watch::channel(Arc::new(info_of(&options, &rules, &client, false)));
        let (reader, asked) = LedgerReader::new();
        let mut known = options.incidents.clone();
        known.extend(saved.incidents().map_err(StartError::Store)?);
        let (incidents, shown) = Incidents::new(known);
        let source = Source::new(client.clone(), Arc::clone(&rules.plan), options.source.clone(), None);
        let mut daemon = Daemon {
            client,
            reading: None,
            source,
            ledger: Ledger::new(resolution_s),
            evaluator: Evaluator::default(),
            saved,
            history: History::new(options.backfill, options.source.queried_samples_max),
            surveys: Surveys::default(),
            workloads: Workloads::default(),
            gate_service: None,
            access: None,
            pace: Pace::default(),
            lost_ticks: 0,
            unanswered_polls: 0,
            cold: restored.is_none(),
            children_hour: 0,
            swept_hour: 0,
            settled_in: false,
            options,
            rules,
            snapshot,
            readiness,
            info,
            asked,
            incidents,
        };
        if let Some(restored) = restored {
            daemon.restore(restored).map_err(StartError::Store)?;
        }
        Ok((
            daemon,
            Views { snapshot: snapshots, readiness: readinesses, info: infos, ledger: reader, incidents: shown },
        ))
    }

    /// Ticks until `stop`. What goes on beside the ticks is taken between them.
    pub async fn run(&mut self, notifier: &Notifier, mut reloads: mpsc::Receiver<Reload>, stop: &CancellationToken) {
        let clock = self.options.clock.clone();
        let poll_s = self.options.source.poll_interval_s;
        let delay_s = self.options.evaluation_delay_s;
        let newest = || (clock.now() - delay_s).div_euclid(poll_s) * poll_s;
        let mut next = newest();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = reloads.recv(), if self.reading.is_none() => {
                    self.reading = Some(Reading::start(self.sources(), request));
                }
                (found, request) = read(&mut self.reading) => {
                    self.reading = None;
                    self.take(found, request);
                }
                () = sleep_until(&clock, next + delay_s, poll_s) => {
                    if newest() < next - poll_s {
                        warn!(back_s = next - newest(), "the clock was set back; going on from there");
                        next = newest();
                    }
                    if clock.now() < next + delay_s {
                        continue;
                    }
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = self.tick(next, notifier) => {}
                    }
                    // A tick that took long is followed by the newest one, which reads what was missed; and when the
                    // clock was set back, the loop goes back with it instead of waiting for it.
                    let newest = newest();
                    next = if newest < next - poll_s { newest + poll_s } else { newest.max(next + poll_s) };
                }
                older = self.history.done() => self.fill(older),
                () = self.workloads.done() => self.show_gate(notifier),
                Some(request) = self.asked.recv() => answer(request, &self.ledger, &mut self.incidents, &mut self.saved),
                () = std::future::ready(()), if self.saved.has_work() => {
                    self.saved.work(&self.ledger, self.history.unread());
                    tokio::task::yield_now().await;
                }
            }
        }
        self.history.abort();
        info!("poll loop ended");
    }

    /// Lets a gate, where there is one, decide on the services of this daemon, and `access` follow each reload.
    pub fn guard(&mut self, gate_service: Option<GateService>, access: Access) {
        if let Some(gate_service) = &gate_service {
            gate_service.take_rules(self.rules.gate.clone(), "start");
            gate_service.observe_with(Observer::new(&self.client, &self.rules));
        }
        self.gate_service = gate_service;
        self.access = Some(Arc::new(access));
    }

    /// Waits until older history has been read, joined and written, if it is being read. The loop of [`Daemon::run`] does
    /// the same between ticks; whoever ticks by hand calls this.
    pub async fn settled(&mut self) {
        if self.history.is_reading() {
            let older = self.history.done().await;
            self.fill(older);
        }
        while self.saved.has_work() {
            self.saved.work(&self.ledger, self.history.unread());
        }
    }

    /// All slices there are.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Takes older history that was read, or could not be.
    fn fill(&mut self, mut older: Result<Older, Fault>) {
        if let Ok(older) = &mut older {
            self.source.remember(std::mem::take(&mut older.remembered));
        }
        let changed = super::apart(|| self.history.take(older, &mut self.ledger));
        self.saved.put_said(self.history.said());
        self.saved.note_joined(changed);
        heap::give_back();
    }

    fn restore(&mut self, restored: Restored) -> Result<(), StoreError> {
        self.saved.restore_series(&self.rules, &mut self.ledger, |_| true)?;
        self.history.say_again(self.saved.said()?);
        info!(series = self.ledger.len(), "history restored");
        let (position, survey) = position_of(&restored);
        let statuses = statuses_of(&restored, &self.rules);
        self.saved.note_written(statuses.clone());
        self.evaluator = Evaluator::restored(restored.alerts, statuses);
        self.pace = Pace::after(restored.at_s);
        if !survey.is_empty() {
            self.rules.plan_by(&survey);
        }
        self.surveys = Surveys::restored(survey);
        self.continue_from(position);
        let in_force = restored.unfilled.into_iter().filter(|id| self.rules.place_of(id).is_some());
        self.history.want(in_force.collect::<Vec<_>>());
        Ok(())
    }

    /// A state file that could not be written when this process began is taken up once it can be: as by a start, with its
    /// history, from where it was read to, and what was missed since is read again. Alerts and states stay what they are.
    pub(super) fn take_up_state(&mut self) {
        if !self.saved.is_lost() || self.cold || !self.history.is_read() {
            return;
        }
        let Some(dir) = &self.options.data_dir else { return };
        let resolution_s = self.options.source.resolution_s;
        let taken = super::apart(|| {
            let mut saved = Saved::new(Some(Store::open(dir, resolution_s, self.rules.definitions.clone())?));
            let (restored, incidents) = (saved.load()?, saved.incidents()?);
            let mut ledger = Ledger::new(resolution_s);
            saved.restore_series(&self.rules, &mut ledger, |_| true)?;
            let said = saved.said()?;
            Ok((saved, restored, said, incidents, ledger))
        });
        let (mut saved, restored, said, incidents, ledger) = match taken {
            Ok(taken) => taken,
            Err(StoreError::Unwritable(..)) => return,
            Err(error) => return error!(%error, "the state file can be written again, and cannot be used"),
        };
        match restored {
            Some(restored) => {
                self.ledger = ledger;
                self.evaluator.forget_counts();
                saved.note_written(statuses_of(&restored, &self.rules));
                self.history.say_again(said);
                self.saved = saved;
                self.continue_from(position_of(&restored).0);
                let in_force = restored.unfilled.into_iter().filter(|id| self.rules.place_of(id).is_some());
                self.history.want(in_force.collect::<Vec<_>>());
            }
            // It holds nothing: what there is here is written whole.
            None => {
                let slos = self.rules.slos.iter();
                let all = slos.flat_map(|slo| self.ledger.kept(&slo.id).map(|(labels, _)| (slo.id.clone(), labels)));
                let all = all.map(|(slo_id, labels)| SeriesKey { slo_id, labels: labels.clone() });
                saved.note_joined(all.collect());
                self.saved = saved;
            }
        }
        self.incidents.take_up(incidents);
        info!("state is kept from now on: it can be written again");
    }

    /// A new source by the rules in force.
    pub(super) fn read_on(&mut self, position: Position<'_>) {
        if self.cold {
            let (plan, options) = (Arc::clone(&self.rules.plan), self.options.source.clone());
            self.source = Source::new(self.client.clone(), plan, options, None);
        } else {
            self.continue_from(position);
        }
    }

    /// A new source that goes on where the ledger and the position stand.
    fn continue_from(&mut self, position: Position<'_>) {
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
        let without = self.rules.slos.iter().filter(|slo| self.ledger.of(&slo.id).next().is_none());
        self.history.want(without.map(|slo| slo.id.clone()).collect::<Vec<_>>());
    }

    /// Reads the rules again and answers; with errors in them the old ones stay in force. The loop of [`Daemon::run`]
    /// reads them on another thread.
    pub fn reload(&mut self, request: Reload) {
        let found = self.sources().read();
        self.take(found, Some(request));
    }

    fn sources(&self) -> Sources {
        Sources {
            read: Arc::clone(&self.options.rules),
            access: self.access.clone(),
            resolution_s: self.options.source.resolution_s,
            before: self.rules.definitions.clone(),
            survey: self.surveys.schedule.survey.clone(),
        }
    }

    /// Takes what reading the rules gave, and answers whoever asked.
    fn take(&mut self, found: Found, request: Option<Reload>) {
        let by = request.as_ref().map_or("slowburn", |request| request.by.as_str()).to_owned();
        let (found, identities) = found;
        // Whatever becomes of the rules: a credential that is revoked is revoked.
        if let (Some(access), Some(identities)) = (&self.access, identities) {
            access.take(identities, self.gate_service.as_ref(), &by);
        }
        let answer = match found {
            Outcome::Good(rules) => Ok(self.take_rules(*rules, &by)),
            Outcome::Refused { rendered, problems } => {
                error!("rules were not reloaded: {rendered}");
                self.gate_service.iter().for_each(GateService::rules_refused);
                Err(problems)
            }
        };
        self.info.send_replace(Arc::new(info_of(&self.options, &self.rules, &self.client, answer.is_err())));
        if let Some(request) = request {
            drop(request.answer.send(answer));
        }
    }

    fn take_rules(&mut self, rules: Rules, by: &str) -> Reloaded {
        super::corrections::log(&self.rules.slos, &rules.slos);
        let before = std::mem::replace(&mut self.rules, rules);
        let kept: BTreeSet<&str> = (before.slos.iter().map(|slo| slo.id.as_str()))
            .filter(|id| is_same(&before.definitions, &self.rules.definitions, id))
            .collect();
        let place = |id: &str| kept.contains(id).then(|| before.place_of(id)).flatten();
        self.surveys.begin_anew(|id| kept.contains(id));
        self.history.begin_anew(|id| kept.contains(id));
        self.evaluator.follow(&self.rules.slos, place);
        self.ledger.retain_slos(|id| kept.contains(id));
        self.saved.follow(&self.rules, &mut self.ledger, place);
        match self.saved.said() {
            Ok(said) => self.history.say_again(said.into_iter().filter(|of| !kept.contains(&*of.slo_id)).collect()),
            Err(error) => error!(%error, "notes of history cannot be read"),
        }
        self.workloads.follow(&self.rules);
        if let Some(gate_service) = &self.gate_service {
            gate_service.take_rules(self.rules.gate.clone(), by);
            gate_service.observe_with(Observer::new(&self.client, &self.rules));
        }
        self.read_on(self.source.position().into_owned());
        let reloaded = Reloaded {
            services: self.rules.model.services.len(),
            slos: self.rules.slos.len(),
            config_hash: self.rules.digest.clone(),
        };
        info!(services = reloaded.services, slos = reloaded.slos, config_hash = reloaded.config_hash, "rules in force");
        reloaded
    }
}

/// The statuses that a state file holds, in the order of the rules.
fn statuses_of(restored: &Restored, rules: &Rules) -> Vec<Arc<[SeriesStatus]>> {
    let mut statuses: Vec<Vec<SeriesStatus>> = vec![Vec::new(); rules.slos.len()];
    for (slo_id, status) in &restored.statuses {
        if let Some(place) = rules.place_of(slo_id) {
            // Written when it last changed; it was the same ever since.
            let at = status.at.max(restored.at_s);
            statuses[place].push(SeriesStatus { at, ..status.clone() });
        }
    }
    statuses.iter_mut().for_each(|of| of.sort_by(|a, b| a.labels.cmp(&b.labels)));
    statuses.into_iter().map(Arc::from).collect()
}

/// Answers what readers ask of the loop.
pub(super) fn answer(request: LedgerRequest, ledger: &Ledger, incidents: &mut Incidents, saved: &mut Saved) {
    // Nobody waits where the client is gone.
    match request {
        LedgerRequest::Series { slo_id, labels, answer } => drop(answer.send(ledger.get(&slo_id, &labels).cloned())),
        LedgerRequest::Note { id, note, answer } => drop(answer.send(incidents.note(&id, note, saved))),
    }
}

/// Waits for the rules that are being read, for ever when none are.
async fn read(reading: &mut Option<Reading>) -> (Found, Option<Reload>) {
    match reading {
        Some(reading) => reading.done().await,
        None => std::future::pending().await,
    }
}

/// Sleeps until the clock reads `at_s`, but no longer than to the next tick: a clock that was set back meanwhile is not
/// waited for.
async fn sleep_until(clock: &Clock, at_s: i64, poll_s: i64) {
    let poll = Duration::from_secs(poll_s.unsigned_abs().max(1));
    tokio::time::sleep(clock.wall_until(at_s * 1000).min(poll)).await;
}

fn info_of(options: &Options, rules: &Rules, client: &Client, failed: bool) -> Info {
    let explainer =
        Explainer { client: client.clone(), model: Arc::clone(&rules.model), options: options.source.clone() };
    let origins = rules.model.slos.iter().filter_map(|spec| Some((spec.slo.id.clone(), spec.origin.clone()?)));
    Info {
        version: env!("CARGO_PKG_VERSION").into(),
        config_hash: rules.digest.clone(),
        external_url: options.external_url.clone(),
        services: rules.model.services.clone(),
        poll_interval_s: options.source.poll_interval_s,
        loaded_at: options.clock.now(),
        last_reload_failed: failed,
        compat: options.compat,
        metrics_detail: options.metrics_detail,
        origins: origins.collect(),
        explainer: Some(Arc::new(explainer)),
    }
}
