//! Where a text stops being PromQL: the parser says what it met, and not where.
//!
//! Deliberately absent: a second parser. Looked for are the few slips that people make.

use std::sync::LazyLock;

use regex::Regex;

/// What is wrong with a part of a text.
pub(super) struct Unread {
    pub what: String,
    pub advice: String,
    /// Characters from its start, and how many.
    pub part: (usize, usize),
}

/// The first bracket or quote without its other half: the parser does not say where it stopped.
pub(super) fn unpaired(text: &str) -> Option<Unread> {
    let fault = |at: usize, what: String, advice: &str| Some(Unread { what, advice: advice.into(), part: (at, 1) });
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut quoted: Option<(usize, char)> = None;
    let (mut escaped, mut comment) = (false, false);
    for (at, c) in text.chars().enumerate() {
        match (quoted, c) {
            _ if comment => comment = c != '\n',
            (Some(_), _) if escaped => escaped = false,
            (Some((_, quote)), '\\') if quote != '`' => escaped = true,
            (Some((_, quote)), c) if c == quote => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quoted = Some((at, c)),
            (None, '#') => comment = true,
            (None, '(' | '[' | '{') => open.push((at, c)),
            (None, ')' | ']' | '}') => match open.pop() {
                Some((_, '(')) if c == ')' => {}
                Some((_, '[')) if c == ']' => {}
                Some((_, '{')) if c == '}' => {}
                Some((from, other)) => {
                    return fault(
                        at,
                        format!(
                            "not PromQL: this `{c}` does not close the `{other}` before it, at character {}",
                            from + 1
                        ),
                        "brackets in pairs",
                    );
                }
                None => return fault(at, format!("not PromQL: this `{c}` closes nothing"), "brackets in pairs"),
            },
            (None, _) => {}
        }
    }
    match (quoted, open.last()) {
        (Some((at, quote)), _) => fault(at, format!("not PromQL: this {quote} is never closed"), "a closing quote"),
        (None, Some(&(at, bracket))) => {
            let close = match bracket {
                '(' => ")",
                '[' => "]",
                _ => "}",
            };
            fault(at, format!("not PromQL: this `{bracket}` is never closed"), &format!("a `{close}` where it ends"))
        }
        (None, None) => None,
    }
}

/// A matcher whose value has no quotes, that has no operator, or whose pattern is none: the parser does not say where.
pub(super) fn unquoted(text: &str, said: &str) -> Option<Unread> {
    static MATCHER: LazyLock<Regex> = LazyLock::new(|| {
        // Quoted texts are passed over first; within braces, `name value` and `name = value` are looked for.
        let quoted = r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"#;
        let bare = r"(?<name>[A-Za-z_]\w*)\s*(?<op>=~|!~|!=|=)\s*(?<value>[A-Za-z0-9_./-]+)";
        let joined = r#"[{,]\s*(?<label>[A-Za-z_]\w*)\s*(?<text>"[^"]*")"#;
        Regex::new(&format!("{bare}|{joined}|{quoted}")).expect("a valid pattern")
    });
    let place = |found: regex::Match<'_>| (text[..found.start()].chars().count(), found.as_str().chars().count());
    let one = |what: String, part, advice: String| Some(Unread { what, advice, part });
    if let Some(pattern) = said.strip_prefix("illegal regex for ") {
        let at = text.find(pattern)?;
        let part = (text[..at].chars().count(), pattern.chars().count());
        return one(
            format!("not PromQL: {pattern:?} is no regular expression"),
            part,
            "one of RE2, such as 5..".into(),
        );
    }
    // Outside of braces the same letters are comparisons.
    let inside = |at: usize| text[..at].matches('{').count() > text[..at].matches('}').count();
    for found in MATCHER.captures_iter(text) {
        if let (Some(name), Some(op), Some(value)) = (found.name("name"), found.name("op"), found.name("value"))
            && inside(name.start())
        {
            let advice = format!("{}{}\"{}\"", name.as_str(), op.as_str(), value.as_str());
            return one(format!("not PromQL: the value of {} has no quotes", name.as_str()), place(value), advice);
        }
        if let (Some(label), Some(value)) = (found.name("label"), found.name("text")) {
            let advice = format!("{}={}, or =~ for a pattern", label.as_str(), value.as_str());
            return one(format!("not PromQL: no operator after {}", label.as_str()), place(label), advice);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_operator_or_pattern_that_is_wrong_is_pointed_at() {
        let said = |text: &str, error: &str| {
            unquoted(text, error).map(|found| {
                let part: String = text.chars().skip(found.part.0).take(found.part.1).collect();
                (part, found.advice)
            })
        };
        let two = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(said("sum(a{b=\"=c\", job=pay})", ""), two("pay", "job=\"pay\""));
        assert_eq!(said("a{b=\"c\", code\"5..\"}", ""), two("code", "code=\"5..\", or =~ for a pattern"));
        assert_eq!(said("a{code=~\"5[.\"}", "illegal regex for 5[."), two("5[.", "one of RE2, such as 5.."));
        assert_eq!(said("a{x=\"1\"} != bool b", ""), None, "a comparison is no matcher");
        assert_eq!(said("a{x=\"y,z=k\"} +", ""), None, "a quoted text is a text");
    }
}
