//! What judges metrics: whether a Prometheus holds what an SLO needs, why not, and how well it can work there.
//!
//! The modules ask a Prometheus and answer with plain values, so that a command, the API and the page can say the same:
//!
//! - [`account`]: what a count is made of, down to each sample;
//! - [`presence`]: what each selector finds; [`missing`]: why it finds nothing, or the wrong kind;
//! - [`doctor`]: whether what it finds can be believed;
//! - [`fit`]: whether an SLO can work there; [`dry_run`]: how the last weeks would have looked;
//! - [`discover`]: the stacks that presets know, for first service files;
//! - [`cutover`]: which routes of an Alertmanager match the alerts of an imported SLO before and after;
//! - [`compare`]: what Sloth or Pyrra recorded beside exact counts, with measured causes of the difference.
//!
//! Deliberately absent: printing, exit codes and flags, which are the command's.

pub mod account;
pub mod compare;
pub mod cutover;
pub mod discover;
pub mod doctor;
pub mod dry_run;
pub mod fit;
pub mod missing;
pub mod presence;
