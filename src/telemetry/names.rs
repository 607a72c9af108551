//! Every metric name, once. `tests/tidy.rs` fails when `rules/` or `dashboards/` use a name that is not here.

/// Polls of a source, by `outcome` (`ok`, `partial`, `failed`). Counter.
pub const POLLS_TOTAL: &str = "slowburn_polls_total";
/// Queries sent to Prometheus, by `kind` (`raw`, `range`, `remote_read`, `discovery`). Counter.
pub const QUERIES_TOTAL: &str = "slowburn_queries_total";
/// Raw samples read from Prometheus. Counter.
pub const SAMPLES_READ_TOTAL: &str = "slowburn_samples_read_total";
/// Bytes of Prometheus answers. Counter.
pub const RESPONSE_BYTES_TOTAL: &str = "slowburn_response_bytes_total";
/// Wall time of a whole poll, seconds. Histogram.
pub const POLL_DURATION_SECONDS: &str = "slowburn_poll_duration_seconds";
/// Age of the newest evaluated slice, seconds. Gauge.
pub const EVALUATION_LAG_SECONDS: &str = "slowburn_evaluation_lag_seconds";
/// Time of the last good poll, Unix seconds. Gauge.
pub const LAST_POLL_TIMESTAMP_SECONDS: &str = "slowburn_last_poll_timestamp_seconds";
/// Notifications, by `integration` and `outcome` (`delivered`, `retried`, `rejected`, `dropped`). Counter.
pub const NOTIFICATIONS_TOTAL: &str = "slowburn_notifications_total";
/// Notifications waiting, by `integration`. Gauge.
pub const NOTIFICATION_QUEUE_LENGTH: &str = "slowburn_notification_queue_length";
