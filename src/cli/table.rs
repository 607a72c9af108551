//! The one printer of tables. Columns side by side where they fit; else the last one goes over several lines, then the
//! first one becomes a title above its row, then the last one stands below its row, and at last each cell has a line of its
//! own.

use std::io::IsTerminal;

use crate::engine::text::seen;

/// How wide a page is that goes to no terminal.
const PAGE: usize = 100;
/// The least that is left for a last column that goes over several lines.
const LAST_MIN: usize = 20;

/// Where the last cell of a row stands, and how wide it may be.
#[derive(Clone, Copy)]
enum Last {
    Beside(usize),
    Below(usize),
}

/// How a word is coloured, as numbers of an escape code.
type ColourOf = fn(&str) -> &'static str;

/// Rows under a head. Cells hold no line breaks.
pub struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
    /// A column whose words have colours on a terminal, and the codes of these.
    colours: Option<(usize, ColourOf)>,
}

impl<const N: usize> Table<N> {
    pub fn new(head: [&'static str; N]) -> Self {
        Table { head, rows: Vec::new(), colours: None }
    }

    /// Colours the cells of a column on a terminal: `code` says how.
    pub fn coloured(mut self, column: usize, code: ColourOf) -> Self {
        self.colours = Some((column, code));
        self
    }

    pub fn push(&mut self, row: [String; N]) {
        // Words of others move no cursor and colour nothing.
        self.rows.push(row.map(|cell| seen(&cell)));
    }

    /// As it fits the terminal of stdout; side by side where stdout is no terminal, so that a row is a line.
    pub fn print(&self) -> String {
        self.render(terminal(), super::colour_on(&std::io::stdout()))
    }

    /// As it fits the terminal of stdout, or a page where stdout is none.
    pub fn fitted(&self) -> String {
        self.render(Some(terminal().unwrap_or(PAGE)), super::colour_on(&std::io::stdout()))
    }

    fn render(&self, width: Option<usize>, colour: bool) -> String {
        let mut widths = self.head.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let whole = widths[N - 1];
        let Some(width) = width else { return self.columns(0, &widths, Last::Beside(whole), colour) };
        let pieces = self.rows.iter().flat_map(|row| pieces(&row[N - 1])).map(|(_, piece)| piece.chars().count());
        let least = pieces.max().unwrap_or(0).max(LAST_MIN).min(whole);
        for titles in [0, 1] {
            let before = widths[titles..N - 1].iter().map(|width| width + 2).sum::<usize>() + 2 * titles;
            let left = width.saturating_sub(before);
            if left >= least {
                return self.columns(titles, &widths, Last::Beside(left), colour);
            }
            if titles == 1 && N > 3 && before <= width {
                return self.columns(titles, &widths, Last::Below(width.saturating_sub(4)), colour);
            }
        }
        self.blocks(width, colour)
    }

    /// The columns from `titles` on, which is 0 or 1: the first one stands above its row then, and the others under it.
    fn columns(&self, titles: usize, widths: &[usize; N], last: Last, colour: bool) -> String {
        let mut out = String::new();
        let mut print = |cells: [&str; N], colour: bool| {
            if titles > 0 && !cells[0].is_empty() {
                out += &format!("{}\n", cells[0]);
            }
            let row = |cells: &[&str]| {
                let mut line = "  ".repeat(titles);
                for (column, cell) in cells.iter().enumerate().skip(titles) {
                    line += &self.painted(column, cell, colour);
                    line += &" ".repeat(widths[column] - cell.chars().count() + 2);
                }
                line
            };
            let (whole, blank) = (row(&cells[..N - 1]), row(&[""; N][..N - 1]));
            let (mut before, after, width) = match last {
                Last::Beside(width) => (whole, blank, width),
                Last::Below(width) => {
                    if cells[titles..N - 1].iter().any(|cell| !cell.is_empty()) {
                        out += &format!("{}\n", whole.trim_end());
                    }
                    (" ".repeat(4), " ".repeat(4), width)
                }
            };
            for part in wrapped(cells[N - 1], width) {
                let line = format!("{before}{}", self.painted(N - 1, &part, colour));
                before.clone_from(&after);
                if !(line.trim().is_empty() && matches!(last, Last::Below(_))) {
                    out += &format!("{}\n", line.trim_end());
                }
            }
        };
        print(self.head, false);
        for row in &self.rows {
            print(row.each_ref().map(String::as_str), colour);
        }
        out
    }

    /// The first cell as a title (not repeated while it is empty), the others under it with their heads.
    fn blocks(&self, width: usize, colour: bool) -> String {
        let indent = self.head.iter().skip(1).map(|head| head.len()).max().unwrap_or(0);
        let left = width.saturating_sub(indent + 4).max(LAST_MIN);
        let mut out = String::new();
        for row in &self.rows {
            if !row[0].is_empty() {
                out += &format!("{}\n", row[0]);
            }
            for (column, cell) in row.iter().enumerate().skip(1).filter(|(_, cell)| !cell.is_empty()) {
                let mut head = self.head[column];
                for part in wrapped(cell, left) {
                    out += &format!("  {head:indent$}  {}\n", self.painted(column, &part, colour));
                    head = "";
                }
            }
        }
        out
    }

    fn painted(&self, column: usize, cell: &str, colour: bool) -> String {
        match self.colours {
            Some((own, code)) if own == column && colour && !cell.is_empty() => {
                format!("\x1b[{}m{cell}\x1b[0m", code(cell))
            }
            _ => cell.to_owned(),
        }
    }
}

/// How wide the terminal of stdout is; `None` where stdout is none.
fn terminal() -> Option<usize> {
    let size = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    size.map(|(width, _)| usize::from(width.0))
}

/// Text in lines of at most `width`; a piece that is longer has a line of its own. One empty line where there is no text.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for (blank, piece) in pieces(text) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + blank.len() + piece.chars().count() <= width => {
                *line += &format!("{blank}{piece}");
            }
            _ => lines.push(piece.to_owned()),
        }
    }
    lines
}

