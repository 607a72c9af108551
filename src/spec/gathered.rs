//! What the documents of all files hold, before it is known whether it fits together.

use super::correction::PlacedCorrection;
use super::import;
use super::policy::PlacedPolicy;
use super::service::PlacedService;

/// Documents of all files, with the index of their file.
#[derive(Default)]
pub(crate) struct Gathered<'a> {
    pub services: Vec<(usize, PlacedService)>,
    pub policies: Vec<(usize, PlacedPolicy)>,
    /// How many presets there are.
    pub presets: usize,
    pub foreign: Vec<import::Document<'a>>,
    pub corrections: Vec<(usize, PlacedCorrection)>,
    /// Documents in folders that nobody reads: the file, and what it is.
    pub passed_over: Vec<(usize, String)>,
    /// A service or a whole file could not be read, so a name that is not there may be in it.
    pub incomplete: bool,
}

impl Gathered<'_> {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        let none = self.services.is_empty() && self.policies.is_empty();
        none && self.presets == 0 && self.foreign.is_empty()
    }
}
