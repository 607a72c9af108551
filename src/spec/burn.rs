//! Burn-rate clauses as users write them, `LONG[/SHORT] > THRESHOLD`, and what they resolve to.
//!
//! A threshold is a factor (`14.4x`), a share of the budget spent in LONG (`2%`, SRE Workbook ch. 5) or the time in
//! which the whole budget would be gone (`14d`). All three become a factor once the SLO's window is known.
//! Whether a factor can fire at all depends on the budget: no error ratio is over 1.

use crate::engine::{BurnClause, Speed};

use super::duration::TimeSpan;

/// A clause before it meets an SLO.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    pub long: TimeSpan,
    /// LONG / 12 where it is left out.
    pub short: Option<TimeSpan>,
    pub threshold: Threshold,
    pub text: String,
}

/// The right side of a clause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Threshold {
    /// `14.4x`: burn rate.
    Factor(f64),
    /// `2%`: share of the budget spent within LONG, as a ratio.
    BudgetShare(f64),
    /// `14d`: the budget would be gone in less.
    GoneIn(TimeSpan),
}

/// What is wrong with a clause, and which characters of it are meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClauseFault {
    pub from: usize,
    pub length: usize,
    pub what: String,
    pub instead: Option<String>,
}

/// Why a well-formed clause does not fit an SLO.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Misfit {
    /// Refused.
    Error { what: String, instead: Option<String> },
    /// It could not fire: refused where the user wrote it, left out where it is a default.
    NeverFires { what: String, instead: String },
}

const FORM: &str = "1h/5m > 14.4x, 1h > 2% or 1h > 14d";
const CLAUSE_CHARS_MAX: usize = 200;

/// A part of the clause with its position in characters.
#[derive(Clone, Copy)]
struct ClausePart<'t> {
    text: &'t str,
    from: usize,
}

impl<'t> ClausePart<'t> {
    fn trim(self) -> ClausePart<'t> {
        let skipped = self.text.chars().take_while(|c| c.is_whitespace()).count();
        ClausePart { text: self.text.trim(), from: self.from + skipped }
    }

    /// The parts before and after `mark`, a single character.
    fn split(self, mark: char) -> Option<(ClausePart<'t>, ClausePart<'t>)> {
        let at = self.text.find(mark)?;
        let (before, after) = (&self.text[..at], &self.text[at + mark.len_utf8()..]);
        let from = self.from + before.chars().count() + 1;
        Some((ClausePart { text: before, from: self.from }.trim(), ClausePart { text: after, from }.trim()))
    }

    fn fault(self, what: impl Into<String>, instead: Option<String>) -> ClauseFault {
        ClauseFault { from: self.from, length: self.text.chars().count().max(1), what: what.into(), instead }
    }

    fn span(self) -> Result<TimeSpan, ClauseFault> {
        TimeSpan::parse(self.text).map_err(|fault| self.fault(fault.what, fault.instead))
    }
}

/// Reads a clause.
pub(crate) fn parse(text: &str) -> Result<Clause, ClauseFault> {
    let whole = ClausePart { text, from: 0 }.trim();
    if text.chars().count() > CLAUSE_CHARS_MAX {
        return Err(whole.fault(format!("a burn clause of over {CLAUSE_CHARS_MAX} characters"), Some(FORM.into())));
    }
    let Some((windows, threshold)) = whole.split('>') else {
        return Err(whole.fault(format!("{:?} has no `>`", whole.text), Some(FORM.into())));
    };
    if let Some(rest) = threshold.text.strip_prefix('=') {
        let instead = format!("{} > {}", windows.text, rest.trim());
        return Err(threshold.fault("a clause fires above its threshold: `>=` is not a form of it", Some(instead)));
    }
    if windows.text.is_empty() {
        return Err(whole.fault("the long window before `>` is missing", Some(format!("1h > {}", threshold.text))));
    }
    if threshold.text.is_empty() {
        return Err(whole.fault("the threshold after `>` is missing", Some(format!("{} > 14.4x", windows.text))));
    }
    let (long, short) = match windows.split('/') {
        Some((long, short)) => (long.span()?, Some((short, short.span()?))),
        None => (windows.span()?, None),
    };
    if let Some((part, short)) = short
        && short >= long
    {
        let instead = match short == long {
            true => format!("{long} > {}", threshold.text),
            false => format!("{short}/{long} > {}", threshold.text),
        };
        let what = format!("the short window {short} is not shorter than the long window {long}");
        return Err(part.fault(what, Some(instead)));
    }
    let short = short.map(|(_, span)| span);
    Ok(Clause { long, short, threshold: parse_threshold(threshold)?, text: whole.text.to_string() })
}

fn parse_threshold(part: ClausePart<'_>) -> Result<Threshold, ClauseFault> {
    let number = |digits: &str| digits.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    let positive = |n: f64| match n > 0.0 {
        true => Ok(n),
        false => Err(part.fault(format!("a threshold must be over zero, found {}", part.text), None)),
    };
    if let Some(n) = part.text.strip_suffix(['x', 'X', '×']).and_then(number) {
        return positive(n).map(Threshold::Factor);
    }
    if let Some(n) = part.text.strip_suffix('%').and_then(number) {
        return positive(n).map(|percent| Threshold::BudgetShare(percent / 100.0));
    }
    if let Some(n) = number(part.text) {
        let instead = format!("{n}x (burn rate), {n}% (of the budget) or {n}d (until the budget is gone)");
        return Err(part.fault(format!("the threshold {n} has no unit"), Some(instead)));
    }
    match TimeSpan::parse(part.text) {
        Ok(span) => Ok(Threshold::GoneIn(span)),
        Err(fault) if part.text.starts_with(|c: char| c.is_ascii_digit()) => Err(part.fault(fault.what, fault.instead)),
        Err(_) => {
            let what = format!("{:?} is no threshold", part.text);
            Err(part.fault(what, Some("a burn rate 14.4x, a share of the budget 2%, or a time 14d".into())))
        }
    }
}

