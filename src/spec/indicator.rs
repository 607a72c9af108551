//! Which SLI a key under `slo:` names, and what the key itself says: quantile and unit.

use serde::Serialize;

use super::selector::TimeUnit;

/// What is measured; also the keys of a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Requests that are no errors.
    Availability,
    /// Time of whole requests.
    Latency,
    /// Time to the first byte or token.
    Ttfb,
    /// Time waited for a GPU.
    GpuQueueTime,
    /// Age of features.
    FeatureFreshness,
}

impl Family {
    /// Every family with its word.
    pub const ALL: [(&'static str, Family); 5] = [
        ("availability", Family::Availability),
        ("latency", Family::Latency),
        ("ttfb", Family::Ttfb),
        ("gpu_queue_time", Family::GpuQueueTime),
        ("feature_freshness", Family::FeatureFreshness),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Family::ALL.iter().find(|(_, family)| *family == self).map_or("", |(word, _)| *word)
    }
}

/// A key under `slo:`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Indicator {
    /// A request that is not an error.
    Availability,
    /// A quantile of a time within a bound: `latency_p95_ms` and its like. `per_mille` is 950 for p95.
    Quantile { family: Family, per_mille: u32, unit: TimeUnit },
    /// The age of the oldest feature.
    Freshness { unit: TimeUnit },
}

/// Keys to name when a key is not known.
pub(crate) const EXAMPLES: [&str; 10] = [
    "availability",
    "latency_p95_ms",
    "latency_p99_s",
    "ttfb_p95_ms",
    "ttfb_p95_s",
    "gpu_queue_time_p95_s",
    "gpu_queue_time_p95_ms",
    "feature_freshness_max_delay_s",
    "custom",
    "alert_policies",
];

impl Indicator {
    /// Reads a key; `Err(Some(..))` says what is wrong with one that is nearly right.
    pub fn parse(key: &str) -> Result<Self, Option<String>> {
        if key == "availability" {
            return Ok(Indicator::Availability);
        }
        for (prefix, family) in
            [("latency_p", Family::Latency), ("ttfb_p", Family::Ttfb), ("gpu_queue_time_p", Family::GpuQueueTime)]
        {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let Some((digits, unit)) = rest.rsplit_once('_') else {
                return Err(Some(format!("the key {key:?} does not end in its unit, _ms or _s")));
            };
            let Some(unit) = unit_of(unit) else {
                return Err(Some(format!("the key {key:?} does not end in its unit, _ms or _s")));
            };
            let number = digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            let per_mille = match (digits.len(), number) {
                (2, Some(n @ 50..)) => n * 10,
                (3, Some(n @ 500..)) => n,
                _ => return Err(Some(format!("p{digits} is no quantile from p50 to p999"))),
            };
            return Ok(Indicator::Quantile { family, per_mille, unit });
        }
        if let Some(unit) = key.strip_prefix("feature_freshness_max_delay_").and_then(unit_of) {
            return Ok(Indicator::Freshness { unit });
        }
        Err(None)
    }

    /// The second part of the SLO's id, e.g. `latency-p95`.
    pub fn name(&self) -> String {
        match self {
            Indicator::Availability => "availability".into(),
            Indicator::Quantile { family, per_mille, .. } => {
                format!("{}-p{}", family.as_str().replace('_', "-"), self.digits(*per_mille))
            }
            Indicator::Freshness { .. } => "feature-freshness".into(),
        }
    }

    fn digits(&self, per_mille: u32) -> u32 {
        if per_mille.is_multiple_of(10) { per_mille / 10 } else { per_mille }
    }

    pub fn family(&self) -> Family {
        match self {
            Indicator::Availability => Family::Availability,
            Indicator::Quantile { family, .. } => *family,
            Indicator::Freshness { .. } => Family::FeatureFreshness,
        }
    }

    /// The unit of its bound; availability has none.
    pub fn unit(&self) -> Option<TimeUnit> {
        match self {
            Indicator::Availability => None,
            Indicator::Quantile { unit, .. } | Indicator::Freshness { unit } => Some(*unit),
        }
    }
}

fn unit_of(text: &str) -> Option<TimeUnit> {
    match text {
        "s" => Some(TimeUnit::Seconds),
        "ms" => Some(TimeUnit::Milliseconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_slo() {
        for (key, name) in [
            ("availability", "availability"),
            ("latency_p95_ms", "latency-p95"),
            ("latency_p999_s", "latency-p999"),
            ("latency_p50_s", "latency-p50"),
            ("ttfb_p95_ms", "ttfb-p95"),
            ("gpu_queue_time_p95_s", "gpu-queue-time-p95"),
            ("feature_freshness_max_delay_s", "feature-freshness"),
        ] {
            assert_eq!(Indicator::parse(key).map(|indicator| indicator.name()), Ok(name.to_string()));
        }
        for key in [
            "latency_p95",
            "latency_p49_ms",
            "latency_p100_ms",
            "latency_p9_ms",
            "latency_p95_h",
            "latency_p+5_ms",
            "latency",
            "errors",
        ] {
            assert!(Indicator::parse(key).is_err(), "{key}");
        }
    }
}
