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
