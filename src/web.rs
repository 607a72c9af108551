//! HTTP: API, page, metrics.
