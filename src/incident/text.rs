//! Words of users on their way to people: bounded when they come in, harmless where they go.
//!
//! What is refused: control characters, and those that turn the direction of text or are not seen, with which a text reads
//! otherwise than it is. What is made harmless: `<` and `>`, which call everybody in chats (`<!channel>`) and are markup in
//! HTML and Markdown; and in Markdown what would begin something else.

pub use crate::engine::text::plain;
use crate::engine::text::{is_unseen, seen};

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
        text if text.chars().any(is_unseen) => {
            Err(format!("{name} holds control characters, or characters that hide or turn text"))
        }
        _ => Ok(()),
    }
}

/// A text within a line of Markdown.
pub fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in seen(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '#' | '!' | '~' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}
