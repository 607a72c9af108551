use crate::engine::*;
use std::collections::BTreeMap;
pub(crate) fn slo(objective: f64) -> Slo {
    Slo {
        id: "checkout-availability".into(),
        service: "checkout".into(),
        name: "availability".into(),
        owner: "team".into(),
        objective,
        window_s: 30 * 86400,
        unit: Unit::Events,
        burn: vec![],
        confidence: Some(1e-3),
        severity: vec![],
        by: vec![],
        annotations: BTreeMap::new(),
    }
}
