//! `slowburn compare`: what Sloth or Pyrra recorded beside what the counts say, and why the two differ.
//!
//! For those who run both for a while before they switch. Nothing is guessed: a cause is named with the numbers it was
//! worked out from, and what they do not explain is called unexplained.

mod report;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, stream};

use super::{Exit, Format, SourceArgs, complain, eval, print_out};
use crate::engine::status::DataReason;
use crate::engine::whole::{child, whole};
use crate::engine::{Labels, Ledger, SloSnapshot, Whole};
use crate::inspect::compare::cause::{Cause, Explained, Share};
use crate::inspect::compare::evidence::Case;
use crate::inspect::compare::recorded::{self, Foreign, Recorded};
use crate::prometheus::{Client, Fault};
use crate::query::fanout::OTHER;
use crate::spec::SloSpec;
use crate::web::view::Word;
use report::{Figure, Row, Verdict};

/// SLOs looked at at once.
const CONCURRENCY: usize = 3;
/// The deadline of one query.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Flags of `slowburn compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The moment to compare at: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Error ratios that differ by no more than this agree, in percent of the larger
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = tolerance)]
    tolerance: f64,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Percent as a part of one.
fn tolerance(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage from 0 to 100, such as 1".to_owned()),
    }
}

/// Compares and prints.
pub async fn compare(args: CompareArgs) -> Exit {
    match compared(&args).await {
        Ok((at_s, rows)) => {
            print_out(&match args.format {
                Format::Text => report::text(&rows),
                Format::Json => report::json(at_s, args.tolerance, &rows),
            });
            exit(&rows)
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

fn exit(rows: &[Row]) -> Exit {
    let any = |verdict| rows.iter().any(|row| row.verdict == verdict);
    if any(Verdict::Differ) {
        Exit::Findings
    } else if any(Verdict::NoData) {
        Exit::NoData
    } else {
        Exit::Ok
    }
}

async fn compared(args: &CompareArgs) -> Result<(i64, Vec<Row>), (Exit, String)> {
    let eval::Opened { settings, client, mut model, at_s } = eval::open(&args.source, args.at.as_deref())?;
    let all = model.slos.len();
    model.slos.retain(|spec| Foreign::of(spec).is_some());
    if model.slos.is_empty() {
        let text = "none of these SLOs has a name in Sloth or Pyrra: give their files, or write `origin:` as `slowburn \
                    import` does";
        return Err((Exit::Usage, text.to_owned()));
    }
    if all > model.slos.len() {
        complain(&format!("{} of {all} SLOs have no name in Sloth or Pyrra, and are left out", all - model.slos.len()));
    }
    let specs = model.slos.clone();
    let (snapshot, ledger) = eval::evaluate_at(&settings, client.clone(), model, at_s).await?;
    let client = client.with_timeout(TIMEOUT);
    let bar = progress(specs.len());
    let pairs: Vec<_> = specs.iter().zip(&snapshot.slos).collect();
    let rows = stream::iter(pairs)
        .map(|(spec, seen)| {
            let (client, ledger, bar) = (&client, &ledger, &bar);
            async move {
                let rows = rows(client, spec, seen, ledger, at_s, args.tolerance).await;
                bar.inc(1);
                rows
            }
        })
        .buffered(CONCURRENCY)
        .collect::<Vec<Result<Vec<Row>, Fault>>>()
        .await;
    bar.finish_and_clear();
    let url = settings.prometheus.url.unwrap_or_default();
    let rows = rows.into_iter().collect::<Result<Vec<Vec<Row>>, Fault>>();
    Ok((at_s, rows.map_err(|fault| (Exit::NoData, format!("{url}: {fault}")))?.into_iter().flatten().collect()))
}

/// On a terminal only.
fn progress(slos: usize) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("comparing {bar:40} {pos}/{len} SLOs")
        .expect("the template is a constant that indicatif reads");
    indicatif::ProgressBar::new(slos as u64).with_style(style)
}

/// Most series of one SLO that are compared.
const CHILDREN_MAX: usize = 50;

/// An SLO, or each of its series where it is grouped over there.
async fn rows(
    client: &Client,
    spec: &SloSpec,
    seen: &SloSnapshot,
    ledger: &Ledger,
    at_s: i64,
    tolerance: f64,
) -> Result<Vec<Row>, Fault> {
    let foreign = Foreign::of(spec).expect("those without a name were left out");
    let found = recorded::rows(client, &foreign, at_s).await?;
    let look = Look { client, seen, ledger, at_s, tolerance, found: &found };
    let has_row = |labels: &&Labels| !labels.is_empty() && labels.iter().all(|(_, value)| value != OTHER);
    let children: Vec<&Labels> = seen.series.iter().map(|series| &series.labels).filter(has_row).collect();
    if children.is_empty() || !recorded::is_grouped(&found, &spec.slo.by) {
        return Ok(vec![look.row(spec, &Labels::new(), foreign).await?]);
    }
    let mut rows = Vec::new();
    for labels in children.iter().take(CHILDREN_MAX) {
        let own: Vec<(String, String)> =
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let foreign = Foreign { labels: own.clone(), ..foreign.clone() };
        rows.push(look.row(&spec.narrowed(&own), labels, foreign).await?);
    }
    if let (Some(row), true) = (rows.last_mut(), children.len() > CHILDREN_MAX) {
        row.remarks.push(format!("{} more series of this SLO are not compared", children.len() - CHILDREN_MAX));
    }
    Ok(rows)
}

/// What one SLO is looked at with.
struct Look<'a> {
    client: &'a Client,
    seen: &'a SloSnapshot,
    ledger: &'a Ledger,
    at_s: i64,
    tolerance: f64,
    /// Everything that is recorded under its name.
    found: &'a recorded::Rows,
}

impl Look<'_> {
    async fn row(&self, spec: &SloSpec, labels: &Labels, foreign: Foreign) -> Result<Row, Fault> {
        let Look { client, seen, ledger, at_s, tolerance, found } = *self;
        let recorded = recorded::read(spec, &foreign, found);
        let (own_s, theirs_s) = (spec.slo.window_s, recorded.other_window_s.unwrap_or(spec.slo.window_s));
        let windows: Vec<i64> = recorded.shorter.iter().map(|(window_s, _)| *window_s).chain([theirs_s]).collect();
        let Whole { windows, period, remaining, .. } = match labels.is_empty() {
            true => whole(&spec.slo, ledger, &seen.series, &windows, at_s),
            false => child(&spec.slo, ledger, labels, &seen.series, &windows, at_s),
        };
        let exact: Vec<Option<f64>> = windows.iter().map(|window| window.error_ratio()).collect();

        let ratio = Figure::ratio(own_s, recorded.ratio, period.error_ratio());
        let left = Figure::left(own_s, recorded.left, remaining);
        let verdict = report::verdict(&ratio, &left, tolerance);
        let mut figures = vec![ratio, left];
        let shorter = recorded.shorter.iter().zip(&exact);
        figures.extend(shorter.map(|((window_s, theirs), exact)| Figure::ratio(*window_s, Some(*theirs), *exact)));

        let mut remarks = recorded.remarks.clone();
        remarks.extend(seen.notes.iter().cloned());
        let mut explained = Explained::default();
        if let (Some(theirs), Some(exact_own)) = (recorded.ratio, period.error_ratio()) {
            // A window longer than any of the SLO's was not read.
            let over_theirs = exact.last().copied().flatten().filter(|_| theirs_s <= spec.slo.longest_s().max(own_s));
            if over_theirs.is_none() {
                let windows = [theirs_s, own_s].map(crate::telemetry::compat::window_name);
                remarks.push(format!("theirs looks at {}, and only {} were read here", windows[0], windows[1]));
            }
            let case = Case {
                client,
                spec,
                foreign: &foreign,
                recorded: &recorded,
                theirs,
                exact: (over_theirs, exact_own),
                window_s: theirs_s,
                at_s,
            };
            let (found, more) = case.explain().await;
            explained = found;
            remarks.extend(more);
            explained.causes.extend(other_objective(spec, &recorded));
        } else {
            remarks.push(no_data(&foreign, &recorded, period.error_ratio(), seen));
        }
        if seen.series.iter().flat_map(|series| &series.budgets).any(|budget| budget.counting_all.is_some()) {
            remarks.push("exclusions are counted here as everything else: the other tool knows none".into());
        }
        let nowhere = found.is_empty();
        let id = if labels.is_empty() { spec.slo.id.clone() } else { format!("{}{labels}", spec.slo.id) };
        Ok(Row { id, foreign, verdict, figures, explained, nowhere, remarks })
    }
}

