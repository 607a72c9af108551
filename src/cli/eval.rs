//! `slowburn eval`: one evaluation, printed.

mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::Args;

use super::run::progress;
use super::table::{Table, paragraph};
use super::{Exit, Format, SourceArgs, complain, moment, print_out, wiring};
use crate::app::evaluation::{Health, evaluate};
use crate::app::history::{Kept, join};
use crate::app::reach::Reach;
use crate::config::Settings;
use crate::engine::CountingAll;
use crate::engine::alert::AlertMachine;
use crate::engine::duration::exact;
use crate::engine::status::{DataState, SloState, WindowStatus};
use crate::engine::{BudgetStatus, Labels, Ledger, SeriesStatus, Slo, Snapshot};
use crate::prometheus::backfill::{self, Backfill, Way};
use crate::prometheus::history::extent::{Extent, Queried, together};
use crate::prometheus::survey::{far_off, survey};
use crate::prometheus::{Client, Source};
use crate::query::Plan;
use crate::query::plan::Survey;
use crate::spec::{Model, SloSpec, TimeSpan};
use crate::web::view::{SloView, Word};

/// Flags of `slowburn eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The moment to evaluate: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Show one SLO over a range of time, point by point, instead of all at one moment
    #[arg(long, value_name = "SLO")]
    history: Option<String>,
    /// With --history: start of the range, RFC 3339 or Unix seconds [default: 6 h before --at]
    #[arg(long, value_name = "TIME", requires = "history")]
    from: Option<String>,
    /// With --history: length of a point [default: what makes some hundred]
    #[arg(long, value_name = "DURATION", requires = "history", value_parser = super::run::duration)]
    step: Option<TimeSpan>,
    /// With --history: labels of a series of a fan-out, as JSON [default: the rollup]
    #[arg(long, value_name = "JSON", requires = "history")]
    series: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Evaluates and prints.
