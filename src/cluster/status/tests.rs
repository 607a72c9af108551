//! What a status says, and when it is written.

use super::*;
use crate::spec::ObjectKey;
use std::sync::Arc;

fn object(generation: i64, status: Value) -> Object {
    let key = ObjectKey { kind: "ServiceLevel".into(), namespace: "shop".into(), name: "checkout".into() };
    Object {
        key: Arc::new(key),
        uid: "u".into(),
        version: "7".into(),
        generation,
        created: String::new(),
        digest: String::new(),
        texts: Vec::new(),
        service: Some("checkout".into()),
        status,
    }
}

fn verdict(standing: Standing, good: Option<i64>, words: &[&str]) -> Verdict {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Verdict { standing, good, words, service: Some("checkout".into()), slos: Some(2) }
}

#[test]
fn what_is_said_is_not_said_again() {
    let good = verdict(Standing::InForce, None, &[]);
    let first = good.status(&object(1, Value::Null), "2026-11-01T00:00:00Z").expect("nothing was said");
    let condition = &first["conditions"][0];
    assert_eq!(
        (&first["observedGeneration"], &first["slos"], &first["service"]),
        (&json!(1), &json!(2), &json!("checkout"))
    );
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("InForce")));
    assert_eq!(good.status(&object(1, first.clone()), "2026-11-02T00:00:00Z"), None);
    // Another generation, in force as well: since when it is loaded does not change.
    let next = good.status(&object(2, first.clone()), "2026-11-02T00:00:00Z").expect("a generation more");
    assert_eq!(next["conditions"][0]["lastTransitionTime"], "2026-11-01T00:00:00Z");
    let bad = verdict(Standing::LastGood, Some(2), &["an objective of 100 has no error budget"]);
    let refused = bad.status(&object(3, next.clone()), "2026-11-03T00:00:00Z").expect("it is refused");
    let condition = &refused["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("LastGoodInForce")));
    assert_eq!(condition["lastTransitionTime"], "2026-11-03T00:00:00Z");
    assert_eq!(condition["message"], "Refused; generation 2 stays in force: an objective of 100 has no error budget");
    assert_eq!(bad.status(&object(3, refused.clone()), "2026-11-04T00:00:00Z"), None);
    // Others may have conditions of their own.
    let mut with_others = refused;
    with_others["conditions"].as_array_mut().expect("a list").push(json!({"type": "Reviewed", "status": "True"}));
    let again = good.status(&object(4, with_others), "2026-11-05T00:00:00Z").expect("it is in force");
    assert_eq!(again["conditions"][1], json!({"type": "Reviewed", "status": "True"}));
}

#[test]
fn a_message_is_bounded_and_says_how_much_is_left_out() {
    let words: Vec<String> = (0..400).map(|n| format!("the fault number {n} of this object")).collect();
    let all: Vec<&str> = words.iter().map(String::as_str).collect();
    let message = verdict(Standing::Refused, None, &all).message();
    assert!(message.len() < MESSAGE_BYTES_MAX + 100, "{}", message.len());
    assert!(message.starts_with("Refused, and nothing of it is in force: the fault number 0"), "{message}");
    assert!(message.contains("; and ") && message.ends_with(" more"), "{message}");
    let long = "x".repeat(100_000);
    assert!(verdict(Standing::Refused, None, &[&long]).message().len() < MESSAGE_BYTES_MAX);
}
