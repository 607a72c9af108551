//! What Sloth or Pyrra recorded of an SLO beside what the counts say, and why the two differ.
//!
//! Nothing is guessed: a cause is named with the numbers it was worked out from, and what they do not explain stays
//! unexplained.

pub mod cause;
pub mod evidence;
pub mod gains;
pub mod recorded;
pub mod replay;
