//! Commands: what was typed, what it means, and with which code the process ends.
//!
//! stdout is data, stderr is log and progress. A pipe that closes early is no error.

mod approve;
mod ask;
mod audit;
mod backtest;
mod check;
mod compare;
mod demo;
#[cfg(test)]
mod documents;
mod eval;
mod explain;
mod export;
mod halt;
mod import;
mod incidents;
mod init;
mod presets;
mod remote;
mod replay;
mod report;
mod run;
mod schema;
mod table;
mod watch;
mod wiring;
mod witness;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Exact burn rates of error budgets from Prometheus, and severity-mapped alerts.
#[derive(Debug, Parser)]
#[command(name = "slowburn", version, max_term_width = 110, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole product on simulated services: an incident, the page, the alert
    #[command(after_help = "Examples:\n  slowburn demo\n  slowburn demo --speed 120 --listen 127.0.0.1:8080")]
    Demo(demo::DemoArgs),
    /// Run the daemon
    #[command(after_help = "Examples:\n  \
        slowburn run --prometheus-url http://localhost:9090 --rules rules/services\n  \
        slowburn run --prometheus-url http://prometheus:9090 --rules /etc/slowburn/rules \\\n    \
        --alertmanager-url http://am-0:9093 --alertmanager-url http://am-1:9093 \\\n    \
        --data-dir /var/lib/slowburn\n\n\
        SIGHUP or POST /-/reload reads the rules again, --watch does so when they change; files with errors leave the old\n\
        ones in force.\n\
        Exit codes: 0 stopped, 1 could not start, 64 bad configuration")]
    Run(Box<run::RunArgs>),
    /// Check rule files, and print what every threshold means
    #[command(after_help = "Examples:\n  slowburn check rules/services rules/policies\n  \
        slowburn check --format sarif rules > slowburn.sarif\n  \
        slowburn check rules/services --prometheus-url http://localhost:9090\n  \
        slowburn check rules/services --prometheus-url http://localhost:9090 --days 7 --format json\n\n\
        With --prometheus-url it also says what each SLO finds there, how it fits, and how the last 30 days would have\n\
        looked: docs/check.md.\n\n\
        Exit codes: 0 nothing to correct, 1 errors, missing series or buckets (or warnings with --strict),\n\
        2 wrong usage, or Prometheus cannot be asked")]
    Check(check::CheckArgs),
    /// Write first service files from what a Prometheus holds
    #[command(after_help = "Examples:\n  slowburn init --prometheus-url http://localhost:9090\n  \
        slowburn init --prometheus-url http://localhost:9090 --out slo --owner team-llm\n  \
        slowburn init --prometheus-url http://localhost:9090 --preset vllm --preset istio --out slo\n\n\
        It looks for the metrics of known stacks (slowburn presets), takes objectives and bounds from what the last day\n\
        kept, and overwrites no file.\n\n\
        Exit codes: 0 written or printed, 1 nothing found, 2 wrong usage, or Prometheus cannot be asked")]
    Init(init::InitArgs),
    /// Evaluate every SLO once, now or at a past moment
    #[command(
        after_help = "Examples:\n  slowburn eval --prometheus-url http://localhost:9090 --rules rules/services\n  \
        slowburn eval --prometheus-url http://localhost:9090 --rules rules/services \\\n    \
        --at 2026-11-01T12:00:00Z --format json\n  \
        slowburn eval --prometheus-url http://localhost:9090 --rules rules/services \\\n    \
        --history checkout-availability --from 2026-11-01T00:00:00Z --at 2026-11-01T12:00:00Z --step 5m\n\n\
        With --history it exits with 0, or 4 where nothing is known of the range.\n\
        Exit codes: 0 nothing burns, 1 something burns or is exhausted, 2 wrong usage, 4 an SLO has no data,\n\
        64 bad rules or settings"
    )]
    Eval(eval::EvalArgs),
    /// List what a count is made of, sample by sample (not why a change is allowed: that is `slowburn ask --explain`)
    #[command(
        after_help = "Examples:\n  slowburn explain checkout-availability --prometheus-url http://localhost:9090 --rules rules/services\n  \
        slowburn explain checkout-availability --prometheus-url http://localhost:9090 --rules rules/services \\\n    \
        --at 2026-11-01T12:00:00Z --window 1h --samples\n  \
        slowburn explain checkout-availability --prometheus-url http://localhost:9090 --rules rules/services \\\n    \
        --format json | jq '[.series[].changes[] | select(.why != \"rose\")]'\n\n\
        It reads the same samples by the same rules as `run` and `eval`, and says of each raw series what it counted and why.\n\
        What a change of something needs to be allowed says `slowburn ask --explain`. Rules: docs/numbers.md.\n\n\
        Exit codes: 0 the samples sum up to what was counted, 1 some slices differ (they are named), 2 wrong usage,\n\
        4 Prometheus cannot be asked, or there are no samples; 64 bad rules or settings"
    )]
    Explain(explain::ExplainArgs),
    /// List incidents of a running daemon, show one with its timeline, or say what it came from
    #[command(after_help = "Examples:\n  slowburn incidents --service checkout\n  \
        slowburn incidents checkout-20261101T0207Z\n  \
        slowburn incidents checkout-20261101T0207Z --mitigation 'revert config and flush cache' --helped true\n  \
        slowburn incidents checkout-20261101T0207Z --format markdown > postmortem.md\n  \
        slowburn incidents --format jsonl > incidents.jsonl\n\n\
        What people say needs a token of theirs (SLOWBURN_TOKEN or --token-file) and goes to the audit log: docs/incidents.md.\n\n\
        Exit codes: 0 printed, 2 wrong usage, no such incident, or not allowed, 5 the daemon cannot be reached")]
    Incidents(incidents::IncidentsArgs),
    /// Report on a month, a quarter or a year: objectives met, budgets in events and minutes, incidents
    #[command(after_help = "Examples:\n  slowburn report --period 2026-10\n  \
        slowburn report --period 2026-Q4 --time-zone Europe/Paris --format csv > q4.csv\n\n\
        It asks a running daemon; what its ledger no longer holds is unknown, and how much is known stands in each row.\n\n\
        Exit codes: 0 every objective that is known was met, 1 one was missed, 2 wrong usage, 5 the daemon cannot be reached")]
    Report(report::ReportArgs),
    /// Compare what Sloth or Pyrra recorded with exact counts, and say why they differ
    #[command(after_help = "Examples:\n  \
        slowburn compare --prometheus-url http://localhost:9090 --rules sloth/ --owner team-pay\n  \
        slowburn compare --prometheus-url http://localhost:9090 --rules rules/services --tolerance 5 \\\n    \
        --at 2026-11-01T12:00:00Z --format json | jq '.slos[] | select(.verdict == \"differ\")'\n\n\
        What is compared, and how causes are measured: docs/compare.md.\n\n\
        Exit codes: 0 they agree within the tolerance, 1 some differ, 2 wrong usage, or Prometheus cannot be asked,\n\
        4 none differs, but some have no data on one side, 64 bad rules or settings")]
    Compare(compare::CompareArgs),
    /// List the stacks whose metrics are known, or explain one of them
    #[command(after_help = "Examples:\n  slowburn presets\n  slowburn presets vllm\n  \
        slowburn presets --format json | jq -r '.[].name'\n  slowburn presets our-gateway --presets rules/presets\n\n\
        Exit codes: 0 shown, 2 no such preset, 64 a preset of your own has errors")]
    Presets(presets::PresetsArgs),
    /// Print the JSON schema of a file, so that editors complete and check it
    #[command(after_help = "Examples:\n  slowburn schema service > service.schema.json\n  \
        slowburn schema policy --format markdown\n\n\
        An editor uses it where the first line of a file is\n  # yaml-language-server: $schema=service.schema.json\n\n\
        Exit codes: 0 printed, 2 wrong usage")]
    Schema(schema::SchemaArgs),
    /// Turn SLO files of Sloth, Pyrra, OpenSLO or slo-generator into service.yaml files
    #[command(after_help = "Examples:\n  slowburn import slos/sloth.yaml\n  \
        slowburn import slos/ --owner team-checkout --out rules/services\n  \
        slowburn import slos/ alert-windows.yaml --slo-period 28d --format json\n  \
        helm template charts/slos | slowburn import - --keep-going --out rules/services\n\n\
        The same files can be given to check, run and eval as they are. What each key becomes, and what is refused:\n\
        docs/import.md.\n\n\
        Exit codes: 0 imported, 1 something was refused (and nothing written, but for --keep-going), 2 wrong usage")]
    Import(import::ImportArgs),
    /// Ask whether a change may be made now
    #[command(after_help = "Examples:\n  \
        slowburn ask --service checkout --action deploy --resource deployment/checkout-service \\\n    \
        --from-version v42 --to-version v43 --token-file pipeline.token\n  \
        slowburn ask --service checkout --action rollback --resource deployment/checkout-service \\\n    \
        --from-version v42 --to-version v41 --reason slo_burn_rate_exceeded --wait 10m --redeem\n  \
        slowburn ask --explain --service checkout --action scale --resource deployment/checkout-service --replicas 8\n\n\
        What the counts behind a decision are made of says `slowburn explain SLO`.\n\n\
        Exit codes: 0 allow, 2 deny (or wrong usage), 3 needs approval, 4 no usable data, 5 not reachable.\n\
        Only 0 means yes")]
    Ask(Box<ask::AskArgs>),
    /// Redeem a permit right before the act: every check runs again
    #[command(
        after_help = "Example:\n  slowburn redeem prm_01JD && kubectl rollout undo deployment/checkout-service\n\n\
        Exit codes: as of `slowburn ask`"
    )]
    Redeem(ask::RedeemArgs),
    /// Give a permit back that will not be used
    #[command(
        after_help = "Example:\n  slowburn release prm_01JD\n\nExit codes: 0 released, 1 no such permit, or it was used; 5 the daemon does not answer"
    )]
    Release(ask::ReleaseArgs),
    /// Report that a permitted act is done, or was not done
    #[command(after_help = "Example:\n  slowburn outcome prm_01JD --note 'rolled back to v41'")]
    Outcome(ask::OutcomeArgs),
    /// Say yes or no to what waits for a person
    #[command(after_help = "Examples:\n  slowburn approve apr_01JD --token-file ada.token\n  \
        slowburn approve apr_01JD --reject --reason 'the database is the cause'\n\n\
        Exit codes: 0 done, 2 refused, 5 not reachable")]
    Approve(approve::ApproveArgs),
    /// List what waits for people
    #[command(after_help = "Examples:\n  slowburn approvals\n  slowburn approvals apr_01JD --format json")]
    Approvals(approve::ApprovalsArgs),
    /// Stop changes, for a time and with a reason
    #[command(after_help = "Examples:\n  slowburn halt --service checkout --reason 'INC-2025-042' --for 2h\n  \
        slowburn halt --actor ai-operator/orca-ops --reason 'rolled back a healthy service'\n  \
        slowburn halt --global --people --reason 'data centre move'")]
    Halt(halt::HaltArgs),
    /// Lift a halt
    #[command(after_help = "Example:\n  slowburn resume hlt_01JD --reason 'the incident is over'")]
    Resume(halt::ResumeArgs),
    /// List the halts that hold
    #[command(after_help = "Example:\n  slowburn halts --format json")]
    Halts(halt::HaltsArgs),
    /// Search the audit log, verify it, export it
    Audit(audit::AuditArgs),
    /// Witness the audit logs of other daemons: what is cut off or put back there is found by asking here
    #[command(
        after_help = "Examples:\n  slowburn audit key --data-dir /var/lib/slowburn > checkout.pub   # beside the daemon\n  \
        slowburn witness --data-dir /var/lib/slowburn-witness --log checkout.pub --listen 0.0.0.0:9596\n  \
        slowburn witness --data-dir /var/lib/slowburn-witness --forget checkout.prod.example/slowburn\n\n\
        It prints its line for the daemon's policy of witnesses: docs/audit.md.\n\n\
        Exit codes: 0 stopped, or forgotten; 1 it cannot start"
    )]
    Witness(witness::WitnessArgs),
    /// Decide history again, under another policy, and print the flips
    #[command(
        after_help = "Examples:\n  slowburn replay --data-dir /var/lib/slowburn --policy rules/policies --since 90d\n  \
        slowburn replay --dir audit-copy\n\n\
        Exit codes: 0 no flips, 1 flips (or decisions that this version decides otherwise), 2 wrong usage, 64 bad policies"
    )]
    Replay(replay::ReplayArgs),
    /// Write SLOs in the form another program reads
    Export {
        /// Which program
        #[command(subcommand)]
        what: export::Export,
    },
    /// Live through a range of the past, under one alert policy or several, and print what would have paged
    #[command(after_help = "Examples:\n  \
        slowburn backtest --prometheus-url http://localhost:9090 --rules rules/services --since 30d\n  \
        slowburn backtest --prometheus-url http://localhost:9090 --rules main/rules --policy rules --policy branch/rules \\\n    \
        --format markdown --max-pages 5 --must-page slo=checkout-availability@2026-11-03T10:20:00Z\n  \
        slowburn backtest --events events.csv --labels incidents.csv --policy rules --policy workbook --format svg\n\n\
        What the files hold, and how to read a report: docs/backtest.md.\n\n\
        Exit codes: 0 done, 1 --max-pages or --must-page is broken, 2 wrong usage, 4 Prometheus cannot be asked, 64 bad rules")]
    Backtest(Box<backtest::BacktestArgs>),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  slowburn completions bash > /etc/bash_completion.d/slowburn")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where samples come from, for commands that need them.
