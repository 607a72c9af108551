//! Counters that fall: how often, how far, whether they come back, and whether their process began anew.

use super::*;
use crate::engine::duration::exact;
use crate::query::RawSeries;
use crate::query::promql::{expr, falls};

/// So many falls an hour are many.
const MANY_AN_HOUR: f64 = 1.0;
/// A fall to under this share of the value, by more than a few events, is no older view of the same counter.
const FAR: f64 = 0.9;
const FEW: f64 = 20.0;
/// A counter that fell to more than so many usual rises did not fall to what a new process has.
const RISES: f64 = 20.0;
/// The time between two looks at a counter whose scrape interval is not known, seconds.
const STEP_S: i64 = 30;

/// What the worst counter of a selector did.
#[derive(Debug, Clone, Copy, PartialEq)]
struct WorstFalls {
    /// Falls of any size.
    all: f64,
    /// Falls by more than a tenth and a few events.
    far: f64,
    /// Far falls to more than a new process can have, after which it stood at the old value or higher at the next scrape.
    returns: f64,
    /// Falls of any size that were seen from one scrape to the next, and those of them after which it stayed low.
    stays: (f64, f64),
    /// How often its process began anew; `None` where nobody says so.
    starts: Option<f64>,
    /// Time that was looked at, seconds.
    back_s: i64,
    /// It has no label of a target: a rule recorded it.
    recorded: bool,
}

/// From here on a float does not hold every whole number.
const COUNTS_MAX: f64 = 9_007_199_254_740_992.0;

impl Patient<'_> {
    /// A counter that cannot go on by ones.
    pub(super) async fn too_large(&self, found: &Found) -> Result<Option<Said>, Fault> {
        let largest = self.number(&expr::call("max", &found.selector)).await?;
        Ok((largest >= COUNTS_MAX).then(|| {
            let evidence =
                format!("{} stands at {largest:e}: over 2^53 a counter does not count by ones", found.selector);
            (Complaint::TooLarge, evidence, Some("restart what counts, or count in larger units".into()))
        }))
    }

    /// What is wrong with a counter that falls.
    pub(super) async fn falls(&self, found: &Found) -> Result<Option<Said>, Fault> {
        let selector = &found.selector;
        let back_s = back_s(found);
        let falls = expr::over("resets", selector, format_args!("{back_s}s"));
        let of_targets = self.ask(&expr::aggregate("max", &self.targets, &falls)).await?;
        let newest = |row: &RawSeries| row.samples.iter().last().map_or(0.0, |(_, falls)| falls);
        let worst = of_targets.series.iter().max_by(|a, b| newest(a).total_cmp(&newest(b)));
        let Some(row) = worst else { return Ok(None) };
        let all = newest(row);
        if all < 1.0 {
            return Ok(None);
        }
        let target: Vec<(String, String)> =
            self.targets.iter().map(|name| (name.clone(), row.label(name).to_owned())).collect();
        let recorded = target.iter().all(|(_, value)| value.is_empty());
        let step_s = found.scrape_s.unwrap_or(STEP_S);
        let own =
            Selector::parse(selector).map_or_else(|_| selector.clone(), |own| narrowed(&own, &self.matchers(&target)));
        let asked = falls::Falls { own: &own, step_s, back_s, far: FAR, few: FEW };
        let far = self.number(&asked.deep()).await?;
        let rise = self.number(&asked.rise()).await?;
        let returns = self.number(&asked.returns(RISES * rise)).await?;
        let stays = (self.number(&asked.seen()).await?, self.number(&asked.low()).await?);
        let starts = falls::starts(&self.matchers(&target), back_s);
        let starts = match recorded {
            true => None,
            false => self.ask(&starts).await?.series.first().and_then(|row| row.samples.iter().last()).map(|(_, n)| n),
        };
        let falls = WorstFalls { all, far, returns, stays, starts, back_s, recorded };
        let named = if recorded { selector.clone() } else { format!("{selector} of {}", self.matchers(&target)) };
        Ok(falls.judge(&named))
    }
}

