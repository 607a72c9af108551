//! History at a cold start.
