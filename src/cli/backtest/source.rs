//! Where the past comes from: a Prometheus, read stretch by stretch, or a file of events; and living through it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::BacktestArgs;
use super::decisions::Decisions;
use super::events::Events;
use super::lived::Lived;
use super::policy::{Policy, Rules, THEIRS};
use crate::app::evaluation::Health;
use crate::cli::eval::{self, Begun};
use crate::cli::table::counted;
use crate::cli::{Exit, ImportFlags, SourceArgs, complain, moment, wiring};
use crate::config::Settings;
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::{Labels, Ledger, SliceDelta, Slo, Snapshot};
use crate::inspect::compare::recorded::Foreign;
use crate::inspect::compare::replay::{self, Ratios};
use crate::prometheus::{Client, Fault, SeriesHealth, Source as Reader};
use crate::spec::{self, Model, SloSpec};

/// Age at which a series without data is stale, and absent, seconds: as the daemon has it of usual scrapes.
const STALE_S: (i64, i64) = (90, 300);

/// SLOs whose foreign alerts are asked for at once, and the deadline of one query.
const CONCURRENCY: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(120);

type Failed = (Exit, String);

/// The past, and how far it was lived through.
pub struct Source {
    settings: Settings,
    /// How files of other tools are read.
    import: ImportFlags,
    slos: Vec<Arc<Slo>>,
    from_s: i64,
    at_s: i64,
    to_s: i64,
    stretch_s: i64,
    ledger: Ledger,
    /// What was read and is not lived through yet, by SLO and labels.
    pending: BTreeMap<(usize, Labels), VecDeque<SliceDelta>>,
    past: Past,
    /// Recorded requests that are decided again.
    pub decisions: Option<Decisions>,
    /// The most that the ledger and what was read ahead of it took, bytes.
    pub held_bytes: usize,
}

enum Past {
    Prometheus { client: Client, model: Box<Model>, reader: Option<Box<Reader>> },
    Events(Events),
}

impl Source {
    /// Reads what is to be lived through, and finds where it is.
    pub async fn open(args: &BacktestArgs) -> Result<Self, Failed> {
        let source = SourceArgs {
            prometheus_url: args.prometheus_url.clone(),
            rules: args.rules.clone(),
            presets: Vec::new(),
            config: args.config.clone(),
            import: args.import.clone(),
        };
        let mut settings = wiring::settings(args.config.as_deref()).map_err(|text| (Exit::BadConfig, text))?;
        let (slos, past) = match &args.events {
            Some(path) => {
                let slos = slos_of_events(args, &source, &settings)?;
                let events = Events::open(path, settings.resolution.seconds()).map_err(|text| (Exit::Usage, text))?;
                (slos, Past::Events(events))
            }
            None => {
                let opened = eval::open(&source, args.to.as_deref())?;
                settings = opened.settings;
                let slos = opened.model.slos.iter().map(|spec| Arc::clone(&spec.slo)).collect();
                (slos, Past::Prometheus { client: opened.client, model: Box::new(opened.model), reader: None })
            }
        };
        let resolution_s = settings.resolution.seconds();
        let at = |text: Option<&str>| moment(text, &settings).map_err(|text| (Exit::Usage, text));
        let (from_s, to_s) = match &past {
            Past::Events(events) => {
                let first = events.starts().unwrap_or(0).div_euclid(resolution_s) * resolution_s;
                let from_s = args.from.as_deref().map_or(Ok(first), |text| at(Some(text)))?;
                (from_s, args.to.as_deref().map_or(Ok(i64::MAX), |text| at(Some(text)))?)
            }
            Past::Prometheus { .. } => {
                let to_s = at(args.to.as_deref())?;
                let since_s = args.since.seconds() - args.since.seconds() % resolution_s;
                (args.from.as_deref().map_or(Ok(to_s - since_s), |text| at(Some(text)))?, to_s)
            }
        };
        if from_s >= to_s {
            return Err((Exit::Usage, "the range ends before it begins: --from is earlier than --to".into()));
        }
        let stretch_s = (args.stretch.seconds() / resolution_s).max(1) * resolution_s;
        let (ledger, pending) = (Ledger::new(resolution_s), BTreeMap::new());
        let decisions = args.decisions.as_deref().map(|dir| Decisions::open(dir, from_s)).transpose();
        let decisions = decisions.map_err(|text| (Exit::Usage, text))?;
        Ok(Source {
            settings,
            import: args.import.clone(),
            slos,
            from_s,
            at_s: from_s,
            to_s,
            stretch_s,
            ledger,
            pending,
            past,
            decisions,
            held_bytes: 0,
        })
    }

