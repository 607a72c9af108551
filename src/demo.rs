//! Seeded scenarios and a simulated Prometheus.
