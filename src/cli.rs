//! Commands: what was typed, what it means, and with which code the process ends.
//!
//! stdout is data, stderr is log and progress. A pipe that closes early is no error.

mod approve;
mod ask;
mod audit;
mod backtest;
mod check;
mod compare;
mod context;
mod crds;
mod demo;
#[cfg(test)]
mod documents;
mod eval;
mod explain;
mod export;
mod follow;
mod halt;
mod help;
mod import;
mod incidents;
mod init;
mod kubectl;
mod presets;
mod remote;
mod replay;
mod report;
mod run;
mod schema;
mod suggested;
mod table;
mod watch;
mod why;
mod wiring;
mod witness;

use std::ffi::OsStr;
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
    #[command(after_help = help::DEMO)]
    Demo(demo::DemoArgs),
    /// Run the daemon
    #[command(after_help = help::RUN)]
    Run(Box<run::RunArgs>),
    /// Check rule files, and print what every threshold means
    #[command(after_help = help::CHECK)]
    Check(check::CheckArgs),
    /// Write first service files from what a Prometheus holds
    #[command(after_help = help::INIT)]
    Init(init::InitArgs),
    /// Evaluate every SLO once, now or at a past moment
    #[command(after_help = help::EVAL)]
    Eval(eval::EvalArgs),
    /// List what a count is made of, sample by sample (not why a change is allowed: that is `slowburn ask --explain`)
    #[command(after_help = help::EXPLAIN)]
    Explain(explain::ExplainArgs),
    /// List incidents of a running daemon, show one with its timeline, or say what it came from
    #[command(after_help = help::INCIDENTS)]
    Incidents(incidents::IncidentsArgs),
    /// Report on a month, a quarter or a year: objectives met, budgets in events and minutes, incidents
    #[command(after_help = help::REPORT)]
    Report(report::ReportArgs),
    /// Compare what Sloth or Pyrra recorded with exact counts, and say why they differ
    #[command(after_help = help::COMPARE)]
    Compare(compare::CompareArgs),
    /// List the stacks whose metrics are known, or explain one of them
    #[command(after_help = help::PRESETS)]
    Presets(presets::PresetsArgs),
    /// Print the JSON schema of a file, so that editors complete and check it
    #[command(after_help = help::SCHEMA)]
    Schema(schema::SchemaArgs),
    /// Print the custom resources in which rules are kept in a cluster, for kubectl apply
    #[command(after_help = help::CRDS)]
    Crds(crds::CrdsArgs),
    /// Turn SLO files of Sloth, Pyrra, OpenSLO or slo-generator into service.yaml files
    #[command(after_help = help::IMPORT)]
    Import(import::ImportArgs),
    /// Ask whether a change may be made now
    #[command(after_help = help::ASK)]
    Ask(Box<ask::AskArgs>),
    /// Say why an act was allowed, refused or left to people, as the audit log has it
    #[command(after_help = help::WHY)]
    Why(why::WhyArgs),
    /// Redeem a permit right before the act: every check runs again
    #[command(after_help = help::REDEEM)]
    Redeem(ask::RedeemArgs),
    /// Give a permit back that will not be used
    #[command(after_help = help::RELEASE)]
    Release(ask::ReleaseArgs),
    /// Report that a permitted act is done, or was not done
    #[command(after_help = help::OUTCOME)]
    Outcome(ask::OutcomeArgs),
    /// Say yes or no to what waits for a person
    #[command(after_help = help::APPROVE)]
    Approve(approve::ApproveArgs),
    /// List what waits for people
    #[command(after_help = help::APPROVALS)]
    Approvals(approve::ApprovalsArgs),
    /// Stop changes, for a time and with a reason
    #[command(after_help = help::HALT)]
    Halt(halt::HaltArgs),
    /// Lift a halt
    #[command(after_help = help::RESUME)]
    Resume(halt::ResumeArgs),
    /// List the halts that hold
    #[command(after_help = help::HALTS)]
    Halts(halt::HaltsArgs),
    /// Search the audit log, verify it, export it
    Audit(audit::AuditArgs),
    /// Witness the audit logs of other daemons: what is cut off or put back there is found by asking here
    #[command(after_help = help::WITNESS)]
    Witness(witness::WitnessArgs),
    /// Decide history again, under another policy, and print the flips
    #[command(after_help = help::REPLAY)]
    Replay(replay::ReplayArgs),
    /// Write SLOs in the form another program reads
    Export {
        /// Which program
        #[command(subcommand)]
        what: export::Export,
    },
    /// Live through a range of the past, under one alert policy or several, and print what would have paged
    #[command(after_help = help::BACKTEST)]
    Backtest(Box<backtest::BacktestArgs>),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
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
    if kubectl::is_meant(std::env::args_os().next().as_deref()) {
        let plugin = kubectl::Plugin::parse();
        crate::outbound::install_tls();
        return block_on(kubectl::run(plugin)).into();
    }
    let cli = Cli::parse();
    bound_the_heap();
    crate::outbound::install_tls();
    let exit = match cli.command {
        Command::Demo(args) => block_on(demo::demo(args)),
        Command::Run(args) => run::run(&args),
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
        Command::Crds(args) => crds::crds(&args),
        Command::Import(args) => import::import(&args),
        Command::Ask(args) => block_on(ask::ask(*args)),
        Command::Why(args) => block_on(why::why(args)),
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
    block_on_runtime(&mut tokio::runtime::Builder::new_multi_thread(), command)
}

/// The same on one thread, for what has to be small.
fn block_on_one_thread(command: impl Future<Output = Exit>) -> Exit {
    block_on_runtime(&mut tokio::runtime::Builder::new_current_thread(), command)
}

fn block_on_runtime(builder: &mut tokio::runtime::Builder, command: impl Future<Output = Exit>) -> Exit {
    match builder.enable_all().build() {
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
    takes_colour(stream.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

/// Colours are for terminals, whose user does not say no (<https://no-color.org>).
fn takes_colour(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
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

    #[test]
    fn colours_are_for_terminals_whose_user_does_not_say_no() {
        assert!(takes_colour(true, None) && takes_colour(true, Some(OsStr::new(""))));
        assert!(!takes_colour(true, Some(OsStr::new("1"))) && !takes_colour(false, None));
    }

    #[test]
    fn completions_know_the_values_to_which_users_may_add() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slowburn", &mut script);
            let script = String::from_utf8(script).expect("text");
            for value in ["rollback", "cordon", "vllm", "kafka-lag"] {
                assert!(script.contains(value), "{shell}: {value}");
            }
        }
        // What a policy or a preset of one's own adds is taken as well, and help texts do not list everything.
        for line in [
            "slowburn ask --service a --action drain-gpu --resource node/a",
            "slowburn halt --action drain-gpu --reason b",
            "slowburn init --prometheus-url http://a --preset our-gateway",
            "slowburn presets our-gateway",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        let help = Cli::command().find_subcommand_mut("init").expect("a command").render_long_help().to_string();
        assert!(!help.contains("vllm, "), "{help}");
    }
}
