//! Words of users on their way to people: bounded when they come in, harmless where they go.
//!
//! What is refused: control characters, and those that turn the direction of text or are not seen, with which a text reads
//! otherwise than it is. What is made harmless: `<` and `>`, which call everybody in chats (`<!channel>`) and are markup in
//! HTML and Markdown; and in Markdown what would begin something else.

/// Longest text of a note, bytes.
pub const TEXT_MAX: usize = 1024;

/// Whether a text of a user may be kept.
///
/// # Errors
/// What is wrong with it.
pub fn fit(name: &str, text: &str) -> Result<(), String> {
    match text {
        text if text.trim().is_empty() => Err(format!("{name} is empty")),
        text if text.len() > TEXT_MAX => Err(format!("{name} is longer than {TEXT_MAX} bytes")),
        text if text.chars().any(is_hidden) => {
            Err(format!("{name} holds control characters, or characters that hide or turn text"))
        }
        _ => Ok(()),
    }
}

/// Characters that are not what is read.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{061c}')
}

/// A text for chats and alerts: nothing in it calls anybody or hides anything.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !is_hidden(*c))
        .map(|c| match c {
            '<' => '\u{2039}',
            '>' => '\u{203a}',
            c => c,
        })
        .collect()
}

/// A text within a line of Markdown.
pub fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_hidden(*c)) {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '#' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}
