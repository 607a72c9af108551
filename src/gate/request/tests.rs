//! Requests as they come: whatever the bytes, they are read or refused. The bounded twin of the fuzz target `request`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn rollback() -> Value {
    json!({
        "service": "checkout", "action": "rollback", "resource": "deployment/checkout-service", "from_version": "v42",
        "to_version": "v41", "reason": "slo_burn_rate_exceeded", "incident_id": "INC-2025-042", "actor": "orca",
    })
}

fn code(body: &Value) -> Option<ReasonCode> {
    Request::parse(body.to_string().as_bytes()).err().map(|fault| fault.code)
}

/// What was taken reads back to the same, and names one thing each.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(request) = Request::parse(body) else { return Ok(()) };
    let text = serde_json::to_vec(&request).expect("a request has a JSON form");
    let again = Request::parse(&text).map_err(|fault| TestCaseError::fail(fault.what))?;
    prop_assert_eq!((again.digest(), &again), (request.digest(), &request));
    for name in [&request.service, &request.resource] {
        prop_assert!(!name.is_empty() && !name.contains('*') && !name.contains(char::is_whitespace));
    }
    prop_assert!(request.replicas.is_none_or(|replicas| replicas <= REPLICAS_MAX));
    Ok(())
}

#[test]
fn each_mistake_has_its_reason() {
    assert_eq!(code(&rollback()), None);
    let with = |member: &str, value: Value| {
        let mut body = rollback();
        body[member] = value;
        code(&body)
    };
    assert_eq!(with("confirm", true.into()), Some(ReasonCode::UnknownField));
    assert_eq!(with("action", "reboot".into()), Some(ReasonCode::UnknownAction));
    for (member, value) in [
        ("action", json!("scale")),
        ("action", json!(7)),
        ("action", json!("restart")),
        ("replicas", json!(3)),
        ("service", json!(null)),
        ("service", json!("check out")),
        ("resource", json!("checkout-service")),
        ("resource", json!("deployment/*")),
        ("to_version", json!("")),
        ("reason", json!("\u{0007}")),
        ("reason", json!("x".repeat(REASON_BYTES_MAX + 1))),
        ("actor", json!("x".repeat(NAME_BYTES_MAX + 1))),
        ("break_glass", json!("yes")),
    ] {
        assert_eq!(with(member, value.clone()), Some(ReasonCode::MalformedRequest), "{member}: {value}");
    }
    // Twice the same member, wherever it stands.
    let body =
        r#"{"service":"checkout","action":"flush-cache","resource":"cache/a","arguments":{"percent":50,"percent":5}}"#;
    let fault = Request::parse_among(body.as_bytes(), |_| true).expect_err("which of them");
    assert_eq!(fault.code, ReasonCode::MalformedRequest);
    assert!(fault.what.contains("duplicate field `percent`"), "{fault}");
    assert!(Request::parse_among(body.replacen("\"percent\":50,", "", 1).as_bytes(), |_| true).is_ok());
    for (json, fits) in [
        (r#"{"a":1,"b":{"a":[{"a":null},{"a":1.5}]}}"#, true),
        (r#"{"a":1,"b":{"a":[{"c":0,"c":1}]}}"#, false),
        (r#"{"a":1,"\u0061":2}"#, false),
        (r#"[{"a":-1},{"a":true}]"#, true),
        (r#"{"a":1"#, false),
    ] {
        assert_eq!(unambiguous(json.as_bytes()).is_ok(), fits, "{json}");
    }
    // Members in a row, without their names, would be one too for whoever reads it carelessly.
    let row = r#"["checkout","deploy","deployment/checkout",null,"v13",null,null,{},"x",null,null,null,true,null]"#;
    for body in [row, "[]", "null", "\"checkout\"", "7", "", " [ {} ] "] {
        let code = Request::parse(body.as_bytes()).err().map(|fault| fault.code);
        assert_eq!(code, Some(ReasonCode::MalformedRequest), "{body}");
    }
    let doubled = rollback().to_string().replacen('{', "{\"service\":\"search\",", 1);
    assert_eq!(Request::parse(doubled.as_bytes()).err().map(|fault| fault.code), Some(ReasonCode::MalformedRequest));
    let long = format!("{}{}", rollback(), " ".repeat(REQUEST_BYTES_MAX));
    assert_eq!(Request::parse(long.as_bytes()).err().map(|fault| fault.code), Some(ReasonCode::RequestTooLarge));
}

#[test]
fn the_digest_is_of_the_act_and_not_of_who_asks() {
    let parse = |body: &Value| Request::parse(body.to_string().as_bytes()).expect("it is whole");
    let digest = parse(&rollback()).digest();
    for (member, value, same) in [
        ("actor", json!("other"), true),
        ("idempotency_key", json!("again"), true),
        ("to_version", json!("v40"), false),
        ("reason", json!("because"), true),
        ("incident_id", json!("INC-8"), true),
        ("suspected_change", json!("v40"), true),
        ("break_glass", json!(true), false),
        ("service", json!("search"), false),
    ] {
        let mut body = rollback();
        body[member] = value;
        assert_eq!(parse(&body).digest() == digest, same, "{member}");
    }
}

/// A value of any kind, not deep.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["", "*", "scale", "deploy", "deployment/x", "v41", "\u{202e}x", "a b"])
            .prop_map(Value::from),
        Just(json!([])),
        Just(json!({"a": 1})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_the_reader(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body)?;
    }

    #[test]
    fn no_slip_in_a_request_panics_the_reader(
        member in prop::sample::select(vec![
            "service", "action", "resource", "from_version", "to_version", "from_replicas", "replicas", "reason",
            "incident_id", "suspected_change", "actor", "break_glass", "idempotency_key", "other",
        ]),
        value in any_value(),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = rollback();
        body[member] = value;
        let mut bytes = body.to_string().into_bytes();
        check(&bytes)?;
        let at = cut.index(bytes.len());
        bytes[at] = byte;
        check(&bytes)?;
        bytes.truncate(at);
        check(&bytes)?;
    }
}
