//! Earned autonomy: how far a machine may go by itself with one action of one service. It starts narrow and widens with
//! what its acts came to, as the ledger judged them; one that made things worse narrows it again.
//!
//! A stage only ever adds a demand to what the policy says without it, so none goes beyond what the policy's author
//! allowed. It is counted by principal, not by the name it acts under: another name is no clean record.
//! Deliberately absent: people, whom the stages do not bind, and everything that a caller says of its own acts.

use serde::{Deserialize, Serialize};

use super::verdict::Outcome;

/// Verdicts of one principal, action and service that are remembered; the oldest go first.
pub const RECORD_MAX: usize = 64;
/// Most improved verdicts that a stage can ask for: three stages of them are remembered.
pub const RAISE_MAX: u32 = 20;

/// How far a machine may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is told what would be decided, and does nothing.
    Explain,
    /// A person says yes to each act.
    Approval,
    /// A person says yes unless its last act improved things.
    Proven,
    /// As the row says, within its limits.
    Alone,
}

impl Stage {
    /// All of them, the narrowest first.
    pub const ALL: [Stage; 4] = [Stage::Explain, Stage::Approval, Stage::Proven, Stage::Alone];

    /// As in policies and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Explain => "explain",
            Stage::Approval => "approval",
            Stage::Proven => "proven",
            Stage::Alone => "alone",
        }
    }

    fn next(self) -> Stage {
        match self {
            // Nothing is done there, so nothing is earned: the policy's author ends it.
            Stage::Explain => Stage::Explain,
            Stage::Approval => Stage::Proven,
            Stage::Proven | Stage::Alone => Stage::Alone,
        }
    }

    /// Never back to where nothing can be earned.
    fn before(self) -> Stage {
        match self {
            Stage::Explain => Stage::Explain,
            Stage::Approval | Stage::Proven => Stage::Approval,
            Stage::Alone => Stage::Proven,
        }
    }
}

/// What the policy says of the autonomy of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autonomy {
    /// Where a machine begins.
    pub starts: Stage,
    /// Where it ends at most.
    pub at_most: Stage,
    /// Improved verdicts after which the next stage is reached; 1 to [`RAISE_MAX`].
    pub raise_after: u32,
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The stage.
    pub stage: Stage,
    /// Improved verdicts in it.
    pub improved: u32,
    /// Whether the last act that came to something improved things.
    pub proven: bool,
}

/// What acts came to, oldest first: only what speaks for or against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(Vec<Outcome>);

impl Record {
    /// Takes in a verdict. What the data does not tell, and what was not done, says nothing; doing nothing over and over is
    /// said once. What made things worse is forgotten last: no row of other acts pushes it out.
    pub fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::NoEffect if self.0.last() == Some(&Outcome::NoEffect) => return,
            Outcome::Improved | Outcome::NoEffect | Outcome::Worse => self.0.push(outcome),
            Outcome::Inconclusive | Outcome::NotApplied => return,
        }
        if self.0.len() > RECORD_MAX {
            let place = self.0.iter().position(|one| *one != Outcome::Worse).unwrap_or(0);
            self.0.remove(place);
        }
    }
}

impl Autonomy {
    /// Where somebody with this record stands.
    pub fn standing(&self, record: Option<&Record>) -> Standing {
        let mut stage = self.starts.min(self.at_most);
        let (mut improved, mut proven) = (0, false);
        for outcome in record.into_iter().flat_map(|record| &record.0) {
            proven = *outcome == Outcome::Improved;
            match outcome {
                Outcome::Improved => improved += 1,
                Outcome::Worse => (stage, improved) = (stage.before(), 0),
                _ => {}
            }
            if improved >= self.raise_after.max(1) && stage.next() != stage {
                (stage, improved) = (stage.next(), 0);
            }
            stage = stage.min(self.at_most);
        }
        Standing { stage, improved, proven }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Autonomy = Autonomy { starts: Stage::Approval, at_most: Stage::Alone, raise_after: 2 };

    fn record(outcomes: &str) -> Record {
        let mut record = Record::default();
        for one in outcomes.chars() {
            record.take(match one {
                'i' => Outcome::Improved,
                'n' => Outcome::NoEffect,
                'w' => Outcome::Worse,
                _ => Outcome::NotApplied,
            });
        }
        record
    }

    #[test]
    fn it_widens_by_what_was_improved_and_narrows_by_one_that_made_it_worse() {
        for (outcomes, stage, improved, proven) in [
            ("", Stage::Approval, 0, false),
            ("i", Stage::Approval, 1, true),
            ("ii", Stage::Proven, 0, true),
            ("iin", Stage::Proven, 0, false),
            ("ixxi", Stage::Proven, 0, true),
            ("iiii", Stage::Alone, 0, true),
            ("iiiiii", Stage::Alone, 2, true),
            ("iiiiw", Stage::Proven, 0, false),
            ("iiiiww", Stage::Approval, 0, false),
            ("iiiiwww", Stage::Approval, 0, false),
            ("iw", Stage::Approval, 0, false),
            ("iwi", Stage::Approval, 1, true),
        ] {
            let standing = RULE.standing(Some(&record(outcomes)));
            assert_eq!(standing, Standing { stage, improved, proven }, "{outcomes}");
        }
        let capped = Autonomy { at_most: Stage::Proven, ..RULE };
        assert_eq!(capped.standing(Some(&record("iiiiiiii"))).stage, Stage::Proven);
        let explains = Autonomy { starts: Stage::Explain, ..RULE };
        assert_eq!(explains.standing(Some(&record("iiiiiiii"))).stage, Stage::Explain);
    }

    proptest! {
        /// Whatever came before: no stage is beyond the author's, and `worse` never widens.
        #[test]
        fn nothing_goes_beyond_what_was_allowed(
            outcomes in "[inwx]{0,90}", starts in 0_usize..4, most in 0_usize..4, raise_after in 1_u32..=RAISE_MAX,
        ) {
            let rule = Autonomy { starts: Stage::ALL[starts], at_most: Stage::ALL[most], raise_after };
            let standing = rule.standing(Some(&record(&outcomes)));
            prop_assert!(standing.stage <= rule.at_most);
            let after = rule.standing(Some(&record(&(outcomes.clone() + "w"))));
            prop_assert!(after.stage <= standing.stage && !after.proven);
        }
    }
}
