//! Texts of callers, made plain before anything is made of them: one form for what looks alike, on one line, without
//! marks that hide or turn text. What is digested, shown, stored and read back is the same text.
//!
//! Deliberately absent: escapes for a medium. Whoever prints a text into a terminal or a chat escapes it there.

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::engine::text::hides;

/// `text` in NFKC, on one line, without control characters and without marks that cannot be seen or change the order of
/// the text around them; blanks that follow each other are one.
pub fn plain(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.contains("  ") {
        return text.trim().to_owned();
    }
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
    let mut out = String::with_capacity(normal.len());
    for c in normal.chars().filter(|c| !hides(*c)) {
        match c.is_whitespace() || c.is_control() {
            true if out.ends_with(' ') || out.is_empty() => {}
            true => out.push(' '),
            false => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether a name is what it looks like: in one form, and without marks that hide.
pub fn is_plain(name: &str) -> bool {
    name.is_ascii() || plain(name) == name
}

/// Whether each word of a name is in one script: Latin letters beside such of other scripts that may look like them are not read
/// as what they are. Scripts that are like no other, as those of East Asia, may stand beside any.
pub fn is_of_one_script(name: &str) -> bool {
    name.split(|c: char| !c.is_alphanumeric()).all(|word| {
        let letters = || word.chars().filter(|c| c.is_alphabetic());
        let latin = |c: &char| c.is_ascii() || matches!(c, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
        let apart = |c: &char| matches!(c, '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..);
        !letters().any(|c| latin(&c)) || letters().all(|c| latin(&c) || apart(&c))
    })
}

/// What a name looks like: names with the same skeleton are mistaken for each other. Case, a leading `@`, and letters of
/// other scripts that look like Latin ones make no difference.
pub fn skeleton(name: &str) -> String {
    let lower = plain(name).to_lowercase();
    let looks: String = lower.strip_prefix('@').unwrap_or(&lower).chars().map(latin).collect();
    looks.replace("rn", "m").replace("vv", "w")
}

/// The Latin letter or digit that a letter looks like.
fn latin(c: char) -> char {
    match c {
        'а' | 'α' | 'ɑ' => 'a',
        'Ь' | 'ь' | 'в' | 'β' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ё' | 'є' | 'ε' => 'e',
        'ɡ' => 'g',
        'һ' | 'н' | 'η' => 'h',
        'і' | 'ї' | 'ι' | 'ı' | 'l' | '1' | '|' | 'ӏ' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'м' | 'μ' => 'm',
        'п' | 'ν' => 'n',
        'о' | 'ο' | 'σ' | '0' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' | 'ꜱ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'ᴢ' => 'z',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_plain_line() {
        for (text, expected) in [
            ("Error rate up.\nRolling back.", "Error rate up. Rolling back."),
            ("a\r\n\t b  c ", "a b c"),
            ("v41\u{202e}04v", "v4104v"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("ﬁne ①", "fine 1"),
            ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
            ("\u{1b}[31mred", "[31mred"),
            ("日本", "日本"),
            ("", ""),
        ] {
            assert_eq!(plain(text).trim_start(), expected.trim_start(), "{text:?}");
            assert_eq!(plain(&plain(text)), plain(text), "{text:?} is plain then");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for other in ["@аda", "@Ada", "ada", "@ADA", "@ada\u{200b}", "@ａda"] {
            assert_eq!(skeleton(other), skeleton("@ada"), "{other:?}");
        }
        assert_eq!(skeleton("bi11"), skeleton("bill"));
        for other in ["@adam", "@bob", "@ad"] {
            assert_ne!(skeleton(other), skeleton("@ada"), "{other:?}");
        }
        assert!(is_plain("@jürgen") && is_plain("@ada") && !is_plain("@ada\u{200b}") && !is_plain("@ａda"));
    }
}
