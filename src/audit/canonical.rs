//! Canonical JSON (RFC 8785, JCS): one text for one value, so that a hash of it means the value.
//!
//! Keys are sorted by UTF-16 code units, strings are escaped as little as JSON allows, numbers are written as ECMAScript
//! writes them. Deliberately absent: integers that not every reader of JSON can hold (beyond 2^53, and no double). They are
//! refused, for a value that changes on its way is no evidence.

use serde_json::{Map, Number, Value};

/// Integers up to here are the same in every reader of JSON.
const INTEGER_MAX: u64 = 1 << 53;

/// A number that cannot be written without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrepresentable(pub String);

impl std::fmt::Display for Unrepresentable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is beyond the integers that every reader of JSON holds: write it as a string", self.0)
    }
}

impl std::error::Error for Unrepresentable {}

/// Appends the canonical text of `value`.
///
/// # Errors
/// When it holds an integer that a double would change.
pub fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), Unrepresentable> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => return write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (i, (key, value)) in sorted(map).into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(value, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// The members of an object in canonical order.
pub fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<(&String, &Value)> = map.iter().collect();
    if members.iter().all(|(key, _)| key.is_ascii()) {
        members.sort_unstable_by_key(|(key, _)| *key);
    } else {
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    members
}

/// Appends a string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is always written, and a vector takes everything");
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<(), Unrepresentable> {
    let text = number.to_string();
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    let canonical = match magnitude {
        Some(integer) if integer <= INTEGER_MAX => text,
        is_integer => {
            let canonical = number.as_f64().filter(|float| float.is_finite()).map(ecmascript);
            // Large doubles are written without a point, and read back as integers; others would change.
            canonical.filter(|canonical| is_integer.is_none() || *canonical == text).ok_or(Unrepresentable(text))?
        }
    };
    out.extend_from_slice(canonical.as_bytes());
    Ok(())
}

/// `Number::toString` of ECMA-262. The shortest digits come from serde_json, which takes the even one of two that are
/// equally near, as the RFC wants it (Rust's own formatting does not); the layout is ours.
fn ecmascript(float: f64) -> String {
    if float == 0.0 {
        return "0".into();
    }
    let text = Number::from_f64(float.abs()).map_or_else(String::new, |number| number.to_string());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading = (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    // The decimal point stands after the first `point` digits.
    let exponent = exponent.parse::<i32>().expect("an exponent is a whole number") + whole.len() as i32 - leading - 1;
    let (length, point) = (digits.len() as i32, exponent + 1);
    let body = if (length..=21).contains(&point) {
        format!("{digits}{}", "0".repeat((point - length) as usize))
    } else if (1..=21).contains(&point) {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{exponent:+}")
    };
    if float < 0.0 { format!("-{body}") } else { body }
}

#[cfg(test)]
pub(super) mod tests;