    /// The range, as far as it is known.
    pub fn range(&self) -> (i64, i64) {
        (self.from_s, if self.to_s == i64::MAX { self.at_s } else { self.to_s })
    }

    /// The policies of these names; `own` are the files of the rules.
    pub async fn policies(&self, names: &[String], own: &[PathBuf]) -> Result<Vec<Policy>, Failed> {
        let mut all = Vec::new();
        for name in names {
            all.push(match name == THEIRS {
                true => self.theirs().await?,
                false => self.policy(name, own)?,
            });
        }
        Ok(all)
    }

    /// What rules of Sloth or Pyrra would have sent of these files, in this range.
    async fn theirs(&self) -> Result<Policy, Failed> {
        let Past::Prometheus { client, model, .. } = &self.past else {
            return Err((Exit::Usage, "--policy theirs asks a Prometheus: events have no rules of anybody".into()));
        };
        let named: Vec<(usize, &SloSpec, Foreign)> = model
            .slos
            .iter()
            .enumerate()
            .filter_map(|(index, spec)| Foreign::of(spec).map(|foreign| (index, spec, foreign)))
            .collect();
        if named.is_empty() {
            return Err((Exit::Usage, "--policy theirs: none of these SLOs is of Sloth or Pyrra".into()));
        }
        let client = client.clone().with_timeout(TIMEOUT);
        let (from_s, to_s) = (self.from_s, self.to_s);
        let asked = stream::iter(named).map(|(index, spec, foreign)| {
            let client = &client;
            async move { (index, spec, replay::replay(client, spec, &foreign, from_s, to_s).await) }
        });
        let found: Vec<_> = asked.buffered(CONCURRENCY).collect().await;
        let (mut fired, mut asked_now) = (Vec::new(), 0);
        for (index, spec, replayed) in found {
            match replayed {
                Ok(replayed) => {
                    asked_now += usize::from(replayed.ratios == Ratios::Queries);
                    fired.extend(replayed.fired.into_iter().map(|fired| (index, fired)));
                }
                Err(fault) if matches!(fault, Fault::Unreachable(_)) => {
                    return Err((Exit::NoData, format!("their alerts: {fault}")));
                }
                Err(fault) => complain(&format!("{}: their alerts are not known: {fault}", spec.slo.id)),
            }
        }
        if asked_now > 0 {
            let slos = counted(asked_now, "SLO");
            complain(&format!(
                "the ratios of {slos} are not recorded in all of the range: their queries are asked instead"
            ));
        }
        Ok(Policy::theirs(&self.slos, fired))
    }

    fn policy(&self, name: &str, own: &[PathBuf]) -> Result<Policy, Failed> {
        if name == "rules" {
            let found = self.decisions.as_ref().map(|_| rules(own, &self.settings, &self.import)).transpose()?;
            return Ok(Policy::own(name, &self.slos, found.map(|found| found.gate).unwrap_or_default()));
        }
        if let Some(peer) = Policy::peer(name, &self.slos) {
            return Ok(peer);
        }
        let path = Path::new(name);
        if !path.exists() {
            let what = format!("--policy {name:?}: no such file; or write rules, theirs, workbook, sloth or pyrra");
            return Err((Exit::Usage, what));
        }
        let found = rules(&[path.to_owned()], &self.settings, &self.import)?;
        Policy::of_files(path, &self.slos, found).map_err(|text| (Exit::BadConfig, text))
    }

