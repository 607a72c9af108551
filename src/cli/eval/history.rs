//! `slowburn eval --history SLO`: one series over a range of time, printed; the JSON is that of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::table::Table;
use super::{Begun, EvalArgs, Exit, Format, Word, complain, open, print_out, read_to};
use crate::engine::duration::exact;
use crate::engine::history::{History, PointData, Range, history};
use crate::engine::{Labels, SeriesLedger, Slo};
use crate::gate_service::past::PastOf;
use crate::web::history::{LENGTH_DEFAULT_S, Shown, marks, moment, step_for};

/// Reads, and prints what it comes to.
pub(super) async fn show(args: &EvalArgs, slo_id: &str) -> Exit {
    match read(args, slo_id).await {
        Ok(Told { slo, labels, history }) => {
            print_out(&match args.format {
                Format::Text => table(&history),
                Format::Json => json(&slo, &labels, &history),
            });
            match history.points.iter().any(|point| point.data != PointData::Unknown) {
                true => Exit::Ok,
                false => Exit::NoData,
            }
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

struct Told {
    slo: Arc<Slo>,
    labels: Labels,
    history: History,
}

async fn read(args: &EvalArgs, slo_id: &str) -> Result<Told, (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    let mut opened = open(&args.source, args.at.as_deref())?;
    let at_s = opened.at_s;
    let Some(slo) = opened.model.slo(slo_id).map(|spec| Arc::clone(&spec.slo)) else {
        let ids: Vec<&str> = opened.model.slos.iter().map(|spec| spec.slo.id.as_str()).take(20).collect();
        return Err(usage(format!("there is no SLO {slo_id:?} in these rules\n  = there are: {}", ids.join(", "))));
    };
    let from = match args.from.as_deref() {
        None => at_s - LENGTH_DEFAULT_S,
        Some(text) => moment(text).ok_or_else(|| {
            usage(format!("--from {text:?} is no moment\n  = write: 2026-11-01T12:00:00Z or Unix seconds"))
        })?,
    };
    let labels: Labels = match args.series.as_deref() {
        None => Labels::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            usage(format!("--series is no object of label names and values: {error}\n  = write: {{\"model\": \"m\"}}"))
        })?,
    };
    let slice_s = slo.resolution_s.unwrap_or(opened.settings.resolution.seconds());
    let step_s = args.step.map_or_else(|| step_for(at_s - from), |step| step.seconds());
    let range = Range::new(from, at_s, step_s, slice_s).map_err(|fault| usage(fault.to_string()))?;
    // Only what is asked for is read.
    opened.model.slos.retain(|spec| spec.slo.id == slo_id);
    let reach_s = at_s - from + slo.longest_s();
    let Begun { ledger, .. } = read_to(&opened.settings, opened.client, opened.model, at_s, reach_s, None).await?;
    let known: Vec<&Labels> = ledger.of(slo_id).map(|(labels, _)| labels).collect();
    // One without a rollup has what it has.
    let labels = match known[..] {
        [only] if args.series.is_none() => only.clone(),
        _ => labels,
    };
    let nothing = ledger.empty(&slo);
    let series: &SeriesLedger = match ledger.get(slo_id, &labels) {
        Some(series) => series,
        None if known.is_empty() => &nothing,
        None => {
            let known: Vec<String> = known.iter().take(20).map(|labels| labels.to_string()).collect();
            return Err(usage(format!("there is no series {labels} of {slo_id}\n  = there are: {}", known.join(", "))));
        }
    };
    let history = history(&slo, series, &labels, range, false);
    Ok(Told { slo, labels, history })
}

fn json(slo: &Slo, labels: &Labels, history: &History) -> String {
    // What changed and what was decided is known to a daemon.
    let marks = marks(slo, labels, &[], &PastOf::default(), (history.from, history.to));
    let shown = Shown::of(slo, labels, history, &marks);
    let mut text = serde_json::to_string_pretty(&shown).expect("labels have string keys, and numbers are finite");
    text.push('\n');
    text
}

fn table(history: &History) -> String {
    let mut table =
        Table::new(["until", "data", "events", "bad", "error ratio", "budget left", "burn rate by window (limits)"]);
    let number = |count: Option<u64>| count.map_or("unknown".into(), |count| count.to_string());
    let percent =
        |ratio: Option<f64>, places: usize| ratio.map_or("-".into(), |it| format!("{:.places$} %", it * 100.0));
    let limits: BTreeMap<i64, String> = history
        .windows
        .iter()
        .map(|window| {
            let limits: Vec<String> = window.limits.iter().map(|limit| format!("{}x", limit.factor)).collect();
            (window.window_s, limits.join("/"))
        })
        .collect();
    for point in &history.points {
        let burns = history.windows.iter().zip(&point.burn).filter_map(|(window, burn)| {
            Some(format!("{}={:.2}x ({})", exact(window.window_s), (*burn)?, limits[&window.window_s]))
        });
        table.push([
            jiff::Timestamp::from_second(point.to).map(|at| at.to_string()).unwrap_or_default(),
            Word(point.data).to_string(),
            number(point.total),
            number(point.bad),
            percent(point.error_ratio, 4),
            percent(point.budget_remaining, 1),
            burns.collect::<Vec<_>>().join(" "),
        ]);
    }
    table.fitted()
}
