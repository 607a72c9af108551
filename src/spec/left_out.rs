//! Going on although something was refused: what is left out, said by name.
//!
//! Only what other tools wrote can be left out. A service of ours that is half refused would lose promises that
//! somebody relies on, so those are loaded whole or not at all.

use serde::Serialize;

use super::problem::{Problem, Severity};

/// Something that was refused and left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// The file it is in.
    pub file: String,
    /// Line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// `SLO checkout-errors`, or empty where the whole document or file is meant.
    pub about: String,
    /// The first reason.
    pub why: String,
    /// How many more there are.
    pub more: usize,
}

/// Makes warnings of the errors in files that `may_be_left_out`, and lists what they are about: one entry for each SLO,
/// or document where no SLO is known, with its first error.
pub(crate) fn settle(problems: &mut [Problem], may_be_left_out: impl Fn(&Problem) -> bool) -> Vec<LeftOut> {
    problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.what).cmp(&(&b.file, b.line, b.column, &b.what)));
    let mut all: Vec<LeftOut> = Vec::new();
    let errors = problems.iter_mut().filter(|problem| problem.severity == Severity::Error);
    for problem in errors.filter(|problem| may_be_left_out(problem)) {
        let same = |known: &&mut LeftOut| known.file == problem.file && known.about == problem.about;
        match all.iter_mut().find(same) {
            Some(known) => known.more += 1,
            None => all.push(LeftOut {
                file: problem.file.clone(),
                line: problem.line,
                about: problem.about.clone(),
                why: problem.gist().to_string(),
                more: 0,
            }),
        }
        problem.severity = Severity::Warning;
        problem.what.insert_str(0, "left out: ");
    }
    all
}