    /// Reads what lies before the range, as far as any window reaches.
    pub async fn begin(&mut self, lived: &[Lived]) -> Result<(), Failed> {
        let longest_s = lived.iter().map(|lived| lived.policy.longest_s()).max().unwrap_or(0);
        match &mut self.past {
            Past::Prometheus { client, model, reader } => {
                let Begun { source, ledger, .. } = eval::read_to(
                    &self.settings,
                    client.clone(),
                    (**model).clone(),
                    self.from_s,
                    longest_s,
                    Some(self.to_s),
                )
                .await?;
                (self.ledger, *reader) = (ledger, Some(Box::new(source)));
            }
            Past::Events(events) => {
                let before = events.before(self.from_s).map_err(|text| (Exit::Usage, text))?;
                self.ledger.series_mut(&self.slos[0], &Labels::new()).apply(&before.unwrap_or_default());
            }
        }
        for slo in lived.iter().flat_map(|lived| &lived.policy.slos) {
            let known: Vec<Labels> = self.ledger.kept(&slo.id).map(|(labels, _)| labels.clone()).collect();
            for labels in &known {
                self.ledger.series_mut(slo, labels);
            }
        }
        Ok(())
    }

    /// Lives through the next stretch. Answers how far it has come; `None` at the end.
    pub async fn live(&mut self, lived: &mut [Lived]) -> Result<Option<i64>, Failed> {
        if self.at_s >= self.to_s {
            return Ok(None);
        }
        let resolution_s = self.ledger.resolution_s();
        let end_s = self.to_s.min(self.at_s.saturating_add(self.stretch_s));
        let polled = match &mut self.past {
            Past::Prometheus { reader: Some(reader), .. } => {
                let polled = self.stretch_s == resolution_s;
                let poll = if polled { reader.poll(end_s).await } else { reader.catch_up(end_s).await };
                if let (true, Some((_, fault))) = (poll.series.is_empty(), poll.faults.first()) {
                    return Err((Exit::NoData, format!("{}: {fault}", shown(end_s))));
                }
                for harvest in poll.series.into_iter().filter(|harvest| !harvest.is_empty()) {
                    let series = self.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels);
                    let deltas = harvest.deltas.clone();
                    crate::query::increment::SeriesDeltas { deltas: Vec::new(), ..harvest.clone() }.apply_to(series);
                    self.pending.entry((harvest.sli, harvest.labels)).or_default().extend(deltas);
                }
                reader.forget_silent(end_s);
                polled
            }
            Past::Prometheus { .. } => return Ok(None),
            Past::Events(events) => match events.before(end_s).map_err(|text| (Exit::Usage, text))? {
                Some(deltas) => {
                    self.pending.entry((0, Labels::new())).or_default().extend(deltas);
                    false
                }
                None => {
                    self.to_s = self.at_s;
                    return Ok(None);
                }
            },
        };
        let ahead: usize = self.pending.values().map(VecDeque::capacity).sum();
        self.held_bytes = self.held_bytes.max(self.ledger.bytes() + ahead * size_of::<SliceDelta>());
        while self.at_s < end_s {
            self.at_s += resolution_s;
            self.book(self.at_s.div_euclid(resolution_s));
            self.evaluate(lived, polled);
        }
        Ok(Some(self.at_s))
    }

    /// Books what lies before a slice.
    fn book(&mut self, slice: i64) {
        for ((sli, labels), deltas) in &mut self.pending {
            let due = deltas.iter().take_while(|delta| delta.slice < slice).count();
            if due > 0 {
                let due: Vec<SliceDelta> = deltas.drain(..due).collect();
                self.ledger.series_mut(&self.slos[*sli], labels).apply(&due);
            }
        }
        self.pending.retain(|_, deltas| !deltas.is_empty());
    }

    fn evaluate(&mut self, lived: &mut [Lived], polled: bool) {
        let at_s = self.at_s;
        let reader = match &self.past {
            Past::Prometheus { reader: Some(reader), .. } => Some(reader),
            _ => None,
        };
        let absent = |reason| DataHealth { state: DataState::Absent, reason, newest: None };
        let unseen = |sli| reader.map_or(absent(DataReason::NoSeries), |reader| reader.health_unseen(sli, at_s));
        let folded = |sli: usize, labels: &Labels| reader.is_some_and(|reader| reader.is_folded(sli, labels));
        let (filling, scaled_to_zero) = (BTreeSet::new(), BTreeSet::new());
        let seen = match reader.filter(|_| polled) {
            Some(reader) => reader.health(at_s),
            None => self.health(),
        };
        let health =
            Health { seen, unseen: &unseen, folded: &folded, filling: &filling, scaled_to_zero: &scaled_to_zero };
        let snapshots: Vec<Snapshot> = lived.iter_mut().map(|lived| lived.step(&self.ledger, &health, at_s)).collect();
        if let Some(decisions) = &mut self.decisions {
            decisions.decide(at_s, lived, &snapshots, &self.ledger);
        }
    }

    /// How far the data of each series reaches, by its slices.
    fn health(&self) -> SeriesHealth {
        let resolution_s = self.ledger.resolution_s();
        let mut health = Vec::new();
        for (sli, slo) in self.slos.iter().enumerate() {
            for (labels, series) in self.ledger.of(&slo.id) {
                let newest = series.newest().map(|slice| (slice + 1) * resolution_s);
                let age_s = newest.map_or(i64::MAX, |newest| self.at_s - newest);
                let (state, reason) = match age_s {
                    age_s if age_s > STALE_S.1 => (DataState::Absent, DataReason::NoSeries),
                    age_s if age_s > STALE_S.0 => (DataState::Stale, DataReason::SamplesOld),
                    _ => (DataState::Fresh, DataReason::None),
                };
                health.push(((sli, labels.clone()), DataHealth { state, reason, newest }));
            }
        }
        SeriesHealth::of_all(health, self.slos.len())
    }
}

