//! Names of services and SLOs: what may stand in an id, a label and a URL alike.

use super::problem::Code;
use super::reader::{At, Report};

/// Reads a name that becomes part of an id, a metric label and a URL.
pub(crate) fn read(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    let fits = text.len() <= 100
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fits {
        return Some(text.to_string());
    }
    let mut guess: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(100)
        .collect();
    guess = guess.trim_matches(['-', '_', '.']).to_string();
    let shown: String = text.chars().take(60).collect();
    let what = format!(
        "{shown:?} cannot be a name: letters, digits, `-`, `_` and `.`, at most 100, a letter or digit at both ends"
    );
    report.error(at, Code::InvalidName, what).instead = (!guess.is_empty()).then(|| format!("{}: {guess}", at.key()));
    None
}
