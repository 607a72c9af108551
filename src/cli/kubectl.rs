//! `kubectl slowburn`: this binary under the name `kubectl-slowburn`, which kubectl finds on the PATH and runs with what
//! follows. It knows the three things that are asked beside kubectl: `ask`, `explain` and `why`.
//!
//! Deliberately absent: the cluster. Nothing is read from a kubeconfig; the daemon is at `--url`, and whoever asks is known by
//! the token that they bring, as at the command line.

use std::ffi::OsStr;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use super::{Exit, ask, help, why};

/// The name under which kubectl looks for it.
const NAME: &str = "kubectl-slowburn";

/// Ask whether a workload may be changed now, and why it might or might not
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = "kubectl slowburn", version, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask whether a change may be made now: a permit, a question to people, or a no
    #[command(after_help = help::PLUGIN_ASK)]
    Ask(Box<ask::AskArgs>),
    /// Say what would be decided now: no permit, no question, no record
    #[command(after_help = help::PLUGIN_EXPLAIN)]
    Explain(Box<ask::AskArgs>),
    /// Say why an act was allowed, refused or left to people
    #[command(after_help = help::PLUGIN_WHY)]
    Why(why::WhyArgs),
}

/// Whether the binary was started under the name of the plugin.
pub(super) fn is_meant(started_as: Option<&OsStr>) -> bool {
    started_as.and_then(|path| Path::new(path).file_stem()).is_some_and(|name| name == NAME)
}

/// What the plugin does.
pub(super) async fn run(plugin: Plugin) -> Exit {
    match plugin.command {
        Command::Ask(args) => ask::ask(*args).await,
        Command::Explain(args) => match args.only_explained() {
            Ok(args) => ask::ask(args).await,
            Err(what) => Plugin::command().error(ErrorKind::ArgumentConflict, what).exit(),
        },
        Command::Why(args) => why::why(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_plugin_under_its_own_name_alone() {
        let is = |path: &str| is_meant(Some(OsStr::new(path)));
        assert!(is("kubectl-slowburn") && is("/usr/local/bin/kubectl-slowburn") && is("bin/kubectl-slowburn.exe"));
        assert!(!is("slowburn") && !is("/opt/kubectl-slowburn/slowburn") && !is("") && !is_meant(None));
    }

    #[test]
    fn its_flags_are_those_of_the_command_line() {
        Plugin::command().debug_assert();
        let parsed = |line: &str| Plugin::try_parse_from(line.split(' '));
        let act = "--service a --action restart --resource deployment/a";
        for line in [format!("kubectl-slowburn ask {act}"), format!("kubectl-slowburn explain {act}")] {
            assert!(parsed(&line).is_ok(), "{line}");
        }
        assert!(parsed("kubectl-slowburn why deployment/a --service a").is_ok());
        assert!(parsed("kubectl-slowburn halt").is_err());
        let Command::Explain(args) =
            parsed(&format!("kubectl-slowburn explain {act} --redeem")).expect("it parses").command
        else {
            panic!("it is the explanation");
        };
        assert!(args.only_explained().expect_err("nothing to redeem").contains("--redeem"));
    }
}
