//! PURE: SLIs to PromQL, raw samples to increments.
