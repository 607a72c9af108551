//! `slowburn backtest`: a range of the past, lived through by the daemon's own code under one policy or several.
//!
//! What is read in one stretch is booked slice by slice, and evaluated at each slice, as the daemon would have: the
//! ledger, the burn rates, the page and the alerts are its own. What it holds does not grow with the range.
//!
//! Requests that a daemon's audit log has are decided again at their moments (`decisions`).

mod beside;
mod decisions;
mod events;
mod limits;
mod lived;
mod policy;
mod report;
mod source;
mod timeline;
mod truth;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::lived::Lived;
use self::report::Report;
use self::source::Source;
use super::{Exit, ImportFlags, complain, print_out};
use crate::spec::TimeSpan;

/// Flags of `slowburn backtest`.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// Prometheus, or what speaks its query API
    #[arg(long, value_name = "URL", conflicts_with = "events")]
    prometheus_url: Option<String>,
    /// Files or directories of services (repeatable)
    #[arg(long, value_name = "PATH", required_unless_present = "events")]
    rules: Vec<PathBuf>,
    /// Events instead of a Prometheus: lines of time,total,bad
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Objective of the events, percent, where no rules are given
    #[arg(long, value_name = "PERCENT", default_value = "99.9", requires = "events")]
    objective: f64,
    /// Window of their budget, where no rules are given
    #[arg(long, value_name = "DURATION", default_value = "30d", requires = "events")]
    window: String,
    /// Which SLO of the rules the events are of, where there are several
    #[arg(long, value_name = "ID", requires = "events")]
    slo: Option<String>,
    /// True incidents: lines of start,end or start,end,slo
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What to live through it with (repeatable, four at most): rules, workbook, sloth, pyrra, files of other rules, or theirs:
    /// the alerts of Sloth's or Pyrra's own rules for these SLOs
    #[arg(long, value_name = "POLICY", default_value = "rules")]
    policy: Vec<String>,
    /// Begin of the range: RFC 3339 or Unix seconds [default: `--since` before its end]
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    from: Option<String>,
    /// Its length
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = super::run::duration)]
    since: TimeSpan,
    /// End of the range [default: now, or the end of the events]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How much is read of Prometheus at once; as short as a slice it is polled as the daemon polls
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::run::duration)]
    stretch: TimeSpan,
    /// Fail where a policy that is no peer would have paged more often
    #[arg(long, value_name = "N")]
    max_pages: Option<usize>,
    /// Fail where none of its pages of LABELS was out at TIME: slo=ID,label=value@TIME (repeatable)
    #[arg(long, value_name = "LABELS@TIME")]
    must_page: Vec<String>,
    /// A daemon's audit log: which of its decisions would have been others
    #[arg(long, value_name = "DIR")]
    decisions: Option<PathBuf>,
    #[command(flatten)]
    import: ImportFlags,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: BacktestForm,
    /// Daemon settings: authentication, headers, timeouts, resolution
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BacktestForm {
    /// For people
    Text,
    /// For machines
    Json,
    /// For a pull request
    Markdown,
    /// A timeline, as a picture
    Svg,
}

/// Lives through the range and prints.
pub async fn backtest(args: BacktestArgs) -> Exit {
    match report_of(&args).await {
        Ok(report) => {
            print_out(&match args.format {
                BacktestForm::Text => report.text() + &beside::text(&report.lived),
                BacktestForm::Json => report.json(),
                BacktestForm::Markdown => report.markdown(beside::markdown(&report.lived)),
                BacktestForm::Svg => timeline::svg(&report),
            });
            for broken in &report.broken {
                complain(broken);
            }
            if report.broken.is_empty() { Exit::Ok } else { Exit::Findings }
        }
        Err((exit, text)) => {
            complain(text.trim_end());
            exit
        }
    }
}

async fn report_of(args: &BacktestArgs) -> Result<Report, (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    if args.policy.len() > 4 {
        return Err(usage("four policies side by side at most".into()));
    }
    let musts = args.must_page.iter().map(|text| limits::Must::parse(text)).collect::<Result<Vec<_>, _>>();
    let musts = musts.map_err(usage)?;
    let labels = args.labels.as_deref().map_or(Ok(Vec::new()), events::labels).map_err(usage)?;
    let mut source = Source::open(args).await?;
    let mut lived: Vec<Lived> = source.policies(&args.policy, &args.rules).await?.into_iter().map(Lived::new).collect();
    source.begin(&lived).await?;
    let (from_s, to_s) = source.range();
    let bar = progress((to_s - from_s).unsigned_abs());
    while let Some(done_s) = source.live(&mut lived).await? {
        bar.set_position((done_s - from_s).unsigned_abs());
    }
    bar.finish_and_clear();
    let (from_s, to_s) = source.range();
    let mut report = Report::of(lived, labels, (from_s, to_s));
    let decisions = source.decisions.take().map(decisions::Decisions::end).transpose();
    report.decisions = decisions.map_err(|text| (Exit::Findings, text))?;
    report.held_bytes = source.held_bytes;
    report.broken = limits::broken(&report, args.max_pages, &musts);
    Ok(report)
}

/// On a terminal only.
fn progress(seconds: u64) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("living through it {bar:40} {percent} %, {eta} left")
        .expect("the template is a constant that indicatif reads");
    indicatif::ProgressBar::new(seconds).with_style(style)
}
