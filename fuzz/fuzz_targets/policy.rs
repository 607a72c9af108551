//! Policies: no text panics the loader, and what it takes without an error is within its bounds and asks people who are
//! named. Seeds: `cargo fuzz run -s none policy tests/configs/good tests/configs/bad`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slowburn::gate::ActionClass;
use slowburn::spec::{Options, load_texts};

const SERVICE: &str = "name: checkout\nowner: a\nslo: {availability: {objective: 99.9, sli: {total: t, bad: b}}}\n";

fuzz_target!(|text: &str| {
    let loaded = load_texts(&[("service.yaml", SERVICE), ("policy.yaml", text)], &Options::default());
    drop(loaded.render(false));
    if loaded.is_fatal() {
        return;
    }
    for policy in &loaded.policies {
        assert!((1..=300).contains(&policy.permit_ttl_s));
        assert!(policy.rate_budgets.iter().all(|budget| budget.max > 0 && budget.per_s > 0));
        assert!(policy.freeze.iter().all(|window| !window.actors.is_empty()));
        for row in &policy.allowed_actions {
            assert_ne!(row.class, Some(ActionClass::Observe));
            assert!(row.quorum > 0 && (!row.require_approval || !row.approvers.is_empty()));
        }
        let _ = policy.digest();
    }
});
