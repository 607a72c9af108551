//! Tests of records: their shape, what of a caller's text is kept, and that a changed line is seen.

use proptest::prelude::*;

use super::*;

fn rollback() -> Record {
    Record {
        resource: Some("deployment/checkout-service".into()),
        from_version: Some("v42".into()),
        to_version: Some("v41".into()),
        reason: Some("slo_burn_rate_exceeded".into()),
        incident_id: Some("INC-2025-042".into()),
        approval: Some(json!({"required": true, "approved_by": "@oncall-sre"})),
        service: Some("checkout".into()),
        decision: Some(json!({"id": "dec_1", "result": "allow"})),
        ..Record::new(Kind::Decision, "ai-operator/orca-ops", "rollback", 1_743_646_401_418)
    }
}

fn line(record: Record) -> String {
    let rendered = render(&record.members("here", 7, Some(&Hash::of(b"6")))).expect("every number fits");
    String::from_utf8(rendered.line).expect("JSON is UTF-8")
}

#[test]
fn the_nine_keys_stand_first_in_every_record() {
    let text = line(rollback());
    let expected = concat!(
        r#"{"actor":"ai-operator/orca-ops","time":"2025-04-03T02:13:21.418Z","action":"rollback","#,
        r#""resource":"deployment/checkout-service","from_version":"v42","to_version":"v41","#,
        r#""reason":"slo_burn_rate_exceeded","incident_id":"INC-2025-042","#,
        r#""approval":{"approved_by":"@oncall-sre","required":true},"#,
        r#""decision":{"id":"dec_1","result":"allow"},"kind":"decision","#,
        r#""log":{"origin":"here","prev":"sha256:"#
    );
    assert!(text.starts_with(expected), "{text}");
    let text = line(Record::new(Kind::Boot, "slowburn", "boot", 0));
    let expected = r#"{"actor":"slowburn","time":"1970-01-01T00:00:00.000Z","action":"boot","resource":null,"from_version":null,"to_version":null,"reason":null,"incident_id":null,"approval":null,"kind":"boot""#;
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn the_leaf_is_the_hash_of_the_canonical_record() {
    let members = rollback().members("here", 0, None);
    let canonical = canonical::text(&Value::Object(members.clone()));
    assert_eq!(render(&members).expect("every number fits").leaf, Hash::leaf(canonical.as_bytes()));
}

#[test]
fn text_of_callers_is_cut_and_cannot_act() {
    let mut record = rollback();
    record.reason = Some(format!("a\u{1b}[31m\nb\u{202e}c{}", "x".repeat(5000)));
    record.event = Some(json!({"Authorization": "Bearer hunter2", "headers": [{"cookie": "hunter2"}], "tokens": 3}));
    let text = line(record);
    assert!(text.contains(r#""reason":"a\\u{1b}[31m\\nb\\u{202e}cxxx"#), "{text}");
    assert!(text.contains("…[3986 more]"), "{text}");
    assert!(!text.contains("hunter2") && text.contains(r#""tokens":3"#), "{text}");
    assert!(text.chars().all(|c| !c.is_control()), "{text}");
}

#[test]
fn what_was_written_is_read_and_every_changed_byte_is_seen() {
    let text = line(rollback());
    let entry = Entry::read(text.as_bytes()).expect("a record");
    assert_eq!((entry.seq, entry.prev), (7, Some(Hash::of(b"6"))));
    assert_eq!(entry.text("decision.id"), Some("dec_1"));
    assert_eq!(entry.time_ms(), Some(1_743_646_401_418));
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let same = Entry::read(&changed).is_ok_and(|changed| changed.leaf == entry.leaf);
        assert!(!same, "byte {at} of {text}");
    }
    for changed in [text.replacen(':', ": ", 1), text.replacen('{', "{\"actor\":\"x\",", 1), format!("{text} ")] {
        assert!(Entry::read(changed.as_bytes()).is_err(), "{changed}");
    }
}

proptest! {
    #[test]
    fn any_record_is_read_back_as_it_was_written(
        actor in any::<String>(), reason in any::<Option<String>>(), event in canonical::tests::value(),
    ) {
        let record = Record { reason, event: Some(event), ..Record::new(Kind::Verdict, actor, "a", 1) };
        let rendered = render(&record.members("here", 3, None)).expect("every number fits");
        let entry = Entry::read(&rendered.line);
        prop_assert!(entry.is_ok(), "{:?}", entry);
        prop_assert_eq!(entry.expect("just looked").leaf, rendered.leaf);
        prop_assert!(!rendered.line.contains(&b'\n'));
    }
}
