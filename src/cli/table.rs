//! The one printer of tables: columns side by side, or one block a row where the terminal is too narrow for them.

use std::io::IsTerminal;

/// Rows under a head. Cells hold no line breaks.
pub struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(head: [&'static str; N]) -> Self {
        Table { head, rows: Vec::new() }
    }

    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// As it fits the terminal of stdout; side by side where stdout is no terminal.
    pub fn print(&self) -> String {
        let width = match std::io::stdout().is_terminal() {
            true => terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
            false => None,
        };
        self.render(width)
    }

    fn render(&self, width: Option<usize>) -> String {
        let mut widths = self.head.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let whole = widths.iter().sum::<usize>() + 2 * (N - 1);
        if width.is_some_and(|width| width < whole) { self.blocks() } else { self.columns(widths) }
    }

    fn columns(&self, widths: [usize; N]) -> String {
        let line = |cells: [&str; N]| {
            let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        let rows = self.rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
        std::iter::once(line(self.head)).chain(rows).collect()
    }

    /// The first cell as a title (not repeated while it is empty), the others under it with their heads.
    fn blocks(&self) -> String {
        let indent = self.head.iter().skip(1).map(|head| head.len()).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            if !row[0].is_empty() {
                out += &format!("{}\n", row[0]);
            }
            for (head, cell) in self.head.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
                out += &format!("  {head:indent$}  {cell}\n");
            }
        }
        out
    }
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

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let text = "slo             state      burn\na-availability  fast_burn  1h=20.00x\n                ok\n";
        assert_eq!(table().render(None), text);
        assert_eq!(table().render(Some(36)), text);
    }

    #[test]
    fn a_narrow_terminal_gets_one_block_a_row() {
        let text = "a-availability\n  state  fast_burn\n  burn   1h=20.00x\n  state  ok\n";
        assert_eq!(table().render(Some(35)), text);
    }
}