#[derive(Debug, Clone, Args)]
struct SourceArgs {
    /// Prometheus, or what speaks its query API
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
    /// Files or directories of services, or of SLO files of other tools (repeatable)
    #[arg(long, value_name = "PATH", required = true)]
    rules: Vec<PathBuf>,
    /// Files or directories of presets of your own, which win over the compiled-in ones; presets among the rules are
    /// read as well (repeatable)
    #[arg(long, value_name = "PATH")]
    presets: Vec<PathBuf>,
    /// Daemon settings: authentication, headers, timeouts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    import: ImportFlags,
}

/// What SLO files of other tools do not say.
#[derive(Debug, Clone, Default, Args)]
struct ImportFlags {
    /// Owner of the SLOs in files of other tools whose labels name none
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// Window of the SLOs in files of other tools that name none [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = run::duration)]
    slo_period: Option<crate::spec::TimeSpan>,
    /// Alerts of the SLOs in files of other tools keep the names (alertname) that those files give them
    #[arg(long)]
    alert_names: bool,
    /// Leave out what is refused of files of other tools, and go on with everything else
    #[arg(long)]
    keep_going: bool,
}

impl ImportFlags {
    fn options(&self, options: crate::spec::Options) -> crate::spec::Options {
        crate::spec::Options {
            owner: self.owner.clone(),
            slo_period: self.slo_period,
            alert_names: self.alert_names,
            keep_going: self.keep_going,
            ..options
        }
    }
}

