//! What part of the events is bad or good: more than all of them cannot be, and most of them hardly ever are.

use super::*;
use crate::engine::duration::exact;
use crate::query::promql::expr;
use crate::spec::shown;

/// A part may be so much over the whole: the two were scraped at other moments.
const SLACK: f64 = 1.01;
/// Fewer events than this say nothing.
const EVENTS_MIN: f64 = 20.0;
/// More bad events than this share are no promise that anybody makes.
const MOSTLY: f64 = 0.5;

/// Events of the time that was looked at.
#[derive(Debug, Clone, Copy)]
struct Shares {
    total: f64,
    part: f64,
}

impl Patient<'_> {
    pub(super) async fn shares(&self) -> Result<Option<Said>, Fault> {
        let Some(total) = self.part(&["total"]) else { return Ok(None) };
        let Some(part) = self.found.iter().find(|found| ["bad", "good"].contains(&found.part)) else { return Ok(None) };
        if let Some(said) = wider(&total.selector, part) {
            return Ok(Some(said));
        }
        if part.raw_series == 0 {
            return Ok(None);
        }
        let back_s = back_s(total).min(back_s(part));
        let (mut whole, mut own) = (0.0, 0.0);
        for found in self.found.iter().filter(|found| found.raw_series > 0) {
            let sum = match found.part {
                part_of if part_of == part.part => &mut own,
                "total" => &mut whole,
                _ => continue,
            };
            *sum += self
                .number(&expr::call("sum", &expr::over("increase", &found.selector, format_args!("{back_s}s"))))
                .await?;
        }
        let shares = Shares { total: whole, part: own };
        Ok(shares.judge(&total.selector, part, &exact(back_s)))
    }
}

/// A part that holds every series of the total.
fn wider(total: &str, part: &Found) -> Option<Said> {
    let (whole, of) = (Selector::parse(total).ok()?, Selector::parse(&part.selector).ok()?);
    (part.part == "bad" && of.contains(&whole)).then(|| {
        let same = if whole == of { "the same as" } else { "wider than" };
        let evidence = format!("bad, {}, is {same} total, {total}: every event is bad", part.selector);
        let write = (whole != of).then(|| format!("total: '{}', bad: '{total}'", part.selector));
        (Complaint::Swapped, evidence, write)
    })
}

impl Shares {
    fn judge(&self, total: &str, part: &Found, back: &str) -> Option<Said> {
        let (whole, own) = (self.total.round(), self.part.round());
        if whole.max(own) < EVENTS_MIN {
            return None;
        }
        let counts = format!("{own} {} events of {whole} in the last {back}", part.part);
        let is_over = own > whole * SLACK + 5.0;
        match part.part {
            "good" if is_over => Some((
                Complaint::GoodAboveTotal,
                format!("{counts}: {} counts events that {total} does not", part.selector),
                Some("total and good have to count the same events".into()),
            )),
            "bad" if is_over => Some((
                Complaint::BadAboveTotal,
                format!(
                    "{counts}: {} counts events that {total} does not. A slice holds at least its bad events",
                    part.selector
                ),
                Some(format!("where {total} holds the good events alone: good: '{total}', bad: '{}'", part.selector)),
            )),
            "bad" if own > whole * MOSTLY => Some((
                Complaint::MostlyBad,
                format!("{counts}, {} %: are these the good ones?", shown((own / whole * 1000.0).round() / 10.0)),
                Some(format!("good: '{}'", part.selector)),
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: &'static str, selector: &str) -> Found {
        Found { part, selector: selector.into(), raw_series: 1, ..Found::nothing() }
    }

    fn complaint(total: f64, own: f64, which: &'static str) -> Option<Complaint> {
        Shares { total, part: own }.judge("t", &part(which, "p"), "6h").map(|(complaint, ..)| complaint)
    }

    #[test]
    fn no_part_is_over_the_whole() {
        assert_eq!(complaint(1000.0, 1100.0, "good"), Some(Complaint::GoodAboveTotal));
        assert_eq!(complaint(1000.0, 1100.0, "bad"), Some(Complaint::BadAboveTotal));
        assert_eq!(complaint(1000.0, 1004.0, "good"), None);
        assert_eq!(complaint(1000.0, 700.0, "bad"), Some(Complaint::MostlyBad));
        assert_eq!(complaint(1000.0, 30.0, "bad"), None);
        assert_eq!(complaint(3.0, 7.0, "bad"), None, "too few to say");
    }

    #[test]
    fn a_bad_selector_as_wide_as_the_total_is_seen_without_a_server() {
        let swapped = wider("m{code=\"500\"}", &part("bad", "m")).expect("it is wider");
        assert_eq!(swapped.0, Complaint::Swapped);
        assert_eq!(swapped.2.as_deref(), Some("total: 'm', bad: 'm{code=\"500\"}'"));
        assert_eq!(wider("m", &part("bad", "m")).map(|said| said.2), Some(None));
        assert_eq!(wider("m", &part("bad", "m{code=\"500\"}")), None);
        assert_eq!(wider("m{a=\"b\"}", &part("good", "m")), None);
    }
}
