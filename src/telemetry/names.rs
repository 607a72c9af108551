//! Every metric Slowburn exposes, once: name, kind, unit and HELP text in one table.
//!
//! The doc comment of a row *is* its HELP text, so what rustdoc says and what a scrape says cannot differ.
//! `tests/tidy.rs` fails when `rules/`, `dashboards/` or `deploy/` use a name that is not here.
//!
//! Two writers share the table. What happens in the process (polls, queries, notifications, requests) is counted
//! through the `metrics` crate. What the last evaluation says (`slowburn_slo_*`, `slowburn_alerts_firing`, the lag,
//! build and config) is rendered from the snapshot when it is scraped (`web::exposition`), so a deleted SLO vanishes at
//! once; never set one of those through `metrics`.

use metrics::Unit;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

impl Kind {
    /// The word of the `# TYPE` line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name, unit and `_total` included.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Unit of its values; `Count` where they have none, `Percent` for ratios.
    pub unit: Unit,
    text: &'static str,
}

impl Metric {
    /// HELP text.
    pub fn help(&self) -> &'static str {
        self.text.trim()
    }

    /// The row of `name`.
    pub fn named(name: &str) -> Option<&'static Metric> {
        ALL.iter().find(|metric| metric.name == name)
    }
}

macro_rules! table {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident $unit:ident = $text:literal;)+) => {
        $($(#[doc = $help])+ pub const $name: &str = $text;)+

        /// The whole table.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $text, kind: Kind::$kind, unit: Unit::$unit, text: concat!($($help),+) }),+
        ];
    };
}

