//! Actions that a policy defines itself: `flush-cache`, `failover`. Nothing about them is known elsewhere, so all of it is
//! said: what they are done to, what for, with what, and whether they can be taken back.

use std::collections::BTreeMap;

use super::{rows, short_text};
use crate::gate::action::{ACTION_NAME_BYTES_MAX, ActionName};
use crate::gate::policy::{Bounds, CustomAction};
use crate::gate::request::ARGUMENTS_MAX;
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report};
use crate::spec::tree::Value;

/// What only such an action has.
const KEYS: [&str; 3] = ["resource", "reversible", "arguments"];
/// An argument is no larger, either way: JSON numbers are exact as far as this.
const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// Whether a row defines an action: it has what only those have. A word that is merely misspelt is not one.
pub(super) fn is_one(type_at: Option<&At<'_>>, fields: &mut Fields<'_>) -> bool {
    let says = KEYS.map(|key| fields.get(key).is_some()).contains(&true);
    says && type_at.is_some()
}

/// Reads one.
pub(super) fn read(
    type_at: &At<'_>,
    has_class: bool,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<CustomAction> {
    let text = type_at.text(report)?;
    let name = ActionName::new(text);
    if name.is_none() {
        let what = format!(
            "{text:?} cannot be the name of an action of this policy: small letters, digits and -, a letter first, up to \
             {ACTION_NAME_BYTES_MAX} bytes, and none of those that are known"
        );
        report.error(type_at, Code::InvalidValue, what).write("type: flush-cache");
    }
    if !has_class {
        let what = format!("nobody knows what {text} is for: it needs a class");
        report.error(type_at, Code::MissingKey, what).write("class: risk, or class: mitigate");
    }
    let resource = fields.need(report, "resource", "cache").and_then(|at| kind(&at, report));
    let reversible = fields.need(report, "reversible", "true").and_then(|at| at.flag(report));
    let arguments = fields.get("arguments").map(|at| arguments(&at, report)).unwrap_or_default();
    Some(CustomAction { name: name?, resource: resource?, reversible: reversible?, arguments })
}

/// The kind of a resource: what stands before the `/`.
fn kind(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = short_text(at, report)?;
    if text.is_empty() || text.contains(['/', '*']) || text.contains(char::is_whitespace) {
        let what = format!("{text:?} is no kind of resource: it is what stands before the / of cache/sessions");
        report.error(at, Code::InvalidValue, what).write("resource: cache");
        return None;
    }
    Some(text)
}

fn arguments(at: &At<'_>, report: &mut Report<'_>) -> BTreeMap<String, Bounds> {
    let mut arguments = BTreeMap::new();
    let Value::Map(entries) = &at.node.value else {
        drop(at.map(report));
        return arguments;
    };
    if entries.len() > ARGUMENTS_MAX {
        report.error(at, Code::InvalidValue, format!("over {ARGUMENTS_MAX} arguments"));
        return arguments;
    }
    for (key, node) in entries {
        let name = key.name.as_str();
        if name.is_empty() || name.len() > 64 || name.contains(char::is_whitespace) || name.contains('*') {
            let what = format!("{name:?} cannot be the name of an argument");
            report.error_at(key.place, &at.path, Code::InvalidValue, what).write("percent: {min: 1, max: 20}");
            continue;
        }
        if let Some(bounds) = bounds(&at.child(node, name), report) {
            arguments.insert(name.to_owned(), bounds);
        }
    }
    arguments
}

/// `{min: 1, max: 20}` or `{one_of: [eu, us]}`: an argument without bounds would be whatever the caller likes.
fn bounds(at: &At<'_>, report: &mut Report<'_>) -> Option<Bounds> {
    let mut fields = at.map(report)?;
    let (min_at, max_at, words_at) = (fields.get("min"), fields.get("max"), fields.get("one_of"));
    fields.finish(report);
    match (min_at, max_at, words_at) {
        (Some(min), Some(max), None) => {
            let (least, most) = (whole(&min, report)?, whole(&max, report)?);
            if least > most {
                report.error(&max, Code::InvalidValue, format!("max {most} is under min {least}: nothing would do"));
                return None;
            }
            Some(Bounds::Between(least, most))
        }
        (None, None, Some(at)) => {
            let mut words: Vec<String> = Vec::new();
            for item in rows(&at, report) {
                let Some(word) = short_text(&item, report) else { continue };
                if word.is_empty() || word.contains('*') || word.contains(char::is_whitespace) {
                    report
                        .error(&item, Code::InvalidValue, format!("{word:?} is not one word"))
                        .write("one_of: [eu, us]");
                    continue;
                }
                words.push(word);
            }
            if words.is_empty() {
                report.error(&at, Code::InvalidValue, "no word is named, so none would do").write("one_of: [eu, us]");
                return None;
            }
            Some(Bounds::OneOf(words))
        }
        _ => {
            let what = "an argument has bounds: min and max of a whole number, or one_of a few words";
            report.error(at, Code::MissingKey, what).write("{min: 1, max: 20} or {one_of: [eu, us]}");
            None
        }
    }
}

fn whole(at: &At<'_>, report: &mut Report<'_>) -> Option<i64> {
    let number = at.number(report)?;
    if number.fract() != 0.0 || number.abs() > NUMBER_MAX {
        report.error(at, Code::InvalidValue, format!("{number} is no whole number")).write(format!("{}: 1", at.key()));
        return None;
    }
    Some(number as i64)
}