impl WorstFalls {
    fn judge(&self, named: &str) -> Option<Said> {
        let hours = self.back_s as f64 / 3600.0;
        let an_hour = (self.all / hours * 10.0).round() / 10.0;
        let back = exact(self.back_s);
        let fell = format!("{named} falls {} in {back} ({an_hour} an hour)", times(self.all));
        let starts = match self.starts {
            Some(starts) => format!("its process begins anew {}", times(starts)),
            None => "it does not say when its process began".to_owned(),
        };
        let unexplained = self.far - self.starts.unwrap_or(self.far);
        let comes_back = self.returns >= 3.0
            && self.returns * 5.0 >= self.far
            && self.starts.is_none_or(|starts| self.far - starts > 2.0);
        let restarts = self.stays.0 * 2.0 > self.all && self.stays.1 * 2.0 > self.stays.0;
        let often = self.far.max(self.starts.unwrap_or(0.0).min(self.all)).max(if restarts { self.all } else { 0.0 });
        if self.recorded && !comes_back {
            let write = "read the counters of the processes themselves, or record them by (job, instance)";
            return Some((
                Complaint::SumOfProcesses,
                format!(
                    "{fell} and has no label of a target: a sum over processes falls with each that goes, and cannot be counted"
                ),
                Some(write.into()),
            ));
        }
        if comes_back || unexplained / hours >= MANY_AN_HOUR && unexplained > 2.0 {
            let back = if comes_back { format!(", is back at once {}", times(self.returns)) } else { String::new() };
            return Some((
                Complaint::CounterFlickers,
                format!(
                    "{fell}{back}, and {starts}: several processes behind one address, or two writers of one series?"
                ),
                Some(
                    "give each process an address of its own, or let the client library sum them (multiprocess mode)"
                        .into(),
                ),
            ));
        }
        if often / hours >= MANY_AN_HOUR {
            return Some((
                Complaint::FallsOften,
                format!(
                    "{fell}, and {starts}: a process that restarts takes what it counted since its last scrape with it"
                ),
                self.starts
                    .is_none()
                    .then(|| "expose process_start_time_seconds, so that restarts can be told from faults".into()),
            ));
        }
        let lower = self.all - self.far;
        (lower / hours >= MANY_AN_HOUR).then(|| {
            let what = "a querier that merges replicas hands out older samples, or a counter is read without a lock";
            (Complaint::ReadsLower, format!("{fell}, by little: {what}. It is read across"), None)
        })
    }
}

fn times(n: f64) -> String {
    match n as u64 {
        1 => "once".into(),
        n => format!("{n} times"),
    }
}

/// The selector with more matchers.
fn narrowed(selector: &Selector, matchers: &str) -> String {
    let printed = selector.to_string();
    match printed.strip_suffix('}') {
        Some(open) if open.ends_with('{') => format!("{open}{matchers}}}"),
        Some(open) => format!("{open},{matchers}}}"),
        None => format!("{printed}{{{matchers}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(all: f64, far: f64, returns: f64, starts: Option<f64>) -> WorstFalls {
        WorstFalls { all, far, returns, stays: (0.0, 0.0), starts, back_s: BACK_S, recorded: false }
    }

    fn complaint(falls: WorstFalls) -> Option<Complaint> {
        falls.judge("m").map(|(complaint, ..)| complaint)
    }

    #[test]
    fn what_falls_and_comes_back_flickers_and_what_restarts_restarts() {
        assert_eq!(complaint(falls(180.0, 180.0, 90.0, None)), Some(Complaint::CounterFlickers));
        assert_eq!(complaint(falls(180.0, 180.0, 0.0, Some(0.0))), Some(Complaint::CounterFlickers));
        assert_eq!(complaint(falls(180.0, 180.0, 2.0, Some(178.0))), Some(Complaint::FallsOften));
        assert_eq!(complaint(falls(180.0, 180.0, 2.0, None)), Some(Complaint::FallsOften));
        assert_eq!(complaint(falls(1.0, 1.0, 0.0, None)), None);
        assert_eq!(complaint(falls(1.0, 1.0, 0.0, Some(1.0))), None);
        assert_eq!(complaint(falls(9.0, 0.0, 0.0, Some(0.0))), Some(Complaint::ReadsLower));
        // Restarts so fast that each life is as long as a scrape interval: falls of a tenth.
        assert_eq!(complaint(falls(55.0, 0.0, 0.0, Some(55.0))), Some(Complaint::FallsOften));
        let unsaid = WorstFalls { stays: (55.0, 50.0), ..falls(55.0, 0.0, 0.0, None) };
        assert_eq!(complaint(unsaid), Some(Complaint::FallsOften));
        assert_eq!(complaint(falls(30.0, 30.0, 28.0, Some(30.0))), Some(Complaint::FallsOften));
    }

    #[test]
    fn a_recorded_sum_that_fell_is_none() {
        let one = WorstFalls { recorded: true, ..falls(1.0, 0.0, 0.0, None) };
        assert_eq!(complaint(one), Some(Complaint::SumOfProcesses));
    }

    #[test]
    fn matchers_are_added_to_any_selector() {
        let narrowed = |text: &str| narrowed(&Selector::parse(text).expect("a selector"), "a=\"b\"");
        assert_eq!(narrowed("m"), "m{a=\"b\"}");
        assert_eq!(narrowed("m{c=\"d\"}"), "m{c=\"d\",a=\"b\"}");
    }
}
