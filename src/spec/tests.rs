//! Tests of the loader as a whole.

use super::*;

const CHECKOUT: &str = include_str!("../../tests/configs/good/checkout.yaml");

#[test]
fn the_documented_service_loads_exactly_as_printed() {
    let loaded = load_text("checkout.yaml", CHECKOUT);
    println!("{}", loaded.render(false));
    println!("{}", table(&loaded.model.slos.iter().map(explain).collect::<Vec<_>>()));
    assert!(!loaded.is_fatal());
    let ids: Vec<&str> = loaded.model.slos.iter().map(|spec| spec.slo.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "checkout-availability",
            "checkout-feature-freshness",
            "checkout-gpu-queue-time-p95",
            "checkout-latency-p95",
            "checkout-ttfb-p95",
        ]
    );
}
