//! Ratios of other people's queries: under 0 or over 1 they are none.

use super::*;
use crate::query::promql::request::{foreign_range_s, over_range};
use crate::spec::shown;

/// A day, looked at each five minutes.
const DAY_S: i64 = 86_400;
const EVERY_S: i64 = 300;
/// What rounding leaves, and what windows that do not meet add.
const SLACK: f64 = 0.01;

/// Values of a ratio.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Outside {
    moments: u64,
    under: u64,
    over: u64,
    lowest: f64,
    highest: f64,
}

impl Patient<'_> {
    pub(super) async fn ratios(&self, bad: &str, total: Option<&str>) -> Result<Option<Said>, Fault> {
        let range_s = foreign_range_s(EVERY_S);
        let ratio = match total {
            Some(total) => format!("({}) / ({})", over_range(bad, range_s), over_range(total, range_s)),
            None => over_range(bad, range_s),
        };
        let to_s = self.at_s.div_euclid(EVERY_S) * EVERY_S;
        let answer = self.client.query_range(&ratio, to_s - DAY_S, to_s, EVERY_S).await?;
        let values = answer.series.iter().flat_map(|row| row.samples.iter().map(|(_, value)| value));
        Ok(Outside::of(values).judge())
    }
}

impl Outside {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut seen = Outside::default();
        for value in values.filter(|value| value.is_finite()) {
            seen.moments += 1;
            seen.under += u64::from(value < -SLACK);
            seen.over += u64::from(value > 1.0 + SLACK);
            (seen.lowest, seen.highest) = (seen.lowest.min(value), seen.highest.max(value));
        }
        seen
    }

    fn judge(&self) -> Option<Said> {
        let moments = self.moments;
        let (what, count, worst, advice) = match (self.under, self.over) {
            (0, 0) => return None,
            (under, over) if under >= over => {
                ("negative", under, self.lowest, "the errors are subtracted the wrong way round")
            }
            (_, over) => ("over 1", over, self.highest, "errors and total do not count the same events"),
        };
        let evidence = format!(
            "the error ratio is {what} at {count} of {moments} moments of the last day (down to {})",
            shown(worst)
        );
        let evidence = if what == "over 1" { evidence.replace("down to", "up to") } else { evidence };
        Some((Complaint::RatioOutside, format!("{evidence}: there it is unknown"), Some(advice.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_outside_are_counted() {
        let said = |values: &[f64]| Outside::of(values.iter().copied()).judge().map(|(_, evidence, _)| evidence);
        assert_eq!(said(&[0.0, 0.5, 1.0, 1.005, f64::NAN]), None);
        let negative = said(&[-0.25, -0.5, 0.1]).expect("outside");
        assert!(
            negative.starts_with("the error ratio is negative at 2 of 3 moments of the last day (down to -0.5)"),
            "{negative}"
        );
        assert!(
            said(&[1.5, 0.5]).is_some_and(|over| over.contains("over 1 at 1 of 2 moments of the last day (up to 1.5)"))
        );
    }
}
