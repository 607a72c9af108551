//! Bounds of histogram buckets: numbers, however an exporter spells them.

use std::collections::BTreeSet;

/// Relative difference below which two bounds are one: exporters that compute bounds write `0.00015000000000000001`.
const SAME: f64 = 1e-9;

/// Whether two bounds are the same number.
pub fn same_bound(a: f64, b: f64) -> bool {
    a == b || a.is_finite() && b.is_finite() && (a - b).abs() <= SAME * a.abs().max(b.abs())
}

/// `le` as a number; `None` where it is none. `+Inf` is infinite.
pub fn parse_le(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|bound| !bound.is_nan())
}

/// The ways exporters spell a bucket bound: Go (`0.25`, `1`, `1e+06`), Python and Java (`1.0`, `1000000.0`).
pub fn le_spellings(bound: f64) -> Vec<String> {
    let plain = format!("{bound}");
    let mut spellings = BTreeSet::new();
    if bound.is_finite() {
        if !plain.contains('.') {
            spellings.insert(format!("{plain}.0"));
        }
        let exp = format!("{bound:e}");
        if let Some((mantissa, power)) = exp.split_once('e') {
            let (sign, digits) = power.strip_prefix('-').map_or(("+", power), |d| ("-", d));
            if digits.len() > 1 || !(-4..6).contains(&power.parse::<i32>().unwrap_or(0)) {
                spellings.insert(format!("{mantissa}e{sign}{digits:0>2}"));
            }
        }
    }
    spellings.insert(plain);
    spellings.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_spelled_as_exporters_do() {
        assert_eq!(le_spellings(0.25), ["0.25"]);
        assert_eq!(le_spellings(1.0), ["1", "1.0"]);
        assert_eq!(le_spellings(1e6), ["1000000", "1000000.0", "1e+06"]);
        assert!(le_spellings(0.00001).contains(&"1e-05".to_owned()));
    }

    #[test]
    fn bounds_are_the_same_but_for_binary_dust() {
        assert!(same_bound(0.00015, 0.00015000000000000001));
        assert!(!same_bound(1.0, f64::INFINITY) && same_bound(f64::INFINITY, f64::INFINITY));
    }
}