impl SourceArgs {
    /// Everything that is loaded.
    fn paths(&self) -> Vec<PathBuf> {
        self.rules.iter().chain(&self.presets).cloned().collect()
    }
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For machines
    Json,
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Ok,
    Findings,
    Usage,
    /// The gate says no.
    Denied,
    /// The gate asks a person.
    NeedsApproval,
    NoData,
    /// The daemon does not answer: no yes.
    Unreachable,
    BadConfig,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Findings => 1,
            Exit::Usage | Exit::Denied => 2,
            Exit::NeedsApproval => 3,
            Exit::NoData => 4,
            Exit::Unreachable => 5,
            Exit::BadConfig => 64,
        })
    }
}

/// Parses the command line and runs what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    bound_the_heap();
    crate::outbound::install_tls();
    let exit = match cli.command {
        Command::Demo(args) => block_on(demo::demo(args)),
        Command::Run(args) => block_on(run::run(*args)),
        Command::Check(args) => block_on(check::check(args)),
        Command::Init(args) => block_on(init::init(args)),
        Command::Eval(args) => block_on(eval::eval(args)),
        Command::Explain(args) => block_on(explain::explain(args)),
        Command::Report(args) => block_on(report::report(args)),
        Command::Incidents(args) => block_on(incidents::incidents(args)),
        Command::Compare(args) => block_on(compare::compare(args)),
        Command::Export { what } => export::export(&what),
        Command::Presets(args) => presets::presets(&args),
        Command::Schema(args) => schema::schema(&args),
        Command::Import(args) => import::import(&args),
        Command::Ask(args) => block_on(ask::ask(*args)),
        Command::Redeem(args) => block_on(ask::redeem(args)),
        Command::Release(args) => block_on(ask::release(args)),
        Command::Outcome(args) => block_on(ask::outcome(args)),
        Command::Approve(args) => block_on(approve::approve(args)),
        Command::Approvals(args) => block_on(approve::approvals(args)),
        Command::Halt(args) => block_on(halt::halt(args)),
        Command::Resume(args) => block_on(halt::resume(args)),
        Command::Backtest(args) => block_on(backtest::backtest(*args)),
        Command::Replay(args) => replay::replay(&args),
        Command::Witness(args) => block_on(witness::witness(args)),
        Command::Halts(args) => block_on(halt::halts(args)),
        Command::Audit(args) => audit::audit(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slowburn", &mut script);
            print_out(&String::from_utf8_lossy(&script));
            Exit::Ok
        }
    };
    exit.into()
}

