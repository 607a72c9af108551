//! Words of others on their way to people: what in them is not what it looks like, and what calls somebody.
//!
//! Names of models, labels and reasons come from who deploys, who asks and who counts. Wherever they are said again they say
//! no more than they show.
//!
//! Deliberately absent: escapes for a medium. HTML, Markdown and tables are escaped where they are written.

/// Marks that cannot be seen, or that change the order or the lines of the text around them.
pub fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Marks that only say how the sign before them looks: emoji have them.
pub fn dresses(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

/// Whether a mark is none that people see: a control, or one that hides or turns.
pub fn is_unseen(c: char) -> bool {
    c.is_control() || hides(c) && !dresses(c)
}

/// A text without what is not seen; lines are one line.
pub fn seen(text: &str) -> String {
    let blank = |c: char| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
    text.chars().map(blank).filter(|c| !is_unseen(*c)).collect()
}

/// A text for chats and alerts: nothing in it calls anybody, is a link by itself, or hides anything.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '<' => '\u{2039}',
        '>' => '\u{203a}',
        c => c,
    };
    seen(text).chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_called_turned_or_hidden() {
        for (text, expected) in [
            ("mixtral", "mixtral"),
            (
                "<!channel> <https://evil.example|ok>",
                "\u{2039}!channel\u{203a} \u{2039}https://evil.example|ok\u{203a}",
            ),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "abcd"),
            ("line\r\nbreak\tand \u{1b}[31mred\u{7}", "line  break and [31mred"),
            ("\u{2028}x\u{e0041}", "x"),
            ("warning \u{26a0}\u{fe0f}", "warning \u{26a0}\u{fe0f}"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
            assert_eq!(plain(&plain(text)), plain(text));
        }
    }
}
