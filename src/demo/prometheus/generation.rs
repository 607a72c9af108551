//! Which Prometheus is simulated: what differs between versions, as far as a client can see it.

/// A version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Generation {
    /// Ranges are closed at both ends, chunks are XOR.
    #[default]
    V2_42,
    /// Ranges are left-open.
    V3_5,
    /// Chunks are XOR2, with the start timestamps of counters in them.
    V3_14,
}

impl Generation {
    /// As `/api/v1/status/buildinfo` says it.
    pub fn version(self) -> &'static str {
        match self {
            Generation::V2_42 => "2.42.0",
            Generation::V3_5 => "3.5.3",
            Generation::V3_14 => "3.14.0",
        }
    }

    pub(super) fn left_open(self) -> bool {
        self != Generation::V2_42
    }

    pub(super) fn stores_starts(self) -> bool {
        self == Generation::V3_14
    }
}

/// How a simulated Prometheus behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Which version it is.
    pub generation: Generation,
    /// Whether `/api/v1/read` answers. Many that speak this API have none.
    pub remote_read: bool,
    /// `warnings` of each answer.
    pub warnings: Vec<String>,
    /// `infos` of each answer; only versions from 2.54 on send any.
    pub infos: Vec<String>,
}
