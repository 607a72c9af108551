//! `slowburn explain SLO`: what a count is made of, printed.

use std::fmt::Write as _;

use clap::Args;

use super::eval::{Opened, open};
use super::{Exit, Format, SourceArgs, complain, print_out, run, wiring};
use crate::engine::duration::exact;
use crate::inspect::account::{self, Account, Asked, OfSeries, Slices};
use crate::query::increment::{Reason, Traced};
use crate::spec::TimeSpan;

/// The longest window that is explained, seconds.
const WINDOW_MAX_S: i64 = 31 * 86_400;

/// Flags of `slowburn explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Id of the SLO: `<service>-<slo>`
    #[arg(value_name = "SLO")]
    slo: String,
    #[command(flatten)]
    source: SourceArgs,
    /// The end of the window: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Its length, up to 31d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = run::duration)]
    window: TimeSpan,
    /// In text, list every sample, not only those that are no plain rise (JSON lists every one)
    #[arg(long)]
    samples: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Explains and prints.
pub async fn explain(args: ExplainArgs) -> Exit {
    match explained(&args).await {
        Ok(account) => {
            print_out(&match args.format {
                Format::Text => text(&account, args.samples),
                Format::Json => json(&account),
            });
            verdict(&account)
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

async fn explained(args: &ExplainArgs) -> Result<Account, (Exit, String)> {
    let Opened { settings, client, model, at_s } = open(&args.source, args.at.as_deref())?;
    if model.slo(&args.slo).is_none() {
        let ids: Vec<&str> = model.slos.iter().map(|spec| spec.slo.id.as_str()).take(20).collect();
        let text = format!("there is no SLO {:?} in these rules\n  = there are: {}", args.slo, ids.join(", "));
        return Err((Exit::Usage, text));
    }
    let resolution_s = settings.resolution.seconds();
    let window_s = args.window.seconds().div_euclid(resolution_s) * resolution_s;
    if !(resolution_s..=WINDOW_MAX_S).contains(&window_s) {
        let text = format!("--window {} is not between {resolution_s}s and 31d", args.window);
        return Err((Exit::Usage, text));
    }
    let options = wiring::source(&settings, None);
    let asked = Asked { slo: &args.slo, at_s, window_s, changes_max: usize::MAX, series_max: usize::MAX };
    let unanswered = |fault| {
        let url = settings.prometheus.url.as_deref().unwrap_or_default();
        (Exit::NoData, format!("{url}: {fault}"))
    };
    account::account(&client, &model, &options, &asked).await.map_err(unanswered)
}

fn verdict(account: &Account) -> Exit {
    match () {
        () if account.slices.known + account.slices.partial == 0 => Exit::NoData,
        () if !account.differing.is_empty() => Exit::Findings,
        () => Exit::Ok,
    }
}

fn json(account: &Account) -> String {
    let mut text = serde_json::to_string_pretty(account).expect("labels are strings and events are finite");
    text.push('\n');
    text
}

fn text(account: &Account, samples: bool) -> String {
    let Account { counts, summed, slices, read, .. } = account;
    let mut out = String::new();
    let mut line = |text: String| {
        out += &text;
        out.push('\n');
    };
    line(format!("{}  {} to {} ({})", account.slo, time(account.from), time(account.at), exact(account.window_s)));
    line(format!("counted   {} events, {} bad", counts.total, counts.bad));
    line(format!("summed    {} events, {} bad, of the samples below", number(summed.total), number(summed.bad)));
    let Slices { known, partial, unknown } = slices;
    line(format!("slices    {known} known, {partial} in part, {unknown} unknown, of {}s", account.resolution_s));
    line(format!("read      from {} by {}, {} samples", time(read.from), read.by, read.samples));
    read.selectors.iter().for_each(|selector| line(format!("          {selector}")));
    account.notes.iter().for_each(|note| line(format!("note      {note}")));
    line(String::new());
    for series in &account.series {
        line(heading(series));
        let listed = |change: &&Traced| samples || change.why != Reason::Rose;
        series.changes.iter().filter(listed).for_each(|change| line(row(change)));
    }
    if account.changes_left_out > 0 {
        line(format!("{} more changes are not listed", account.changes_left_out));
    }
    line(String::new());
    for of in &account.reasons {
        let events = number(of.events);
        line(format!("{:20} {:>8} changes, {events:>12} events  {}", of.why.as_str(), of.changes, of.says));
    }
    for of in &account.differing {
        let (counts, summed) = (of.counts, of.summed);
        line(format!(
            "slice {} differs ({}): counted {} and {} bad, summed {} and {} bad",
            time(of.at),
            of.why,
            counts.total,
            counts.bad,
            number(summed.total),
            number(summed.bad)
        ));
    }
    if account.differing_left_out > 0 {
        line(format!("{} more slices differ", account.differing_left_out));
    }
    out
}

fn heading(series: &OfSeries) -> String {
    let labels = series.labels.iter().filter(|(name, _)| *name != "__name__");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    let metric = series.labels.get("__name__").map_or("", String::as_str);
    let good = series.good.map(|good| format!(", {} of them good", number(good))).unwrap_or_default();
    let value = |change: Option<&Traced>| change.and_then(|change| change.value).map_or("none".into(), number);
    format!(
        "{} {metric}{{{}}}\n    {} samples, {} to {}: {} events{good}",
        series.counts_as.join("+"),
        labels.join(","),
        series.samples,
        value(series.changes.first()),
        value(series.changes.last()),
        number(series.events),
    )
}

fn row(change: &Traced) -> String {
    let value = change.value.map_or("no number".into(), number);
    let since = change.from_ms.map(|from_ms| format!(" since {}", millis(from_ms))).unwrap_or_default();
    let mut row = format!("    {}  {value:>12}  +{}", millis(change.at_ms), number(change.events));
    if let Some(good) = change.good {
        write!(row, " ({} good)", number(good)).expect("a String grows");
    }
    row + &format!("  {}{since}", change.why.as_str())
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn time(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string())
}

fn millis(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