table! {
    // Counted while things happen.

    /// Polls of a source, by outcome (ok, partial: something was not answered or is in doubt, failed: nothing was answered).
    POLLS_TOTAL: Counter Count = "slowburn_polls_total";
    /// Queries sent to Prometheus, by kind (poll, history, survey).
    QUERIES_TOTAL: Counter Count = "slowburn_queries_total";
    /// Queries of polls that Prometheus did not answer, by code (unreachable, timeout, http_status, not_an_answer, refused, too_large).
    QUERY_FAULTS_TOTAL: Counter Count = "slowburn_query_faults_total";
    /// First samples and new values of counters that only set a start, for nothing says what they are worth, by reason (not_placed, too_much, older, lowered, set_anew).
    UNPLACED_SAMPLES_TOTAL: Counter Count = "slowburn_unplaced_samples_total";
    /// Decisions of the gate, by service, action and answer (allow, needs_approval, deny).
    DECISIONS_TOTAL: Counter Count = "slowburn_decisions_total";
    /// Reasons that decisions were not a plain allow for, by code.
    DECISION_REASONS_TOTAL: Counter Count = "slowburn_decision_reasons_total";
    /// Permits that were presented, by answer.
    PERMITS_REDEEMED_TOTAL: Counter Count = "slowburn_permits_redeemed_total";
    /// Acts that were judged, by outcome (improved, no_effect, worse, inconclusive, not_applied).
    VERDICTS_TOTAL: Counter Count = "slowburn_verdicts_total";
    /// Requests whose sender could not be told, by reason (missing, unknown, malformed, unavailable, too_fast, not_configured).
    AUTH_FAILURES_TOTAL: Counter Count = "slowburn_auth_failures_total";
    /// Sign-ins of people that came back from the issuer, by result (signed_in, stale, unavailable, refused, unknown).
    SIGN_INS_TOTAL: Counter Count = "slowburn_auth_sign_ins_total";
    /// Raw samples read from Prometheus.
    SAMPLES_READ_TOTAL: Counter Count = "slowburn_samples_read_total";
    /// Bytes of answers from Prometheus.
    RESPONSE_BYTES_TOTAL: Counter Bytes = "slowburn_response_bytes_total";
    /// Wall time of a whole poll.
    POLL_DURATION_SECONDS: Histogram Seconds = "slowburn_poll_duration_seconds";
    /// Wall time of the stages of a tick, by stage (read, book, evaluate, store, publish, gate).
    TICK_STAGE_DURATION_SECONDS: Histogram Seconds = "slowburn_tick_stage_duration_seconds";
    /// Unix time of the last poll that Prometheus answered, if not in all.
    LAST_POLL_TIMESTAMP_SECONDS: Gauge Seconds = "slowburn_last_poll_timestamp_seconds";
    /// Slices that late samples changed after they were first booked.
    SLICES_CORRECTED_TOTAL: Counter Count = "slowburn_slices_corrected_total";
    /// Writes of the state file that failed.
    STORE_ERRORS_TOTAL: Counter Count = "slowburn_store_errors_total";
    /// Notifications, by integration and outcome (delivered, retried, rejected, dropped).
    NOTIFICATIONS_TOTAL: Counter Count = "slowburn_notifications_total";
    /// Notifications waiting to be sent, by integration.
    NOTIFICATION_QUEUE_LENGTH: Gauge Count = "slowburn_notification_queue_length";
    /// HTTP requests answered, by route and status code.
    HTTP_REQUESTS_TOTAL: Counter Count = "slowburn_http_requests_total";
    /// Calls of gRPC answered, by method and status code.
    GRPC_CALLS_TOTAL: Counter Count = "slowburn_grpc_calls_total";
    /// HTTP connections open now.
    HTTP_CONNECTIONS: Gauge Count = "slowburn_http_connections";
    /// Audit records that are on disk, by kind.
    AUDIT_RECORDS_TOTAL: Counter Count = "slowburn_audit_records_total";
    /// Audit records that were refused, by reason; the gate denies what cannot be recorded.
    AUDIT_REFUSED_TOTAL: Counter Count = "slowburn_audit_refused_total";
    /// Wall time of writing a group of audit records and making it durable.
    AUDIT_SYNC_DURATION_SECONDS: Histogram Seconds = "slowburn_audit_sync_duration_seconds";
    /// Audit records waiting to be written.
    AUDIT_QUEUE_LENGTH: Gauge Count = "slowburn_audit_queue_length";
    /// Whether the audit log can be written (1) or refuses every record (0).
    AUDIT_WRITABLE: Gauge Count = "slowburn_audit_writable";
    /// Whether the audit log was proved complete at the start (1), or machines wait until a person accepts it (0).
    AUDIT_PROVED: Gauge Count = "slowburn_audit_proved";
    /// Objects of the cluster that hold rules, by kind and reason (InForce, LastGoodInForce, Refused).
    CLUSTER_OBJECTS: Gauge Count = "slowburn_cluster_objects";
    /// Whether the objects of a kind are followed (1), or what was held of them last is in force (0), by kind.
    CLUSTER_SYNCED: Gauge Count = "slowburn_cluster_synced";
    /// Requests to the API server that failed, by kind of the objects.
    CLUSTER_FAILURES: Counter Count = "slowburn_cluster_failures_total";
    /// Statuses of objects that were written, by outcome (written, outrun, refused, failed).
    CLUSTER_STATUSES: Counter Count = "slowburn_cluster_statuses_total";
    /// Whether this process decides (1), or follows another one that does (0).
    GATE_LEADER: Gauge Count = "slowburn_gate_leader";
    /// Whether enough witnesses agreed with the audit log when they were asked last (1), or too few did (0).
    AUDIT_WITNESSED: Gauge Count = "slowburn_audit_witnessed";
    /// Unix time of the last signed checkpoint of the audit log.
    AUDIT_LAST_CHECKPOINT_TIMESTAMP_SECONDS: Gauge Seconds = "slowburn_audit_last_checkpoint_timestamp_seconds";
    /// Checkpoints handed to sinks outside the log, by sink (stdout, file, webhook, witness) and outcome (delivered, failed).
    AUDIT_CHECKPOINTS_TOTAL: Counter Count = "slowburn_audit_checkpoints_total";
    /// Share of the audit log's disk that is used.
    AUDIT_DISK_USED_RATIO: Gauge Percent = "slowburn_audit_disk_used_ratio";

    /// Streams from the daemon that a sidecar follows, by outcome: opened, or why one ended or could not be opened.
    MIRROR_STREAMS_TOTAL: Counter Count = "slowburn_mirror_streams_total";

    // Rendered from the snapshot.

    /// Age of the newest evaluated slice; grows when evaluation stops.
    EVALUATION_LAG_SECONDS: Gauge Seconds = "slowburn_evaluation_lag_seconds";
    /// Always 1; the labels say which version runs with which configuration, and where people reach its page.
    BUILD_INFO: Gauge Count = "slowburn_build_info";
    /// Whether the last attempt to load the rules succeeded (1) or the previous ones were kept (0).
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge Count = "slowburn_config_last_reload_successful";
    /// Unix time at which the rules in force were loaded.
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS: Gauge Seconds = "slowburn_config_last_reload_success_timestamp_seconds";
    /// Alerts firing and not inhibited, by severity, sev and kind.
    ALERTS_FIRING: Gauge Count = "slowburn_alerts_firing";
    /// Objective of the SLO: share of good events it promises.
    SLO_OBJECTIVE_RATIO: Gauge Percent = "slowburn_slo_objective_ratio";
    /// Length of the SLO's main window; of a calendar one the nominal length (7, 30, 90 or 365 days). Only with metrics_detail full.
    SLO_WINDOW_SECONDS: Gauge Seconds = "slowburn_slo_window_seconds";
    /// Burn rate that both windows of a clause must exceed to fire, by speed (fast, slow), window and short_window. Only with metrics_detail full.
    SLO_BURN_RATE_THRESHOLD: Gauge Count = "slowburn_slo_burn_rate_threshold";
    /// Burn rate by window (of the policy's long windows; of all with metrics_detail full): 1 spends the whole error budget in exactly one SLO window. Absent without events.
    SLO_BURN_RATE: Gauge Count = "slowburn_slo_burn_rate";
    /// Share of bad events by window. Absent without events. Only with metrics_detail full.
    SLO_ERROR_RATIO: Gauge Percent = "slowburn_slo_error_ratio";
    /// Least and most that the share of bad events can be where it is interpolated between two buckets, by window and bound (least, most). Absent where it is exact. Only with metrics_detail full.
    SLO_ERROR_BOUND_RATIO: Gauge Percent = "slowburn_slo_error_bound_ratio";
    /// Events (or judged slices) in a window, by kind (total, bad): the SLO's own windows; all with metrics_detail full.
    SLO_WINDOW_EVENTS: Gauge Count = "slowburn_slo_window_events";
    /// Share of the error budget of the main window that is left; negative when overspent. Absent when unknown.
    SLO_ERROR_BUDGET_REMAINING_RATIO: Gauge Percent = "slowburn_slo_error_budget_remaining_ratio";
    /// Share of the error budget of each window that is left, by window. Only of SLOs with a calendar window, several windows, a budget reset or an exclusion.
    SLO_WINDOW_BUDGET_REMAINING_RATIO: Gauge Percent = "slowburn_slo_window_budget_remaining_ratio";
    /// The same with everything counted, by window. Only where exclusions leave something out.
    SLO_WINDOW_BUDGET_COUNTING_ALL_RATIO: Gauge Percent = "slowburn_slo_window_budget_counting_all_ratio";
    /// How much of a window exclusions leave out, by window. Only where they do.
    SLO_WINDOW_EXCLUDED_SECONDS: Gauge Seconds = "slowburn_slo_window_excluded_seconds";
    /// Unix time at which the budget of a calendar window begins anew, by window.
    SLO_BUDGET_RESET_TIMESTAMP_SECONDS: Gauge Seconds = "slowburn_slo_budget_reset_timestamp_seconds";
    /// Time until the error budget is spent at the present burn. Absent when nothing burns, nothing is left, or the budget begins anew before. Only with metrics_detail full.
    SLO_EXHAUSTION_SECONDS: Gauge Seconds = "slowburn_slo_exhaustion_seconds";
    /// Share of the SLO window whose slices are known. Only with metrics_detail full.
    SLO_COVERAGE_RATIO: Gauge Percent = "slowburn_slo_coverage_ratio";
    /// Whether a robot may act on the service now, by class (mitigate, risk): 1 yes, 0 no, -1 not known. Only a present 1 means yes.
    SAFE_TO_ACT: Gauge Count = "slowburn_safe_to_act";
    /// Always 1; the label is the state of change the service is in (idle, in_flight, settling, frozen, halted).
    CHANGE_STATE: Gauge Count = "slowburn_change_state";
    /// Always 1, of a sidecar that follows a daemon: the label is why nothing is known (none while something is; not_heard, source_starting, source_silent, source_unreachable, source_refuses, service_unknown, not_understood, too_large).
    MIRROR_STATE: Gauge Count = "slowburn_mirror_state";
    /// Time since the daemon that a sidecar follows said something. Absent before its first word.
    MIRROR_AGE_SECONDS: Gauge Seconds = "slowburn_mirror_age_seconds";
    /// Halts that hold.
    HALTS: Gauge Count = "slowburn_halts";
    /// Approvals that wait for people.
    APPROVALS_PENDING: Gauge Count = "slowburn_approvals_pending";
    /// Always 1; the label is the state the SLO is in (ok, slow_burn, fast_burn, exhausted, unknown).
    SLO_STATE: Gauge Count = "slowburn_slo_state";
    /// Always 1; the labels are the state its data is in (fresh, partial, stale, absent) and, where it is not fresh, the reason.
    SLO_DATA_STATE: Gauge Count = "slowburn_slo_data_state";
    /// Age of the newest sample behind the SLO. Absent when there never was one. Only with metrics_detail full.
    SLO_DATA_AGE_SECONDS: Gauge Seconds = "slowburn_slo_data_age_seconds";
}

/// Hands every row's HELP text and unit to the installed recorder.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help()),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help()),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_unique_and_carries_its_unit() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            let base = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
            assert!(metric.name.starts_with("slowburn_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, base != metric.name, "{}: counters end in _total", metric.name);
            let suffix = match metric.unit {
                Unit::Seconds => "_seconds",
                Unit::Bytes => "_bytes",
                Unit::Percent => "_ratio",
                Unit::Count => "",
                other => panic!("{}: {other:?} is no base unit", metric.name),
            };
            assert!(base.ends_with(suffix), "{} should end in {suffix}", metric.name);
            assert!(metric.help().ends_with('.') && !metric.help().contains('`'), "{}: {}", metric.name, metric.help());
        }
    }
}