impl Clause {
    /// The clause for an SLO of this window and budget, polled every `resolution`.
    pub fn resolve(
        &self,
        speed: Speed,
        window: TimeSpan,
        budget: f64,
        resolution: TimeSpan,
    ) -> Result<BurnClause, Misfit> {
        let (long_s, window_s) = (self.long.seconds(), window.seconds());
        let error = |what: String, instead: Option<String>| Err(Misfit::Error { what, instead });
        if self.long > window {
            let what = format!("the long window {} is longer than the SLO's window {window}", self.long);
            let instead = self.with_windows(window, self.short.filter(|short| *short < window));
            return error(what, Some(instead));
        }
        let short_s = self.short.map_or(long_s / 12, TimeSpan::seconds);
        if short_s < resolution.seconds() {
            let least = TimeSpan::from_seconds(resolution.seconds() * 12).unwrap_or(self.long);
            let (what, instead) = match self.short {
                Some(short) => (
                    format!("the short window {short} is shorter than one slice of {resolution}"),
                    Some(self.with_windows(self.long, Some(resolution))),
                ),
                None => (
                    format!("the short window, {} / 12, is shorter than one slice of {resolution}", self.long),
                    Some(self.with_windows(least, None)),
                ),
            };
            return error(what, instead);
        }
        let factor = self.threshold.factor(window_s as f64, long_s as f64);
        if factor * budget >= 1.0 {
            let what = format!(
                "{:?} can never fire: {}x the error budget of {} % is an error ratio of {} %, and 100 % is the most there is",
                self.text,
                shown(factor),
                shown(budget * 100.0),
                shown(factor * budget * 100.0),
            );
            let instead = format!(
                "{} > {}x, or any burn rate under {}x",
                self.windows(),
                shown(0.5 / budget),
                shown(1.0 / budget)
            );
            return Err(Misfit::NeverFires { what, instead });
        }
        Ok(BurnClause { speed, long_s, short_s, factor, text: self.text.as_str().into() })
    }

    fn windows(&self) -> String {
        match self.short {
            Some(short) => format!("{}/{short}", self.long),
            None => self.long.to_string(),
        }
    }

    fn with_windows(&self, long: TimeSpan, short: Option<TimeSpan>) -> String {
        let clause = Clause { long, short, ..self.clone() };
        let threshold = self.text.split_once('>').map_or("", |(_, threshold)| threshold.trim());
        format!("{} > {threshold}", clause.windows())
    }
}

impl Threshold {
    /// The burn rate it stands for: semantics of the three forms, both lengths in seconds.
    pub fn factor(self, window_s: f64, long_s: f64) -> f64 {
        match self {
            Threshold::Factor(factor) => factor,
            Threshold::BudgetShare(share) => share * window_s / long_s,
            Threshold::GoneIn(span) => window_s / span.seconds() as f64,
        }
    }
}

/// A number for people: at most three decimals, no trailing zeros.
pub(crate) fn shown(number: f64) -> String {
    let decimals = if number.abs() < 0.01 { 6 } else { 3 };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> TimeSpan {
        TimeSpan::parse(text).expect(text)
    }

    fn factor(text: &str, window: &str) -> f64 {
        let clause = parse(text).expect(text);
        clause.threshold.factor(span(window).seconds() as f64, clause.long.seconds() as f64)
    }

    #[test]
    fn all_three_threshold_forms_resolve_to_a_factor() {
        assert_eq!(factor("1h/5m > 14.4x", "30d"), 14.4);
        assert!((factor("1h > 2%", "30d") - 14.4).abs() < 1e-12);
        assert!((factor("1h > 14d", "30d") - 30.0 / 14.0).abs() < 1e-12);
        assert_eq!(factor("6h > 30d", "30d"), 1.0);
    }

    #[test]
    fn the_caret_points_into_the_clause() {
        let fault = |text: &str| parse(text).map(|_| ()).expect_err(text);
        assert_eq!((fault("1h / 5x > 2%").from, fault("1h / 5x > 2%").length), (5, 2));
        assert_eq!((fault("1h > twice").from, fault("1h > twice").length), (5, 5));
        assert_eq!(fault("1h > 14.4").instead.as_deref().map(|s| s.starts_with("14.4x")), Some(true));
        for text in [
            "",
            ">",
            "1h",
            "1h >",
            "> 2%",
            "1h >= 2%",
            "1h/1h > 2%",
            "5m/1h > 2%",
            "1h > 0x",
            "1h > -1x",
            "1M > 2%",
            "1h > NaNx",
            "1h > infx",
            "1h > 1x > 2x",
        ] {
            fault(text);
        }
    }

    #[test]
    fn a_threshold_is_refused_exactly_from_where_it_cannot_fire() {
        let clause = parse("1h/5m > 14.4x").expect("valid");
        let at = |budget: f64| clause.resolve(Speed::Fast, span("30d"), budget, span("30s"));
        assert!(at(0.0694).is_ok());
        assert!(matches!(at(0.0695), Err(Misfit::NeverFires { .. })));
    }

    #[test]
    fn windows_must_fit_the_slo_and_the_slice() {
        let resolve = |text: &str| parse(text).expect(text).resolve(Speed::Slow, span("7d"), 0.001, span("30s"));
        assert_eq!(resolve("6m > 2x").map(|clause| clause.short_s), Ok(30));
        assert!(resolve("5m > 2x").is_err());
        assert!(resolve("1h/10s > 2x").is_err());
        assert!(resolve("8d > 2x").is_err());
    }
}
