//! What a sidecar knows of one service: what the fleet's daemon says on one stream, for as long as that can be believed.
//!
//! A process beside a service asks no Prometheus, keeps nothing and decides nothing. It repeats what the fleet's daemon said
//! last, and from two polls of that daemon on without its word it says that nothing is known. So an app may ask as often as
//! it likes, on loopback, and a thousand of them cost the daemon a stream each.
//!
//! | file | what |
//! |---|---|
//! | `wire` | the form of what is said, for both ends, and which of it can be true |
//! | `events` | bytes to events, within bounds |
//! | `standing` | what is known now, and why nothing is |
//! | `source` | the stream: to open it, to read it, to open it again |
//!
//! Deliberately absent: a judgement of its own. A mirror never makes a yes; and two of them need not agree to the second.

mod events;
pub mod source;
pub mod standing;
pub mod wire;

pub use source::Source;
pub use standing::{Mirror, Unknown};
pub use wire::{ServiceState, Signals};