pub async fn eval(args: EvalArgs) -> Exit {
    if let Some(slo_id) = &args.history {
        return history::show(&args, slo_id).await;
    }
    match evaluated(&args).await {
        Ok(snapshot) => {
            print_out(&match args.format {
                Format::Text => table(&snapshot),
                Format::Json => json(&snapshot),
            });
            verdict(&snapshot)
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

async fn evaluated(args: &EvalArgs) -> Result<Snapshot, (Exit, String)> {
    let opened = open(&args.source, args.at.as_deref())?;
    Ok(evaluate_at(&opened.settings, opened.client, opened.model, opened.at_s).await?.0)
}

/// What a command that evaluates once begins with.
pub(super) struct Opened {
    pub settings: Settings,
    pub client: Client,
    pub model: Model,
    pub at_s: i64,
}

/// Reads settings and rules, and makes the client.
pub(super) fn open(source: &SourceArgs, at: Option<&str>) -> Result<Opened, (Exit, String)> {
    let bad = |text: String| (Exit::BadConfig, text);
    let mut settings = wiring::settings(source.config.as_deref()).map_err(bad)?;
    if let Some(url) = &source.prometheus_url {
        settings.prometheus.url = Some(super::endpoint(url).map_err(bad)?);
    }
    wiring::judge(&settings).map_err(bad)?;
    let loaded = wiring::rules(&source.paths(), &settings, &source.import);
    if loaded.is_fatal() {
        return Err(bad(loaded.render(super::colour_on(&std::io::stderr()))));
    }
    let at_s = moment(at, &settings).map_err(|text| (Exit::Usage, text))?;
    let client = Client::new(&wiring::client(&settings).map_err(bad)?).map_err(bad)?;
    Ok(Opened { settings, client, model: loaded.model, at_s })
}

/// What was read up to a moment.
pub(super) struct Begun {
    pub source: Source,
    pub ledger: Ledger,
    pub slos: Vec<Arc<Slo>>,
    pub notes: BTreeMap<String, Vec<String>>,
}

/// Reads the windows that end at `at_s`, and evaluates them: what came out, and the counts behind it.
pub(super) async fn evaluate_at(
    settings: &Settings,
    client: Client,
    model: Model,
    at_s: i64,
) -> Result<(Snapshot, Ledger), (Exit, String)> {
    let Begun { source, ledger, slos, notes } = read_to(settings, client, model, at_s, 0, None).await?;
    let filling = BTreeSet::new();
    let unseen = |sli| source.health_unseen(sli, at_s);
    let folded = |sli: usize, labels: &Labels| source.is_folded(sli, labels);
    // What was wanted of workloads at that moment is not looked up.
    let (seen, scaled_to_zero) = (source.health(at_s), BTreeSet::new());
    let health = Health { seen, unseen: &unseen, folded: &folded, filling: &filling, scaled_to_zero: &scaled_to_zero };
    let mut book = AlertMachine::new();
    let notes: Vec<Arc<[String]>> =
        slos.iter().map(|slo| notes.get(&slo.id).map_or_else(Arc::default, |notes| notes.as_slice().into())).collect();
    let snapshot = evaluate(&slos, &notes, &ledger, &health, at_s, &[], &mut book).0;
    Ok((snapshot, ledger))
}

/// Reads the windows that end at `at_s`, `longest_s` at least: what goes on can be read on from there. What there is to read
/// is looked for at `seen_s`, where that is another moment.
pub(super) async fn read_to(
    settings: &Settings,
    client: Client,
    model: Model,
    at_s: i64,
    longest_s: i64,
    seen_s: Option<i64>,
) -> Result<Begun, (Exit, String)> {
    let url = settings.prometheus.url.clone().unwrap_or_default();
    let unanswered = |fault: &dyn std::fmt::Display| (Exit::NoData, format!("{url}: {fault}"));
    let mut known = Survey::default();
    let slos: Vec<Arc<Slo>> = model.slos.iter().map(|spec| Arc::clone(&spec.slo)).collect();
    let options = wiring::source(settings, None);
    let surveyed = survey(&client, &model, true, seen_s.unwrap_or(at_s), &options, far_off()).await;
    if let (true, Some((_, fault))) = (surveyed.known.is_empty(), surveyed.faults.first()) {
        return Err(unanswered(fault));
    }
    known.learn(surveyed.known);
    let plan = Arc::new(Plan::surveyed(&model, &known).0);
    let mut source = Source::new(client.clone(), Arc::clone(&plan), options.clone(), None);
    let mut ledger = Ledger::new(options.resolution_s);
    let recent_s = backfill::recent_from(at_s);
    let (way, poll) = backfill::recent(&mut source, recent_s, at_s).await;
    if let (true, Some((_, fault))) = (poll.series.is_empty(), poll.faults.first()) {
        return Err(unanswered(fault));
    }
    // One without news may be of no series of the SLO, such as the gauge of those who wait in a queue.
    for harvest in poll.series.iter().filter(|harvest| !harvest.is_empty()) {
        harvest.apply_to(ledger.series_mut(&slos[harvest.sli], &harvest.labels));
    }
    let longest_s = slos.iter().map(|slo| slo.longest_s()).fold(longest_s, i64::max);
    let (to_s, span_s) = (recent_s, longest_s + 3600);
    let mut reach = Reach::default();
    let mut notes: Vec<(String, String)> = Vec::new();
    for part in parts(&model, &source.extents(at_s), way, span_s, Queried::new(options.queried_samples_max)) {
        let (plan, slos) = (Arc::new(Plan::surveyed(&part.model, &known).0), part.model.slos.iter());
        let slos: Vec<Arc<Slo>> = slos.map(|spec| Arc::clone(&spec.slo)).collect();
        let show = progress();
        let history = Backfill {
            client: client.clone(),
            fanout: source.fanout().moved(source.plan(), &plan),
            plan,
            slos: slos.clone(),
            options: options.clone(),
            starts: source.starts(),
            jobs: source.jobs().clone(),
            way: part.way,
            otherwise: part.otherwise,
            extent: part.extent,
            progress: Box::new(move |done| show(done)),
        };
        let mut older = history.run(to_s - span_s, to_s).await.map_err(|fault| unanswered(&fault))?;
        let unread = reach.note(&slos, &older, to_s);
        notes.extend(unread.into_iter().map(|(id, fault)| (id, format!("history could not be read: {fault}"))));
        source.remember(std::mem::take(&mut older.remembered));
        join(&mut ledger, older, &slos, to_s, &Kept::new());
    }
    notes.extend(reach.notes().map(|(id, note)| (id.to_owned(), note.to_owned())));
    let mut of_slos = source.plan().notes.clone();
    notes.into_iter().for_each(|(id, note)| of_slos.entry(id).or_default().push(note));
    let mut notes = of_slos;
    source.notes().for_each(|(sli, note)| notes.entry(slos[sli].id.clone()).or_default().push(note));
    Ok(Begun { source, ledger, slos, notes })
}

/// SLOs whose history is read together.
struct HistoryPart {
    model: Model,
    way: Way,
    otherwise: Way,
    extent: Extent,
}

/// A model by what is read together of it; `extents` stand in its order.
fn parts(model: &Model, extents: &[Extent], way: Way, span_s: i64, mut queried: Queried) -> Vec<HistoryPart> {
    let mut left: Vec<(&SloSpec, Extent)> = model.slos.iter().zip(extents.iter().copied()).collect();
    let mut parts = Vec::new();
    while !left.is_empty() {
        let extents: Vec<Extent> = left.iter().map(|(_, extent)| *extent).collect();
        let (places, way) = together(way, &extents, span_s, queried);
        let extents: Vec<Extent> = places.iter().map(|&place| extents[place]).collect();
        let extent = Extent::sum(extents.iter().copied());
        let otherwise = match way == Way::RemoteRead && queried.lets_all(&extents, span_s) {
            true => Way::Queries,
            false => Way::Ranges,
        };
        if Way::Queries == way || Way::Queries == otherwise {
            extents.iter().for_each(|extent| queried.spend(extent.queried(span_s)));
        }
        let slos = places.iter().map(|&place| left[place].0.clone()).collect();
        parts.push(HistoryPart { model: Model { slos, services: Vec::new() }, way, otherwise, extent });
        let rest = left.into_iter().enumerate().filter(|(place, _)| places.binary_search(place).is_err());
        left = rest.map(|(_, one)| one).collect();
    }
    parts
}

fn series(snapshot: &Snapshot) -> impl Iterator<Item = &SeriesStatus> {
    snapshot.slos.iter().flat_map(|slo| slo.series.iter())
}

/// Burning beats blind: whoever asks has to act on it.
fn verdict(snapshot: &Snapshot) -> Exit {
    let burns = |s: &SeriesStatus| matches!(s.state, SloState::FastBurn | SloState::SlowBurn | SloState::Exhausted);
    if series(snapshot).any(burns) {
        Exit::Findings
    } else if series(snapshot).any(|status| status.state == SloState::Unknown || status.data.state == DataState::Absent)
    {
        Exit::NoData
    } else {
        Exit::Ok
    }
}

fn json(snapshot: &Snapshot) -> String {
    let views: Vec<SloView<'_>> = snapshot.slos.iter().map(SloView::of).collect();
    let mut text = serde_json::to_string_pretty(&views).expect("views have string keys only");
    text.push('\n');
    text
}

fn table(snapshot: &Snapshot) -> String {
    let mut table = Table::new([
        "slo",
        "state",
        "data",
        "window",
        "budget left",
        "error ratio",
        "events",
        "bad",
        "burn rate by window",
    ])
    .coloured(1, colour_of);
    for slo in &snapshot.slos {
        for status in slo.series.iter() {
            table.push(row(&slo.slo, status));
            for (place, budget) in status.budgets.iter().enumerate() {
                if place > 0 {
                    table.push(window_row(budget));
                }
                if let Some(all) = &budget.counting_all {
                    table.push(all_counted_row(budget, all));
                }
            }
        }
    }
    let mut text = table.fitted();
    for slo in &snapshot.slos {
        for note in slo.notes.iter() {
            text += &paragraph(&format!("{}: {note}", slo.slo.id), 0);
        }
    }
    text
}

/// How a state is coloured, by its word.
fn colour_of(state: &str) -> &'static str {
    match state {
        "ok" => "32",
        "slow_burn" => "33",
        "fast_burn" | "exhausted" => "1;31",
        _ => "35",
    }
}

/// A window beside the main one.
fn window_row(budget: &BudgetStatus) -> [String; 9] {
    let counts = counts(budget.budget_remaining, &budget.window);
    let [left, ratio, total, bad] = counts;
    [String::new(), String::new(), String::new(), budget.name.clone(), left, ratio, total, bad, String::new()]
}

/// The same window without exclusions.
fn all_counted_row(budget: &BudgetStatus, all: &CountingAll) -> [String; 9] {
    let window = WindowStatus {
        total: all.total,
        bad: all.bad,
        error_ratio: all.error_ratio,
        bad_bounds: None,
        ..budget.window
    };
    let [left, ratio, total, bad] = counts(all.budget_remaining, &window);
    let name = format!("{}, all counted", budget.name);
    [
        String::new(),
        String::new(),
        String::new(),
        name,
        left,
        ratio,
        total,
        bad,
        format!("{} excluded", exact(all.excluded_s)),
    ]
}

/// Budget left, error ratio, events and bad ones.
fn counts(left: Option<f64>, window: &WindowStatus) -> [String; 4] {
    let percent = |ratio: Option<f64>, places: usize| {
        ratio.map_or("unknown".into(), |ratio| format!("{:.places$} %", ratio * 100.0))
    };
    let bad = match window.bad_bounds {
        Some(bounds) => format!("{} ({} to {})", window.bad, bounds.least, bounds.most),
        None => window.bad.to_string(),
    };
    let total = match window.undecided {
        Some(undecided @ 1..) => format!("{} ({undecided} undecided)", window.total),
        _ => window.total.to_string(),
    };
    [percent(left, 1), percent(window.error_ratio, 4), total, bad]
}

fn row(slo: &Slo, status: &SeriesStatus) -> [String; 9] {
    let id = &slo.id;
    let [left, ratio, total, bad] = counts(status.budget_remaining, &status.window);
    let burns: Vec<String> = status
        .windows
        .iter()
        .filter_map(|window| Some(format!("{}={:.2}x", exact(window.window_s), window.burn_rate?)))
        .collect();
    [
        if status.labels.is_empty() { id.clone() } else { format!("{id}{}", status.labels) },
        Word(status.state).to_string(),
        match status.data.state {
            DataState::Fresh => "fresh".into(),
            _ => format!("{} ({})", Word(status.data.state), Word(status.data.reason)),
        },
        slo.period().label(),
        left,
        ratio,
        total,
        bad,
        burns.join(" "),
    ]
}