/// Their budget may be that of another promise.
fn other_objective(spec: &SloSpec, recorded: &Recorded) -> Option<Share> {
    let theirs = recorded.objective?;
    let ours = spec.slo.objective / 100.0;
    let differs = (theirs - ours).abs() > 1e-9;
    let evidence = format!(
        "theirs promises {} %, ours {} %: the same ratio is another part of the budget",
        theirs * 100.0,
        spec.slo.objective
    );
    differs.then_some(Share { cause: Cause::OtherObjective, amount: None, share: None, evidence })
}

/// Which side is not there, and why.
fn no_data(foreign: &Foreign, recorded: &Recorded, exact: Option<f64>, seen: &SloSnapshot) -> String {
    let theirs = match foreign.labels.is_empty() {
        true => {
            format!(
                "{} has recorded nothing under the name {} in the last 5 minutes",
                foreign.tool.as_str(),
                foreign.name
            )
        }
        false => format!("{} has recorded no series of {} with these labels", foreign.tool.as_str(), foreign.name),
    };
    let reasons = seen.series.iter().map(|series| series.data.reason);
    let reason = reasons.into_iter().find(|reason| *reason != DataReason::None);
    let ours = reason.map_or_else(
        || "no event of this SLO was seen in its window".to_owned(),
        |reason| format!("no event of this SLO was seen in its window ({})", Word(reason)),
    );
    match (recorded.ratio, exact) {
        (None, None) => format!("{theirs}, and {ours}"),
        (None, Some(_)) => theirs,
        _ => ours,
    }
}
