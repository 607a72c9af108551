//! Who may take a lease, and when. PURE: what was seen of it, and a moment of a clock that nobody sets.
//!
//! The times that stand in a Lease are other machines', and are not read. A lease is over when it was *seen* not to change for as
//! long as it says that it lasts. Its holder counts from the moment at which it *asked* for the last renewal that it got, and
//! gives up at two thirds of the time: so it stops before anybody else may begin, whatever their clocks say, as long as none
//! runs half as fast again as another.
//!
//! A Lease that was deleted tells nothing of its last holder, who may not know yet: it is waited for as long.

use std::time::Duration;

use serde_json::{Value, json};

/// A Lease as it was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Who has it; nobody where it was given back.
    pub(super) holder: Option<String>,
    /// How long it lasts from its last change on.
    pub(super) lasts: Option<Duration>,
    /// How often it went from one to another.
    pub(super) transitions: u64,
    /// What its holder changes when it renews.
    renewed: Value,
    /// All of it.
    pub(super) whole: Value,
}

impl Found {
    /// `None`: it is no Lease that can be replaced.
    pub(super) fn of(whole: Value) -> Option<Self> {
        whole["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty())?;
        let spec = &whole["spec"];
        let holder = spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned);
        let lasts = spec["leaseDurationSeconds"].as_u64().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0);
        let renewed = json!([spec["renewTime"], spec["acquireTime"], transitions]);
        Some(Found { holder, lasts, transitions, renewed, whole })
    }
}

/// What to do about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody has it, or may have.
    Wait,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's: take it.
    Take,
    /// It is not there, and nobody has it: make it.
    Create,
}

/// What one who stands for a lease has seen of it.
#[derive(Debug)]
pub(super) struct Election {
    own: String,
    lasts: Duration,
    /// What was seen last, and since when it has not changed.
    seen: Option<(Option<(String, Value)>, Duration)>,
    /// The longest that any holder said it lasts.
    longest: Duration,
}

impl Election {
    /// For one of this name, who holds it for so long without renewing it.
    pub(super) fn new(own: String, lasts: Duration) -> Self {
        Election { own, lasts, seen: None, longest: lasts }
    }

    /// How long after the last renewal that it asked for a holder may go on.
    pub(super) fn good_for(&self) -> Duration {
        self.lasts * 2 / 3
    }

    /// How long to wait between two looks: up to a fifth less by `chance`, from 0 to 1. Those who began together do not go on
    /// asking together, and of several who found it free the one is not always second.
    pub(super) fn every(&self, chance: f64) -> Duration {
        (self.lasts * 2 / 15).mul_f64(1.0 - 0.2 * chance)
    }

    /// What to do about the lease as it is at `now`. `vacant`: nobody has ever held it, as the log shows.
    pub(super) fn step(&mut self, found: Option<&Found>, now: Duration, vacant: bool) -> Step {
        let Some((found, holder)) = found.map(|found| (found, found.holder.clone())) else {
            let since = self.since(None, now);
            return if vacant || now.saturating_sub(since) >= self.longest { Step::Create } else { Step::Wait };
        };
        let lasts = found.lasts.unwrap_or(self.lasts);
        self.longest = self.longest.max(lasts);
        match holder {
            None => Step::Take,
            Some(holder) if holder == self.own => Step::Renew,
            Some(holder) => {
                let since = self.since(Some((holder, found.renewed.clone())), now);
                if now.saturating_sub(since) >= lasts { Step::Take } else { Step::Wait }
            }
        }
    }

    /// Since when this is what was seen.
    fn since(&mut self, what: Option<(String, Value)>, now: Duration) -> Duration {
        match &self.seen {
            Some((before, since)) if *before == what => *since,
            _ => {
                self.seen = Some((what, now));
                now
            }
        }
    }

    /// What stands in a Lease that is renewed at wall time `at`, or taken over from `before`.
    pub(super) fn spec(&self, before: Option<&Found>, step: Step, at: &str) -> Value {
        let mut spec = json!({
            "holderIdentity": self.own, "leaseDurationSeconds": self.lasts.as_secs(), "renewTime": at,
        });
        if step != Step::Renew {
            spec["acquireTime"] = at.into();
            spec["leaseTransitions"] = before.map_or(0, |before| before.transitions + 1).into();
        }
        spec
    }

