//! Text for people: escaping of untrusted text, colours, tables, and writing to standard output.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use unicode_width::UnicodeWidthStr as _;

/// One line of text in which nothing can act on a terminal: control characters, line ends and
/// marks that reorder text become `\n`, `\u{1b}`, …
pub(crate) fn inline(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// The same for text of several lines: line feeds and tabs stay.
pub(crate) fn multiline(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let acts = |c: char| (c.is_control() || reorders(c)) && !keep(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Unicode's bidirectional controls, and its line and paragraph separators.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    enabled: bool,
}

impl Palette {
    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { enabled: false }
    }

    /// Colours if this stream is a terminal that has them and nobody said `NO_COLOR`.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            enabled: stream.is_terminal() && !refused && !dumb,
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// How a column of a [`Table`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells in columns, two blanks apart. Cells are escaped; widths are those of a terminal.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

/// One cell: its text, and the way it is painted.
pub(crate) struct Cell {
    text: String,
    paint: fn(Palette, &str) -> String,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: inline(text.as_ref()).into_owned(),
            paint: |_, text| text.to_owned(),
        }
    }
}

impl Cell {
    pub(crate) fn painted(text: impl AsRef<str>, paint: fn(Palette, &str) -> String) -> Self {
        Self {
            paint,
            ..Self::from(text)
        }
    }
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Align>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with at most as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line indented by two blanks and ended by a line feed.
    pub(crate) fn render(&self, palette: Palette) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let blanks = " ".repeat(width - cell.text.width());
                let painted = (cell.paint)(palette, &cell.text);
                line += "  ";
                match align {
                    Align::Left => line.extend([painted, blanks]),
                    Align::Right => line.extend([blanks, painted]),
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Writes to standard output. A reader that went away (`| head`) has what it wanted.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(bytes.as_ref())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes talk to standard error; where nobody listens, it is lost.
pub(crate) fn say(text: impl AsRef<[u8]>) {
    let _ = io::stderr().lock().write_all(text.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_act_on_a_terminal() {
        let cases = [
            ("plain – ünïcode 漢字", "plain – ünïcode 漢字"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("one\ntwo\tthree\r", "one\\ntwo\\tthree\\r"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("bell\u{7}, delete\u{7f}", "bell\\u{7}, delete\\u{7f}"),
            ("evil\u{202e}txt.exe", "evil\\u{202e}txt.exe"),
        ];
        for (text, expected) in cases {
            assert_eq!(inline(text), expected);
        }
        assert_eq!(multiline("one\n\ttwo\r\x1b"), "one\n\ttwo\\r\\u{1b}");
    }

    #[test]
    fn tables_line_up_by_width_on_the_terminal() {
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        table.row(["名前".into(), "7".into(), "wide".into()]);
        table.row(["a".into(), "1234".into(), "".into()]);
        table.row([Cell::painted("bad\x1b", Palette::red), "12".into()]);
        assert_eq!(
            table.render(Palette::plain()),
            "  名前          7  wide\n  a          1234\n  bad\\u{1b}    12\n"
        );
        assert!(
            table
                .render(Palette { enabled: true })
                .contains("\x1b[31mbad\\u{1b}\x1b[0m    12\n")
        );
    }
}
