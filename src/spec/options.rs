//! What loading needs to know beside the files.

use std::sync::Arc;

use super::defaults::defaults;
use super::duration::TimeSpan;
use crate::gate::Identities;

/// How files are loaded.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of a slice; windows of burn clauses are not shorter.
    pub resolution: TimeSpan,
    /// Owner of imported SLOs whose files name none.
    pub owner: Option<String>,
    /// Window of imported SLOs whose files name none.
    pub slo_period: Option<TimeSpan>,
    /// Alerts of imported SLOs keep the names that their files give them.
    pub alert_names: bool,
    /// What is refused of files of other tools is left out, and everything else is loaded. Our own files are loaded
    /// whole or not at all.
    pub keep_going: bool,
    /// Documents in folders that are none of ours or of another tool are passed over, as in a repository.
    pub of_a_repository: bool,
    /// That there is no service at all is no mistake: a cluster has none before the first is made.
    pub may_be_empty: bool,
    /// Who there is: policies that ask for a yes are held against it. `None` where no daemon is known.
    pub people: Option<Arc<Identities>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            resolution: defaults().resolution,
            owner: None,
            slo_period: None,
            alert_names: false,
            keep_going: false,
            of_a_repository: false,
            may_be_empty: false,
            people: None,
        }
    }
}
