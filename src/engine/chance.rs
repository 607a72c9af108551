//! The chance guard.
