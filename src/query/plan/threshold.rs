//! How a threshold is read from the buckets that a histogram was found to have.
//!
//! With a bucket at the threshold (`le` compared as a number) the count is exact. Between two bounds nobody knows which
//! events were under it: those between are taken to lie evenly, and the bad ones are between the events above the upper
//! bound, which certainly are, and those above the lower one. Above the largest bound nothing can be said.

use super::known::Known;
use crate::query::bucket::{le_spellings, same_bound};
use crate::query::fetch::Between;
use crate::spec::shown;

/// How a threshold is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// There is a bucket at it, or it is not known which there are: the bound of the bucket.
    At(f64),
    Between(Between),
}

/// What has to be said of an SLO that is read so.
pub(super) fn remark(between: &Between, threshold: f64) -> String {
    let near = match between.lower {
        Some(lower) => format!("those between {} and {}", shown(lower), shown(between.upper)),
        None => format!("those up to {}, its smallest,", shown(between.upper)),
    };
    format!(
        "interpolated: no bucket ends at {}, so of the events {near} {} % count as good; by how much that may be off is \
             said with every count",
        shown(threshold),
        shown((between.share * 1000.0).round() / 10.0),
    )
}

/// Whether it is read as a native histogram: there is one, and no classic one.
pub(super) fn is_native(known: Option<&Known>) -> bool {
    known.is_some_and(|known| known.bounds.is_empty() && known.native.is_some())
}

/// The same of a native histogram, whose bounds are the powers of `2^(2^-schema)`.
fn native_reading(threshold: f64, schema: i32) -> Reading {
    let per_doubling = f64::from(-schema).exp2();
    let bound = |place: f64| (place * per_doubling).exp2();
    let above = (threshold.log2() / per_doubling).ceil();
    let (lower, upper) = (bound(above - 1.0), bound(above));
    match [lower, upper].into_iter().find(|bound| same_bound(*bound, threshold)) {
        Some(bound) => Reading::At(bound),
        None => Reading::Between(Between {
            lower: Some(lower),
            upper,
            share: ((threshold - lower) / (upper - lower)).clamp(0.0, 1.0),
        }),
    }
}

/// How `threshold` is read where `known` is known of the histogram.
pub(super) fn reading(threshold: f64, known: Option<&Known>) -> Result<Reading, String> {
    if let Some(schema) = known.filter(|_| is_native(known)).and_then(|known| known.native) {
        return Ok(native_reading(threshold, schema));
    }
    if let Some((lower, upper)) = known.and_then(|known| known.crooked) {
        return Err(not_cumulative(lower, upper));
    }
    let bounds = known.map_or(&[][..], |known| &known.bounds);
    let Some(&top) = bounds.last() else { return Ok(Reading::At(threshold)) };
    if let Some(&bound) = bounds.iter().find(|bound| same_bound(**bound, threshold)) {
        return Ok(Reading::At(bound));
    }
    let above = bounds.partition_point(|bound| *bound < threshold);
    let Some(&upper) = bounds.get(above) else {
        return Err(format!(
            "the threshold {} is above the largest bucket bound of its histogram, {}: nothing tells how many events took \
             longer; choose {} or less, or give the histogram a bucket at {}",
            shown(threshold),
            shown(top),
            shown(top),
            shown(threshold)
        ));
    };
    let lower = above.checked_sub(1).map(|below| bounds[below]);
    // A time is not negative: the smallest bucket begins at 0.
    let from = lower.unwrap_or(0.0).min(threshold);
    Ok(Reading::Between(Between { lower, upper, share: ((threshold - from) / (upper - from)).clamp(0.0, 1.0) }))
}

/// Why nothing can be read of a histogram of which a lower bucket holds more than a higher one.
fn not_cumulative(lower: f64, upper: f64) -> String {
    format!(
        "the buckets of its histogram are not cumulative: le=\"{}\" holds far more events than le=\"{}\"; whoever exports \
         it has to count each event in every bucket at or above it",
        shown(lower),
        if upper.is_finite() { shown(upper).to_string() } else { "+Inf".into() }
    )
}

/// How exporters spell these bounds: the usual ways, and those that were seen.
pub(super) fn spellings(bound: f64, seen: &[(f64, String)]) -> Vec<String> {
    let mut all = le_spellings(bound);
    for (_, text) in seen.iter().filter(|(own, _)| *own == bound) {
        if !all.contains(text) {
            all.push(text.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bounds: &[f64]) -> Known {
        Known { bounds: bounds.to_vec(), ..Known::default() }
    }

    #[test]
    fn a_threshold_is_at_a_bound_between_two_or_above_all() {
        let of = |threshold, bounds: &[f64]| reading(threshold, Some(&known(bounds)));
        assert_eq!(of(0.5, &[0.25, 0.5, 1.0]), Ok(Reading::At(0.5)));
        assert_eq!(of(0.00015, &[0.00015000000000000001, 1.0]), Ok(Reading::At(0.00015000000000000001)));
        let between = |lower, upper, share| Ok(Reading::Between(Between { lower, upper, share }));
        assert_eq!(of(0.75, &[0.25, 0.5, 1.0]), between(Some(0.5), 1.0, 0.5));
        assert_eq!(of(0.0625, &[0.25, 0.5]), between(None, 0.25, 0.25));
        let refused = of(20.0, &[0.5, 10.0]).expect_err("above all");
        assert!(refused.contains("above the largest bucket bound of its histogram, 10"), "{refused}");
        assert_eq!(of(20.0, &[]), Ok(Reading::At(20.0)), "nothing is known of it");
    }

    #[test]
    fn the_bounds_of_a_native_histogram_are_powers_of_two_and_their_roots() {
        let of = |threshold, schema| reading(threshold, Some(&Known { native: Some(schema), ..Known::default() }));
        assert_eq!(of(0.5, 3), Ok(Reading::At(0.5)));
        assert_eq!(of(4.0, -1), Ok(Reading::At(4.0)));
        for (threshold, schema) in [(0.8, 3), (0.8, 0), (250.0, 5), (1e-4, 8), (3.0, -4)] {
            let Ok(Reading::Between(between)) = of(threshold, schema) else { panic!("{threshold} is no bound") };
            let lower = between.lower.expect("there is always one below");
            assert!(lower < threshold && threshold < between.upper, "{between:?}");
            let ratio = (between.upper / lower).log2();
            assert!((ratio - f64::from(-schema).exp2()).abs() < 1e-9 && (0.0..1.0).contains(&between.share));
        }
        let both = Known { native: Some(3), bounds: vec![0.8], ..Known::default() };
        assert_eq!(reading(0.8, Some(&both)), Ok(Reading::At(0.8)), "the classic one is exact");
    }

    #[test]
    fn unusual_spellings_are_asked_for_where_they_were_seen() {
        let seen = [(0.5, "0.50".to_owned()), (1.0, "1.00".to_owned())];
        assert_eq!(spellings(0.5, &seen), ["0.5", "0.50"]);
        assert_eq!(spellings(1.0, &seen), ["1", "1.0", "1.00"]);
        assert_eq!(spellings(2.5, &seen), ["2.5"]);
    }
}
