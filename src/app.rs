//! Wiring: one function that owns the daemon's life.
