//! What is said of an object in its status: the standing of its newest version, in the words of `slowburn check`.
//!
//! Deliberately absent: writing it. What is there already is not written again, and that is decided here.

use serde_json::{Value, json};

use super::object::Object;

/// Longest message, bytes.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// The condition.
const LOADED: &str = "Loaded";

/// Whether the newest version of an object is in force: one list of reasons for the status, the log and the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is.
    InForce,
    /// It is refused, and the last good version of it stays in force.
    LastGood,
    /// It is refused, and there is no version that could be in force.
    Refused,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 3] = [Standing::InForce, Standing::LastGood, Standing::Refused];

    /// The reason of the condition.
    pub fn reason(self) -> &'static str {
        match self {
            Standing::InForce => "InForce",
            Standing::LastGood => "LastGoodInForce",
            Standing::Refused => "Refused",
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Of its newest version.
    pub standing: Standing,
    /// The generation that is in force, where it is an earlier one.
    pub good: Option<i64>,
    /// What is wrong, or what is to be known of what is in force.
    pub words: Vec<String>,
    /// The service that it is of.
    pub service: Option<String>,
    /// How many SLOs of it are in force.
    pub slos: Option<usize>,
}

impl Verdict {
    /// For people.
    pub fn message(&self) -> String {
        let stands = match (self.standing, self.good) {
            (Standing::InForce, _) if self.words.is_empty() => "This version is in force.".to_owned(),
            (Standing::InForce, _) => "This version is in force, with warnings: ".to_owned(),
            (Standing::LastGood, Some(good)) => format!("Refused; generation {good} stays in force: "),
            (Standing::LastGood, None) => "Refused; the last good version stays in force: ".to_owned(),
            (Standing::Refused, _) => "Refused, and nothing of it is in force: ".to_owned(),
        };
        let mut message = stands;
        for (n, words) in self.words.iter().enumerate() {
            if message.len() + words.len() > MESSAGE_BYTES_MAX && n > 0 {
                message += &format!("; and {} more", self.words.len() - n);
                break;
            }
            message += if n == 0 { "" } else { "; " };
            message.extend(words.chars().take(MESSAGE_BYTES_MAX / 4));
        }
        message
    }

    /// The status that `object` has to get at `now`; `None` where it says the same already.
    pub fn status(&self, object: &Object, now: &str) -> Option<Value> {
        let conditions = object.status["conditions"].as_array().cloned().unwrap_or_default();
        let before = conditions.iter().find(|one| one["type"] == LOADED).cloned().unwrap_or_default();
        let word = if self.standing == Standing::InForce { "True" } else { "False" };
        let since = match before["status"] == word {
            true => before["lastTransitionTime"].clone(),
            false => now.into(),
        };
        let loaded = json!({
            "type": LOADED, "status": word, "observedGeneration": object.generation, "lastTransitionTime": since,
            "reason": self.standing.reason(), "message": self.message(),
        });
        // What others say of it stays.
        let others = conditions.into_iter().filter(|one| one["type"] != LOADED);
        let status = json!({
            "observedGeneration": object.generation,
            "service": self.service,
            "slos": self.slos,
            "conditions": std::iter::once(loaded).chain(others).collect::<Vec<_>>(),
        });
        let same = ["observedGeneration", "service", "slos"].iter().all(|name| object.status[*name] == status[*name])
            && before == status["conditions"][0];
        (!same).then_some(status)
    }
}

#[cfg(test)]
mod tests;
