use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn of(json: &str) -> String {
    text(&serde_json::from_str::<Value>(json).expect("JSON"))
}

/// The example of RFC 8785, section 3.2.2 and 3.2.3.
#[test]
fn the_example_of_the_rfc_comes_out_as_printed_there() {
    let input = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
        "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(of(input), expected);
}

#[test]
fn members_are_sorted_by_utf16_units() {
    // U+1F600 is d83d de00 in UTF-16, before U+FB33; as scalar values it comes after.
    assert_eq!(
        of("{\"\u{fb33}\":1,\"\u{1f600}\":2,\"a\":3,\"\\r\":4}"),
        "{\"\\r\":4,\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
    );
}

#[test]
fn numbers_are_written_as_ecmascript_does() {
    for (double, expected) in [
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-1.5, "-1.5"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.2345e-7, "1.2345e-7"),
        (0.1, "0.1"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740994.0, "9007199254740994"),
    ] {
        assert_eq!(text(&json!(double)), expected);
    }
    assert_eq!(of("9007199254740993"), "9007199254740992", "doubles are all there is");
    assert_eq!(of("-3"), "-3");
}

#[test]
fn a_digest_reads_back_and_nothing_else_does() {
    let digest = Digest::of_bytes(b"");
    assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
    for bad in ["", "sha256:", "e3b0", &digest.to_string().to_uppercase(), &format!("{digest}0"), "sha256:é"] {
        assert!(Digest::try_from(bad.to_string()).is_err(), "{bad}");
    }
}

/// RFC 8785, appendix B: the bits of a double and its text.
#[test]
fn numbers_are_written_as_the_rfc_lists_them() {
    for (bits, expected) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(text(&json!(f64::from_bits(bits))), expected, "{bits:#x}");
    }
}

#[test]
fn a_whole_number_that_would_be_changed_is_found() {
    for fine in [json!([9_007_199_254_740_992_u64, -5]), json!(9_007_199_254_740_994_u64), json!(1e300)] {
        assert_eq!(changed_number(&fine), None, "{fine}");
    }
    for value in [json!(9_007_199_254_740_993_u64), json!(i64::MIN), json!({"a": [u64::MAX]})] {
        assert!(changed_number(&value).is_some(), "{value}");
    }
}

/// Values of every kind, three deep.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no infinity", |x| x.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The number as it is compared: JSON does not tell 1 from 1.0, nor 0 from -0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        (a, b) => a == b,
    }
}

proptest! {
    #[test]
    fn what_is_read_back_is_the_same_value_and_has_the_same_text(value in value()) {
        let canonical = text(&value);
        let read: Value = serde_json::from_str(&canonical).expect("canonical JSON is JSON");
        prop_assert!(same(&value, &read), "{value} became {read}");
        prop_assert_eq!(text(&read), canonical);
        prop_assert_eq!(changed_number(&read), None);
    }

    #[test]
    fn doubles_are_exact_and_no_longer_than_they_must_be(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let text = text(&json!(float));
        prop_assert_eq!(text.parse::<f64>().expect("a number"), float);
        let digits = |text: &str| {
            let mantissa = text.split('e').next().unwrap_or_default();
            let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
            digits.trim_matches('0').len()
        };
        prop_assert!(digits(&text) <= digits(&format!("{float:e}")), "{text}");
    }
}