    /// What stands in one that is given back.
    pub(super) fn given_back(at: &str) -> Value {
        json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": at})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: u64, lasts: u64) -> Found {
        let spec = json!({
            "holderIdentity": holder, "renewTime": format!("at {renewed}"), "leaseDurationSeconds": lasts,
            "leaseTransitions": 4,
        });
        Found::of(json!({"metadata": {"resourceVersion": renewed.to_string()}, "spec": spec})).expect("a Lease")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_over_when_it_was_seen_not_to_change_for_as_long_as_it_lasts() {
        let mut election = Election::new("b".into(), at(15));
        assert_eq!(election.step(Some(&lease("a", 1, 20)), at(100), false), Step::Wait);
        assert_eq!(election.step(Some(&lease("a", 1, 20)), at(119), false), Step::Wait);
        // Renewed at the last moment: it counts from there.
        assert_eq!(election.step(Some(&lease("a", 2, 20)), at(119), false), Step::Wait);
        assert_eq!(election.step(Some(&lease("a", 2, 20)), at(138), false), Step::Wait);
        assert_eq!(election.step(Some(&lease("a", 2, 20)), at(139), false), Step::Take);
    }

    #[test]
    fn what_others_write_beside_it_renews_nothing() {
        let mut election = Election::new("b".into(), at(15));
        let mut labelled = lease("a", 1, 15);
        assert_eq!(election.step(Some(&labelled), at(0), false), Step::Wait);
        for moment in 1..15 {
            labelled.whole["metadata"]["labels"] = json!({"touched": moment});
            labelled.whole["metadata"]["resourceVersion"] = format!("9{moment}").into();
            let labelled = Found::of(labelled.whole.clone()).expect("a Lease");
            assert_eq!(election.step(Some(&labelled), at(moment), false), Step::Wait);
        }
        assert_eq!(election.step(Some(&labelled), at(15), false), Step::Take);
    }

    #[test]
    fn one_that_was_given_back_is_taken_at_once_and_ones_own_is_renewed() {
        let mut election = Election::new("b".into(), at(15));
        assert_eq!(election.step(Some(&lease("", 1, 1)), at(0), false), Step::Take);
        assert_eq!(election.step(Some(&lease("b", 1, 15)), at(99), false), Step::Renew);
        let spec = election.spec(Some(&lease("", 1, 1)), Step::Take, "now");
        assert_eq!((&spec["leaseTransitions"], &spec["acquireTime"]), (&json!(5), &json!("now")));
        let spec = election.spec(Some(&lease("b", 1, 15)), Step::Renew, "now");
        assert_eq!((spec.get("leaseTransitions"), spec.get("acquireTime")), (None, None), "they stay as they are");
    }

    /// Somebody deletes the Lease: its holder does not know yet, and may go on for as long as it lasts.
    #[test]
    fn one_that_was_deleted_is_waited_for_and_one_that_never_was_is_not() {
        let mut election = Election::new("b".into(), at(15));
        assert_eq!(election.step(None, at(0), true), Step::Create);
        let mut election = Election::new("b".into(), at(15));
        assert_eq!(election.step(Some(&lease("a", 1, 30)), at(0), false), Step::Wait);
        assert_eq!(election.step(None, at(10), false), Step::Wait);
        assert_eq!(election.step(None, at(39), false), Step::Wait);
        assert_eq!(election.step(None, at(40), false), Step::Create);
    }

    /// What a Lease says of times and lengths is anybody's word.
    #[test]
    fn a_lease_without_sense_is_waited_for_as_long_as_ones_own() {
        assert_eq!(Found::of(json!({"spec": {"holderIdentity": "a"}})), None, "it could not be replaced");
        for lasts in [json!(0), json!(-1), json!("x"), Value::Null] {
            let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": lasts, "renewTime": 7});
            let found = Found::of(json!({"metadata": {"resourceVersion": "1"}, "spec": spec})).expect("a Lease");
            let mut election = Election::new("b".into(), at(15));
            assert_eq!(election.step(Some(&found), at(0), false), Step::Wait);
            assert_eq!(election.step(Some(&found), at(14), false), Step::Wait);
            assert_eq!(election.step(Some(&found), at(15), false), Step::Take);
        }
    }

    #[test]
    fn looks_are_spread_and_never_rarer_than_they_have_to_be() {
        let election = Election::new("a".into(), at(15));
        let every = |chance| election.every(chance).as_millis();
        assert_eq!([every(0.0), every(0.5), every(1.0)], [2000, 1800, 1600]);
    }

    /// A holder stops before another may begin, for every moment at which either looks.
    #[test]
    fn the_time_of_a_holder_ends_before_that_of_the_next_begins() {
        let election = Election::new("a".into(), at(15));
        assert!(election.good_for() + election.every(0.0) < at(15));
        for looked in 0..15 {
            // The last renewal was asked for at 0 and seen at `looked` at the earliest at 0.
            let mut other = Election::new("b".into(), at(15));
            assert_eq!(other.step(Some(&lease("a", 1, 15)), at(looked), false), Step::Wait);
            let over = (looked..).find(|now| other.step(Some(&lease("a", 1, 15)), at(*now), false) == Step::Take);
            assert!(at(over.expect("at some time")) > election.good_for());
        }
    }
}
