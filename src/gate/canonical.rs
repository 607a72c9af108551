//! One text for one value: JSON in canonical form (RFC 8785), and its SHA-256.
//!
//! Members are sorted by the UTF-16 units of their names, numbers are written as ECMAScript writes them, and only what
//! must be escaped is. So two sides that agree on the value agree on the digest.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// Of a value in canonical form.
    ///
    /// # Errors
    /// When the value has no JSON form: a map whose keys are no texts. A number that is not finite becomes `null`.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        let mut text = String::new();
        write(&serde_json::to_value(value)?, &mut text);
        Ok(Digest::of_bytes(text.as_bytes()))
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&hex(&self.0)).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || format!("{text:?} is no digest: write sha256: and 64 hexadecimal digits");
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(fault)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digit = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high * 16 + low).ok_or_else(fault)?;
        }
        Ok(Digest(bytes))
    }
}

/// 32 bytes as hexadecimal digits, small letters.
pub fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    hex
}

/// `value` in canonical form.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// Appends `value` in canonical form.
pub fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            let mut member = |i, (name, value): (&String, &Value)| {
                if i > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(value, out);
            };
            match is_sorted(members) {
                true => members.iter().enumerate().for_each(|(i, one)| member(i, one)),
                false => sorted(members).into_iter().enumerate().for_each(|(i, one)| member(i, one)),
            }
            out.push('}');
        }
    }
}

/// Whether the order in which the map keeps its members is the canonical one.
fn is_sorted(members: &Map<String, Value>) -> bool {
    members.keys().all(|name| name.is_ascii()) && members.keys().is_sorted()
}

/// The members of an object in canonical order.
pub fn sorted(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    if !is_sorted(members) {
        sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    }
    sorted
}

/// Appends a text with its quotes. serde_json escapes what RFC 8785 wants escaped, and no more.
pub fn write_text(text: &str, out: &mut String) {
    // Nearly every text stands as it is.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    out.push_str(&serde_json::to_string(text).expect("a text is always written"));
}

/// Every whole number up to here is a double.
const EXACT: u64 = 1 << 53;

fn write_number(number: &Number, out: &mut String) {
    match (number.as_i64(), number.as_f64()) {
        // Whole numbers beyond 2^53 are doubles to ECMAScript, so to RFC 8785.
        (Some(whole), _) if whole.unsigned_abs() <= EXACT => {
            write!(out, "{whole}").expect("a text takes whatever is written");
        }
        (_, Some(double)) => write_double(double, out),
        _ => out.push_str("null"),
    }
}

/// A whole number somewhere in `value` that canonical form changes, because no double is equal to it. A record that has
/// one would not say what was meant.
pub fn changed_number(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|whole| whole.unsigned_abs() <= EXACT) => None,
        Value::Number(number) if !number.is_f64() => {
            let mut text = String::new();
            write_number(number, &mut text);
            (text != number.to_string()).then_some(number)
        }
        Value::Array(items) => items.iter().find_map(changed_number),
        Value::Object(members) => members.values().find_map(changed_number),
        _ => None,
    }
}

/// ECMAScript's `Number::toString`. The shortest digits come from serde_json: of two that are equally near it takes the
/// even ones, as RFC 8785 wants it and Rust's own `{:e}` does not.
fn write_double(double: f64, out: &mut String) {
    let text = Number::from_f64(double.abs()).map_or_else(String::new, |number| number.to_string());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    let digits = all.trim_start_matches('0');
    let leading = all.len() - digits.len();
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        out.push('0');
        return;
    }
    let small = |n: usize| i32::try_from(n).expect("a double is written with few digits");
    // The value is 0.DIGITS times ten to the power of `point`.
    let point = exponent.parse::<i32>().expect("an exponent is a whole number") + small(whole.len()) - small(leading);
    let count = small(digits.len());
    if double < 0.0 {
        out.push('-');
    }
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    if (count..=21).contains(&point) {
        out.push_str(digits);
        out.push_str(&zeros(point - count));
    } else if (1..=21).contains(&point) {
        let (whole, part) = digits.split_at(usize::try_from(point).unwrap_or(0));
        out.push_str(&format!("{whole}.{part}"));
    } else if (-5..=0).contains(&point) {
        out.push_str(&format!("0.{}{digits}", zeros(-point)));
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let sign = if point > 0 { '+' } else { '-' };
        out.push_str(&format!("{first}{dot}{rest}e{sign}{}", (point - 1).abs()));
    }
}

#[cfg(test)]
pub(crate) mod tests;
