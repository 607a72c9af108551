//! Why two numbers differ: a walk from theirs to ours, one cause a step, each step a number that was worked out.
//!
//! The amounts of all steps and of what is left add up to the difference exactly, because each begins where the one
//! before ended. Which step comes first is a choice (`docs/compare.md` says which); where two causes act at once another
//! order would share them out a little differently. Pure.

use serde::Serialize;

/// Steps smaller than this part of the larger number are not named, but left in the remainder.
const NAMED_FROM: f64 = 0.001;

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A mean of ratios, in which a quiet minute weighs as much as a busy one.
    TrafficWeighting,
    /// First samples of series that were born with a value.
    FirstErrors,
    /// `rate` and `increase` extrapolate to the ends of their window.
    Extrapolation,
    /// Events during holes in the scrapes.
    ScrapeHoles,
    /// Moments at which nothing was recorded.
    MissingEvaluations,
    /// 0/0 was recorded.
    NotANumber,
    /// The rules count other events.
    OtherQuery,
    /// The rules look at another window.
    OtherWindow,
    /// The budget is that of another objective.
    OtherObjective,
    /// `rate` against exact increments, where raw samples cannot be read to tell more.
    RateNotRaw,
}

impl Cause {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::TrafficWeighting => "traffic weighting",
            Cause::FirstErrors => "lost first errors",
            Cause::Extrapolation => "extrapolation",
            Cause::ScrapeHoles => "scrape holes",
            Cause::MissingEvaluations => "missing evaluations",
            Cause::NotANumber => "0/0 recorded",
            Cause::OtherQuery => "another query",
            Cause::OtherWindow => "another window",
            Cause::OtherObjective => "another objective",
            Cause::RateNotRaw => "rate, not increments",
        }
    }
}

/// What one cause does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The cause.
    pub cause: Cause,
    /// By how much it makes their ratio larger than ours (smaller where negative); `None` where that is no number.
    pub amount: Option<f64>,
    /// The same as a part of the whole difference. Causes that work against each other have parts over 1 and below 0.
    pub share: Option<f64>,
    /// What was measured.
    pub evidence: String,
}

/// The walk.
#[derive(Debug, Clone)]
pub struct Trail {
    begin: f64,
    at: f64,
    shares: Vec<(Cause, f64, String)>,
}

/// The difference, shared out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Explained {
    /// Largest first.
    pub causes: Vec<Share>,
    /// What is left of the difference; `None` where there is none to share out.
    pub unexplained: Option<f64>,
    /// The same as a part of the whole difference.
    pub unexplained_share: Option<f64>,
}

impl Trail {
    /// Begins at their number.
    pub fn from(theirs: f64) -> Self {
        Trail { begin: theirs, at: theirs, shares: Vec::new() }
    }

    /// With `cause` taken out the number would be `to`.
    pub fn step(&mut self, cause: Cause, to: f64, evidence: impl Into<String>) {
        self.shares.push((cause, self.at - to, evidence.into()));
        self.at = to;
    }

    /// The number changes to `to` for no reason that has a name.
    pub fn pass(&mut self, to: f64) {
        self.at = to;
    }

    /// Ends at ours.
    pub fn end(self, ours: f64) -> Explained {
        let whole = self.begin - ours;
        let least = NAMED_FROM * ours.abs().max(self.begin.abs());
        let part = |amount: f64| (whole.abs() > least).then(|| amount / whole);
        let mut causes: Vec<Share> = self
            .shares
            .into_iter()
            .filter(|(_, amount, _)| amount.abs() > least)
            .map(|(cause, amount, evidence)| Share { cause, amount: Some(amount), share: part(amount), evidence })
            .collect();
        let size = |share: &Share| share.amount.unwrap_or(0.0).abs();
        causes.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let rest = whole - causes.iter().filter_map(|share| share.amount).sum::<f64>();
        Explained { causes, unexplained: Some(rest), unexplained_share: part(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_to_the_difference() {
        let mut trail = Trail::from(0.5);
        trail.pass(0.49);
        trail.step(Cause::TrafficWeighting, 0.2, "a");
        trail.step(Cause::FirstErrors, 0.25, "b");
        trail.step(Cause::Extrapolation, 0.250_01, "too small to name");
        let found = trail.end(0.26);
        let named: Vec<Cause> = found.causes.iter().map(|share| share.cause).collect();
        assert_eq!(named, [Cause::TrafficWeighting, Cause::FirstErrors]);
        let sum: f64 = found.causes.iter().filter_map(|share| share.amount).sum();
        assert!((sum + found.unexplained.expect("a rest") - 0.24).abs() < 1e-12);
        let shares: f64 = found.causes.iter().filter_map(|share| share.share).sum();
        assert!((shares + found.unexplained_share.expect("a rest") - 1.0).abs() < 1e-9);
        assert!(found.causes[1].share.expect("a share") < 0.0, "it works against the other");
    }

    #[test]
    fn equal_numbers_have_no_shares() {
        let found = Trail::from(0.25).end(0.25);
        assert_eq!((found.causes.len(), found.unexplained, found.unexplained_share), (0, Some(0.0), None));
    }
}
