//! Why a change of a counter was booked, or was not: one list for the booking, its count in `/metrics` and `explain`.

use serde::{Deserialize, Serialize};

/// Why. Saved by its place in this list: what is new stands at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It rose from one sample to the next.
    Rose,
    /// It rose while nothing was scraped for a while, or while it was hidden.
    Bridged,
    /// It is as high again as before it fell: what lies between is booked across the fall.
    Recovered,
    /// It fell, and its process says that it began anew: the new value is what it counted since.
    ProcessBegan,
    /// It fell while its target was not scraped, to what a new process can have.
    TargetAway,
    /// It fell as most counters of its target did, to what a new process can have.
    MostFell,
    /// It was not there while its target began anew: its value was counted since.
    ShownAfterRestart,
    /// Its first sample, of a process that began since the scrape before.
    BornWithProcess,
    /// Its first sample, of a target never seen before whose process is a few minutes old at most.
    YoungTarget,
    /// Its first sample: it was scraped together with older series of its target, was not there at the scrape before, and
    /// its value can have been gained since.
    Born,
    /// Its first sample: it goes on from a series that ended, whose labels are the same but for some.
    Continued,
    /// The first sample of all: reading began with it. Nothing is booked.
    First,
    /// A first sample of a target of which nobody was scraped at that moment before: another identity, a new target that
    /// does not say when its process began, a second scraper. Nothing is booked.
    NotPlaced,
    /// A first sample that is more than can have been gained since the scrape before. Nothing is booked.
    TooMuch,
    /// A first sample of a counter, or a process, that is older than the scrape before. Nothing is booked.
    Older,
    /// It fell, and nothing says why: it waits for the next samples. Nothing is booked.
    Fell,
    /// It fell and stayed low: it counts on from there. What it had when it fell is not booked.
    Lowered,
    /// It was away and holds more than a new process can have. Nothing is booked.
    SetAnew,
    /// The sample is negative or no number. Nothing is booked, and the next one bridges it.
    NotANumber,
    /// The sample is too large to count by ones. Nothing is known of its slice.
    TooLarge,
    /// It was left out of some scrapes of its target, fell to what can have happened since the last of them, and stayed low:
    /// its exporter had forgotten it, and its value was counted since.
    Forgotten,
}

impl Reason {
    /// A first sample, or a new value, that could not be booked and may have held events: counts are a little low.
    pub fn is_doubt(self) -> bool {
        matches!(self, Reason::NotPlaced | Reason::TooMuch | Reason::Older | Reason::Lowered | Reason::SetAnew)
    }

    /// What it means, for people.
    pub fn says(self) -> &'static str {
        match self {
            Reason::Rose => "it rose from one sample to the next",
            Reason::Bridged => "it rose while nothing was scraped, or while it was hidden",
            Reason::Recovered => "it is as high again as before it fell; what lies between counts",
            Reason::ProcessBegan => "it fell, and its process says that it began anew: the new value counts",
            Reason::TargetAway => {
                "it fell while its target was away, to what a new process can have: the new value counts"
            }
            Reason::MostFell => "it fell as most counters of its target did: the new value counts",
            Reason::ShownAfterRestart => "it was not there while its target began anew: its value counts",
            Reason::Forgotten => "its exporter had left it out for a while and began it anew: its value counts",
            Reason::BornWithProcess => {
                "its first sample, of a process that began since the scrape before: its value counts"
            }
            Reason::YoungTarget => "its first sample, of a new target whose process is young: its value counts",
            Reason::Born => "its first sample, beside older series of its target and small enough: its value counts",
            Reason::Continued => "it goes on from a series that ended, under other labels",
            Reason::First => "reading began with it: it sets the start",
            Reason::NotPlaced => "a first sample that nothing explains: it sets the start, and is doubted",
            Reason::TooMuch => "a first sample too large for one interval: it sets the start, and is doubted",
            Reason::Older => "a first sample of an older counter: it sets the start, and is doubted",
            Reason::Fell => "it fell, and nothing says why: nothing counts until it is back, or stays low",
            Reason::Lowered => "it fell and stayed low: it counts on from there, and what it had is doubted",
            Reason::SetAnew => {
                "it was away and holds more than a new process can have: it sets the start, and is doubted"
            }
            Reason::NotANumber => "the sample is negative or no number: the next one bridges it",
            Reason::TooLarge => "the sample is too large to count by ones: nothing is known of its slice",
        }
    }

    /// Its name in `/metrics` and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rose => "rose",
            Reason::Bridged => "bridged",
            Reason::Recovered => "recovered",
            Reason::ProcessBegan => "process_began",
            Reason::TargetAway => "target_away",
            Reason::MostFell => "most_fell",
            Reason::ShownAfterRestart => "shown_after_restart",
            Reason::Forgotten => "forgotten",
            Reason::BornWithProcess => "born_with_process",
            Reason::YoungTarget => "young_target",
            Reason::Born => "born",
            Reason::Continued => "continued",
            Reason::First => "first",
            Reason::NotPlaced => "not_placed",
            Reason::TooMuch => "too_much",
            Reason::Older => "older",
            Reason::Fell => "fell",
            Reason::Lowered => "lowered",
            Reason::SetAnew => "set_anew",
            Reason::NotANumber => "not_a_number",
            Reason::TooLarge => "too_large",
        }
    }
}
