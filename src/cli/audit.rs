//! `slowburn audit`: who did what and why, and whether the log still says what was written.
//!
//! Reads the files of a log: with a daemon beside it or without, on the machine that wrote it or on another one.

mod find;
mod prove;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use serde_json::json;

use super::approve::ended;
use super::remote::{Failure, Remote, RemoteArgs};
use super::{Exit, complain, help, print_out, wiring};

/// `slowburn audit`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List records, the newest first
    #[command(after_help = help::AUDIT_LIST)]
    List(find::ListArgs),
    /// Show one record, or everything that was recorded of a decision
    #[command(after_help = help::AUDIT_SHOW)]
    Show(find::ShowArgs),
    /// Check every record, the chain and the checkpoints, and name what is wrong
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify(prove::VerifyArgs),
    /// Print the public key that checks the log's signatures
    #[command(after_help = help::AUDIT_KEY)]
    Key(LogArgs),
    /// Print a receipt that anybody can check alone: the record is in the log that witnesses have seen
    #[command(after_help = help::AUDIT_RECEIPT)]
    Receipt(prove::ReceiptArgs),
    /// Take a log that could not be proved complete as it is, so that machines need not wait any more
    #[command(after_help = help::AUDIT_ACCEPT)]
    Accept(AcceptArgs),
    /// Print decisions for other tools
    #[command(after_help = help::AUDIT_EXPORT)]
    Export(find::ExportArgs),
}

/// Flags of `audit accept`.
#[derive(Debug, Args)]
struct AcceptArgs {
    /// Why it may be taken as it is
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Asks the daemon to go on with the log that it has.
async fn accept(args: &AcceptArgs) -> Result<Exit, Failure> {
    let answer = Remote::new(&args.remote)?.post("/v1/audit/accept", &json!({"reason": args.reason})).await?;
    let doubts = answer["accepted"].as_array().into_iter().flatten().filter_map(|doubt| doubt.as_str());
    print_out(&doubts.map(|doubt| format!("accepted: {doubt}\n")).collect::<String>());
    Ok(Exit::Ok)
}

/// Which log.
#[derive(Debug, Clone, Args)]
struct LogArgs {
    /// The daemon's data directory; its log is in `audit`
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    data_dir: Option<PathBuf>,
    /// The log's own directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Daemon settings that name one of them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "data_dir"])]
    config: Option<PathBuf>,
}

impl LogArgs {
    fn dir(&self) -> Result<PathBuf, (Exit, String)> {
        let dir = match (&self.dir, &self.data_dir, &self.config) {
            (Some(dir), ..) => Some(dir.clone()),
            (None, Some(data), _) => Some(data.join("audit")),
            (None, None, config) => {
                let settings = wiring::settings(config.as_deref()).map_err(|text| (Exit::BadConfig, text))?;
                settings.audit_dir()
            }
        };
        let which = "which log? Write --data-dir DIR (that of the daemon), --dir DIR or --config FILE";
        let dir = dir.ok_or((Exit::Usage, which.to_owned()))?;
        // Every log has its public key; a mistyped directory is not filled with an index.
        match dir.join("key.pub").is_file() {
            true => Ok(dir),
            false => Err((Exit::Usage, format!("there is no audit log in {}", dir.display()))),
        }
    }
}

/// Runs the command.
pub fn audit(args: AuditArgs) -> Exit {
    let outcome = match args.command {
        AuditCommand::List(args) => find::list(&args),
        AuditCommand::Show(args) => find::show(&args),
        AuditCommand::Verify(args) => prove::verify(&args),
        AuditCommand::Receipt(args) => prove::receipt(&args),
        AuditCommand::Key(args) => prove::key(&args),
        AuditCommand::Accept(args) => return super::block_on(async { ended(accept(&args).await) }),
        AuditCommand::Export(args) => find::export(&args),
    };
    outcome.unwrap_or_else(|(exit, text)| {
        complain(text.trim_end());
        exit
    })
}

/// A bar on a terminal, from the first second on; nothing elsewhere.
fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    use std::io::IsTerminal as _;
    let style = indicatif::ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes}")
        .expect("the template is a constant that indicatif reads");
    let mut bar: Option<indicatif::ProgressBar> = None;
    let on_terminal = std::io::stderr().is_terminal();
    move |done, total| {
        if !on_terminal || total < 8 << 20 {
            return;
        }
        let bar =
            bar.get_or_insert_with(|| indicatif::ProgressBar::new(total).with_style(style.clone()).with_message(what));
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }
}