/// The SLO that a file of events is of: one of the rules, or one made of an objective and a window.
fn slos_of_events(args: &BacktestArgs, source: &SourceArgs, settings: &Settings) -> Result<Vec<Arc<Slo>>, Failed> {
    if source.rules.is_empty() {
        let text = format!(
            "name: events\nowner: backtest\nslo:\n  availability: {{objective: {}, window: {}, sli: {{total: all_total, bad: bad_total}}}}\n",
            args.objective, args.window
        );
        let loaded = spec::load_texts(&[("--objective and --window", &text)], &spec::Options::default());
        if loaded.is_fatal() {
            return Err((Exit::Usage, loaded.render(false)));
        }
        return Ok(loaded.model.slos.into_iter().map(|spec| spec.slo).collect());
    }
    let mut slos = rules(&source.rules, settings, &source.import)?.slos;
    slos.retain(|slo| args.slo.as_ref().is_none_or(|id| *id == slo.id));
    match slos.len() {
        1 => Ok(slos),
        0 => Err((Exit::Usage, "the rules have no SLO that the events could be of".into())),
        _ => Err((Exit::Usage, "the rules have several SLOs: say which with --slo ID".into())),
    }
}

/// The SLOs of these files, and the policies of the gate.
fn rules(paths: &[PathBuf], settings: &Settings, import: &ImportFlags) -> Result<Rules, Failed> {
    let loaded = wiring::rules(paths, settings, import);
    if loaded.is_fatal() {
        return Err((Exit::BadConfig, loaded.render(crate::cli::colour_on(&std::io::stderr()))));
    }
    Ok(Rules {
        slos: loaded.model.slos.into_iter().map(|spec| spec.slo).collect(),
        gate: loaded.policies.into_iter().map(|policy| (policy.service.clone(), policy)).collect(),
    })
}

/// A moment, for people.
pub fn shown(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string())
}
