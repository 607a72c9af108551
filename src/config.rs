//! Daemon settings.
