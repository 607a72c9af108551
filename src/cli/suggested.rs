//! Values that completions offer, while any other is taken as well: names of actions and presets, to which users add their
//! own.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

use crate::gate::action::ActionKind;

/// A parser of any text that knows the usual ones.
#[derive(Debug, Clone, Copy)]
pub struct Suggested(pub fn() -> Vec<&'static str>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(&self, cmd: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// Names of the actions that need no policy to be known.
pub fn action_names() -> Vec<&'static str> {
    ActionKind::NAMES.iter().map(|(name, _)| *name).collect()
}
