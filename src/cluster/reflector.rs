//! A set of objects that follows the API server: what is asked for next, and what is held, from what was heard.
//!
//! It lists in pages and then watches from the version of that list on; a bookmark moves the version along. A version that the
//! server has forgotten (410) begins a new list. What is held changes only by whole lists and by single events: a list that
//! breaks off takes nothing away.
//!
//! Deliberately absent: requests, clocks and chance. Whoever asks hands in what was heard, and a number for the jitter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::object::Object;
use crate::spec::ObjectKey;

/// Objects in a page.
pub const PAGE: usize = 500;
/// Most objects of one kind that are held.
pub const OBJECTS_MAX: usize = 10_000;
/// First wait after a failure; twice as long after each more.
const WAIT_FIRST: Duration = Duration::from_millis(800);
/// Longest wait.
const WAIT_MOST: Duration = Duration::from_secs(30);

/// What to ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// A page of the list.
    Page {
        /// How many objects at most.
        limit: usize,
        /// Where the page before ended.
        continued: Option<String>,
    },
    /// Changes from a version on.
    Watch {
        /// The version.
        from: String,
    },
}

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A page.
    Page {
        /// Its objects.
        objects: Vec<Object>,
        /// The version of the whole list.
        version: String,
        /// Where it goes on; `None`: it was the last page.
        continued: Option<String>,
    },
    /// An object is there, or is another one now.
    Changed(Object),
    /// An object is gone.
    Deleted(Object),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The version or the place in the list is not known any more.
    Expired,
    /// The answer was larger than is read.
    TooLarge,
    /// The watch ended as it should.
    Ended,
    /// There are no objects of this kind: nobody defined it.
    Undefined,
    /// Nothing that can be used; for people.
    Failed(String),
}

/// Why a set may be old.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// For people.
    pub what: String,
    /// Failures since it last went well.
    pub times: u32,
}

enum Phase {
    Lists { found: BTreeMap<Arc<ObjectKey>, Arc<Object>>, continued: Option<String> },
    Watches { from: String },
}

/// The set, and where it stands.
pub struct Reflector {
    held: BTreeMap<Arc<ObjectKey>, Arc<Object>>,
    phase: Phase,
    limit: usize,
    synced: bool,
    fault: Option<Fault>,
}

impl Default for Reflector {
    fn default() -> Self {
        Reflector { held: BTreeMap::new(), phase: Phase::list(), limit: PAGE, synced: false, fault: None }
    }
}

impl Phase {
    fn list() -> Self {
        Phase::Lists { found: BTreeMap::new(), continued: None }
    }
}

impl Reflector {
    /// What to ask for now.
    pub fn next(&self) -> Ask {
        match &self.phase {
            Phase::Lists { continued, .. } => Ask::Page { limit: self.limit, continued: continued.clone() },
            Phase::Watches { from } => Ask::Watch { from: from.clone() },
        }
    }

    /// Takes what was heard. Answers whether what is held is another set now.
    pub fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Page { objects, version, continued } => {
                self.fault = None;
                self.page(objects, version, continued)
            }
            Heard::Changed(object) => {
                self.fault = None;
                self.follow(&object.version);
                if !self.held.contains_key(&object.key) && self.held.len() >= OBJECTS_MAX {
                    return self.fail(over());
                }
                let before = self.held.insert(Arc::clone(&object.key), Arc::new(object.clone()));
                before.is_none_or(|before| *before != object)
            }
            Heard::Deleted(object) => {
                self.fault = None;
                self.follow(&object.version);
                self.held.remove(&object.key).is_some()
            }
            Heard::Bookmark(version) => {
                self.fault = None;
                self.follow(&version);
                false
            }
            Heard::Expired => {
                // The first time at once; a server that forgets what it just said is not asked without end.
                let again = matches!(self.phase, Phase::Lists { .. });
                self.phase = Phase::list();
                if again { self.fail("it forgets its lists while they are read".into()) } else { false }
            }
            Heard::TooLarge if self.limit > 1 && matches!(self.phase, Phase::Lists { .. }) => {
                self.limit = (self.limit / 4).max(1);
                false
            }
            Heard::TooLarge => {
                self.phase = Phase::list();
                self.fail("it sends an object that is larger than any that it keeps".into())
            }
            Heard::Ended => {
                self.fault = None;
                false
            }
            Heard::Undefined => {
                let first = !self.synced;
                // What was held stays: a definition that is taken away by mistake takes no promise with it.
                self.synced |= self.held.is_empty();
                self.phase = Phase::list();
                self.fail("nobody defined this kind there".into());
                first && self.synced
            }
            Heard::Failed(what) => self.fail(what),
        }
    }

    /// How long to wait before asking, where `chance` is from 0 to 1.
    pub fn wait(&self, chance: f64) -> Duration {
        let Some(fault) = &self.fault else { return Duration::ZERO };
        let longest = WAIT_FIRST.saturating_mul(1 << fault.times.saturating_sub(1).min(10)).min(WAIT_MOST);
        // Between half of it and all of it: replicas that failed together do not ask together.
        longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// What is held, by name.
    pub fn objects(&self) -> Vec<Arc<Object>> {
        self.held.values().cloned().collect()
    }

    /// Whether a whole list was read.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Why it may be old.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn page(&mut self, objects: Vec<Object>, version: String, continued: Option<String>) -> bool {
        let Phase::Lists { found, continued: place } = &mut self.phase else { return false };
        let room = OBJECTS_MAX.saturating_sub(found.len());
        let all_fit = objects.len() <= room;
        found.extend(objects.into_iter().take(room).map(|object| (Arc::clone(&object.key), Arc::new(object))));
        if let Some(next) = continued.filter(|_| all_fit) {
            *place = Some(next);
            return false;
        }
        let found = std::mem::take(found);
        let first = !std::mem::replace(&mut self.synced, true);
        let changed = first || found != self.held;
        self.held = found;
        self.phase = Phase::Watches { from: version };
        self.limit = PAGE;
        if !all_fit {
            self.fail(over());
        }
        changed
    }

    fn follow(&mut self, version: &str) {
        if let Phase::Watches { from } = &mut self.phase {
            from.clear();
            from.push_str(version);
        }
    }

    fn fail(&mut self, what: String) -> bool {
        let times = self.fault.as_ref().map_or(0, |fault| fault.times).saturating_add(1);
        self.fault = Some(Fault { what, times });
        false
    }
}

fn over() -> String {
    format!("there are over {OBJECTS_MAX} objects, and the later ones are left out")
}

#[cfg(test)]
mod tests;