/// What is not broken at the end of a line, each with the blank before it: words, which may go on in the next line after a
/// comma or a bar, as selectors do.
fn pieces(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    text.split_whitespace().flat_map(|word| {
        word.split_inclusive([',', '|']).enumerate().map(|(nth, piece)| (if nth == 0 { " " } else { "" }, piece))
    })
}

/// Text in lines that fit the terminal of stdout, or a page where stdout is none, each of them after `indent` blanks.
pub fn paragraph(text: &str, indent: usize) -> String {
    let width = terminal().unwrap_or(PAGE).saturating_sub(indent).max(LAST_MIN);
    wrapped(text, width).iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// `1 error`, `2 errors`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["slo", "state", "burn"]);
        table.push(["a-availability".into(), "fast_burn".into(), "1h=20.00x".into()]);
        table.push([String::new(), "ok".into(), String::new()]);
        table
    }

    fn wide() -> Table<3> {
        let mut table = table();
        table.push(["b".into(), "ok".into(), "5m=0.00x 1h=0.00x 6h=0.00x 1d=0.00x 3d=0.00x".into()]);
        table
    }

    #[test]
    fn words_of_others_move_no_cursor() {
        for word in crate::web::fixture::HOSTILE {
            let mut table = Table::new(["a", "b"]);
            table.push([word.to_owned(), word.to_owned()]);
            let text = table.render(None, false);
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(!text.chars().any(|c| c != '\n' && crate::engine::text::is_unseen(c)), "{text:?}");
        }
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let text = "slo             state      burn\na-availability  fast_burn  1h=20.00x\n                ok\n";
        assert_eq!(table().render(None, false), text);
        assert_eq!(table().render(Some(36), false), text);
    }

    #[test]
    fn the_last_column_goes_over_several_lines() {
        let text = "slo             state      burn\n\
                    a-availability  fast_burn  1h=20.00x\n\
                    \x20               ok\n\
                    b               ok         5m=0.00x 1h=0.00x\n\
                    \x20                          6h=0.00x 1d=0.00x\n\
                    \x20                          3d=0.00x\n";
        assert_eq!(wide().render(Some(47), false), text);
    }

    #[test]
    fn the_first_column_becomes_a_title_where_that_is_too_narrow() {
        let text = "slo\n  state      burn\na-availability\n  fast_burn  1h=20.00x\n  ok\nb\n  \
                    ok         5m=0.00x 1h=0.00x\n             6h=0.00x 1d=0.00x\n             3d=0.00x\n";
        assert_eq!(wide().render(Some(33), false), text);
        assert!(wide().render(Some(46), false).starts_with("slo\n  state      burn\n"));
    }

    #[test]
    fn a_narrow_terminal_gets_one_line_a_cell() {
        let text = "a-availability\n  state  fast_burn\n  burn   1h=20.00x\n  state  ok\n";
        assert_eq!(table().render(Some(21), false), text);
        let narrow = wide().render(Some(32), false);
        assert!(
            narrow.ends_with(
                "b\n  state  ok\n  burn   5m=0.00x 1h=0.00x\n         6h=0.00x 1d=0.00x\n         3d=0.00x\n"
            )
        );
    }

    #[test]
    fn the_last_column_stands_below_its_row_where_nothing_is_left_beside_it() {
        let mut table = Table::new(["slo", "state", "events", "burn"]);
        let burn = "5m=0.00x 1h=0.00x 6h=0.00x";
        table.push(["a".into(), "fast_burn".into(), "86400 (11380 undecided)".into(), burn.into()]);
        table.push([String::new(), "ok".into(), "12".into(), String::new()]);
        let text = "slo\n  state      events\n    burn\na\n  fast_burn  86400 (11380 undecided)\n    \
                    5m=0.00x 1h=0.00x 6h=0.00x\n  ok         12\n";
        assert_eq!(table.render(Some(40), false), text);
        assert!(table.render(Some(40), true).contains("fast_burn  86400"), "no colour where none is asked for");
        assert!(table.render(Some(37), false).starts_with("a\n  state   fast_burn\n"));
    }

    #[test]
    fn a_selector_goes_on_after_a_comma() {
        let selector = "requests_total{job=\"checkout\",code=~\"5..\"} of all";
        assert_eq!(wrapped(selector, 32), ["requests_total{job=\"checkout\",", "code=~\"5..\"} of all"]);
        assert_eq!(wrapped(selector, 60), [selector]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn nothing_is_wider_than_asked_but_for_a_word() {
        for width in 30..120 {
            let text = wide().render(Some(width), false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn colours_are_those_of_words_and_do_not_move_columns() {
        let red = |word: &str| if word == "ok" { "32" } else { "31" };
        let table = table().coloured(1, red);
        assert_eq!(table.render(Some(60), false), self::table().render(Some(60), false));
        let bright = table.render(Some(60), true);
        assert!(
            bright.contains("\x1b[31mfast_burn\x1b[0m  1h=20.00x") && bright.contains("\x1b[32mok\x1b[0m\n"),
            "{bright}"
        );
        assert!(bright.starts_with("slo             state      burn\n"), "the head has no colour: {bright:?}");
        let plain = bright.replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(plain, table.render(Some(60), false));
    }
}
