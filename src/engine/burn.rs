//! Burn rates.