/// Bounds what the heap keeps. glibc gives each thread a part of it, up to eight parts a core, and keeps ever larger
/// pieces in them: what a cold start needs for moments would stay resident for good. One part alone makes the threads that
/// answer wait for one another.
fn bound_the_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers and may be called at any time; no thread was started yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
    }
}

fn block_on(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            complain(&format!("the runtime cannot be started: {error}"));
            Exit::Findings
        }
    }
}

/// `--at`, on the slice grid; now when it is not given.
fn moment(at: Option<&str>, settings: &crate::config::Settings) -> Result<i64, String> {
    let resolution = settings.resolution.seconds();
    let at_s = match at {
        None => crate::clock::Clock::wall().now() - settings.evaluation_delay.as_secs() as i64,
        Some(text) => match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => seconds as i64,
            _ => text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(|error| {
                format!("--at {text:?} is no moment ({error}): write 2026-11-01T12:00:00Z or Unix seconds")
            })?,
        },
    };
    Ok(at_s.div_euclid(resolution) * resolution)
}

/// A URL that was typed, or what is wrong with it and what to write.
fn endpoint(url: &str) -> Result<String, String> {
    crate::config::endpoint(url).map_err(|fault| {
        let instead = fault.instead.map(|text| format!("\n  = write: {text}")).unwrap_or_default();
        format!("{url:?}: {}{instead}", fault.what)
    })
}

/// Writes data to stdout; whoever closed the pipe has seen enough.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes a line to stderr.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "slowburn: {text}"));
}

fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Ends when the process is asked to: SIGTERM or Ctrl-C.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
