//! Objects to rules: which version of each object is in force, and what is said of each.
//!
//! Files are loaded whole or not at all. An object is refused by itself: then its last good version stands in for it, and where
//! there is none, or that does not fit any more, it is left out, and all others go on. Who was in force before comes before
//! who is new, so that nobody takes over a name that another one has.
//!
//! Deliberately absent: the API server. What is judged here is what is held, whoever got it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::object::Object;
use super::status::{Standing, Verdict};
use crate::spec::{Loaded, ObjectKey, ObjectTexts, Options, Problem, Severity, load_with_objects};

/// Rounds in which a refused version makes way for the last good one; after them it makes way for nothing.
const PATIENCE: usize = 6;

/// A version of an object that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Good {
    /// Of which object.
    pub uid: String,
    /// Which version.
    pub generation: i64,
    /// When the object was made.
    pub created: String,
    /// What it holds.
    pub texts: Vec<(String, String)>,
}

/// The last good version of each object.
pub type Goods = BTreeMap<Arc<ObjectKey>, Good>;

/// What came of files and objects.
pub struct Settled {
    /// What was loaded. Where it is fatal, files are, and nothing changes.
    pub loaded: Loaded,
    /// What is said of each object.
    pub verdicts: BTreeMap<Arc<ObjectKey>, Verdict>,
    /// The versions that are in force.
    pub goods: Goods,
}

/// An object while it is judged.
struct Judged<'o> {
    object: &'o Arc<Object>,
    good: Option<&'o Good>,
    standing: Standing,
    /// What was said of its newest version.
    words: Vec<String>,
}

impl Judged<'_> {
    fn texts(&self) -> Option<ObjectTexts> {
        let texts = match self.standing {
            Standing::InForce => &self.object.texts,
            Standing::LastGood => &self.good?.texts,
            Standing::Refused => return None,
        };
        Some(ObjectTexts { key: Arc::clone(&self.object.key), texts: texts.clone() })
    }

    /// Takes what is wrong with the version that was tried.
    fn refuse(&mut self, words: Vec<String>, round: usize) {
        let other = self.good.is_some_and(|good| good.texts != self.object.texts);
        self.standing = match self.standing {
            Standing::InForce if other && round < PATIENCE => Standing::LastGood,
            _ => Standing::Refused,
        };
        if self.words.is_empty() {
            self.words = words;
        }
    }
}

/// Loads files and objects, and judges the objects.
pub fn settle(paths: &[PathBuf], objects: &[Arc<Object>], goods: &Goods, options: &Options) -> Settled {
    let options = Options { may_be_empty: true, ..options.clone() };
    let mut judged: Vec<Judged<'_>> = objects
        .iter()
        .map(|object| {
            let good = goods.get(&object.key).filter(|good| good.uid == object.uid);
            Judged { object, good, standing: Standing::InForce, words: Vec::new() }
        })
        .collect();
    judged.sort_by_cached_key(|one| {
        let rank = match one.good {
            Some(good) if good.texts == one.object.texts => 0,
            Some(_) => 1,
            None => 2,
        };
        (rank, one.object.created.clone(), Arc::clone(&one.object.key))
    });
    let places: HashMap<String, usize> =
        judged.iter().enumerate().map(|(place, one)| (one.object.key.path(), place)).collect();
    for round in 0.. {
        let texts: Vec<ObjectTexts> = judged.iter().filter_map(Judged::texts).collect();
        let loaded = load_with_objects(paths, &texts, &options);
        let (mut faults, mut warnings) = (BTreeMap::new(), BTreeMap::new());
        for problem in &loaded.problems {
            let Some(place) = place_of(&places, &problem.file) else { continue };
            let of = if problem.severity == Severity::Error { &mut faults } else { &mut warnings };
            of.entry(place).or_insert_with(Vec::new).push(words(problem));
        }
        if faults.is_empty() {
            return settled(loaded, &judged, &warnings);
        }
        // Each round at least one object steps back, and none comes forward again.
        for (place, words) in faults {
            judged[place].refuse(words, round);
        }
    }
    unreachable!("objects step back until none is left that is refused")
}

/// The object whose file this is.
fn place_of(places: &HashMap<String, usize>, file: &str) -> Option<usize> {
    let own = || file.rsplit_once('/').and_then(|(object, _)| places.get(object));
    places.get(file).or_else(own).copied()
}

/// What is wrong, and what to write instead.
fn words(problem: &Problem) -> String {
    let instead = problem.instead.as_ref().map(|instead| format!(" (write: {instead})")).unwrap_or_default();
    // Of several files of one object, which.
    let file = match problem.file.split('/').nth(3) {
        Some(file) => format!("{file}:{}:{}: ", problem.line, problem.column),
        None => String::new(),
    };
    format!("{file}{}{instead}", problem.what)
}

fn settled(loaded: Loaded, judged: &[Judged<'_>], warnings: &BTreeMap<usize, Vec<String>>) -> Settled {
    let slos = loaded.model.by_service();
    let (mut verdicts, mut goods) = (BTreeMap::new(), Goods::new());
    for (place, one) in judged.iter().enumerate() {
        let key = Arc::clone(&one.object.key);
        let warnings = warnings.get(&place).cloned().unwrap_or_default();
        let in_force = one.standing != Standing::Refused;
        let counted = key.kind == "ServiceLevel";
        let service = one.object.service.clone();
        let count = service.as_deref().and_then(|name| slos.get(name)).map_or(0, Vec::len);
        let verdict = Verdict {
            standing: one.standing,
            good: one.good.filter(|_| one.standing == Standing::LastGood).map(|good| good.generation),
            words: if one.standing == Standing::InForce { warnings } else { one.words.clone() },
            slos: counted.then_some(if in_force { count } else { 0 }),
            service,
        };
        verdicts.insert(Arc::clone(&key), verdict);
        let good = match one.standing {
            Standing::InForce => Some(Good {
                uid: one.object.uid.clone(),
                generation: one.object.generation,
                created: one.object.created.clone(),
                texts: one.object.texts.clone(),
            }),
            // What does not fit now may fit again when what it needs is back.
            _ => one.good.cloned(),
        };
        goods.extend(good.map(|good| (key, good)));
    }
    Settled { loaded, verdicts, goods }
}

#[cfg(test)]
mod tests;
