//! Tables and labelled lines for people. Pure.

use std::fmt::{self, Write as _};

use crate::plain::escaped;

pub const UNKNOWN: &str = "–";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

#[derive(Debug)]
pub struct Table<const N: usize> {
    aligns: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(head: [(&str, Align); N]) -> Self {
        Self { aligns: head.map(|(_, align)| align), rows: vec![head.map(|(title, _)| title.to_owned())] }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| escaped(&cell).into_owned()));
    }
}

pub fn labelled<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    lines.into_iter().fold(String::new(), |mut text, (label, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<10} {}", escaped(&value));
        text
    })
}

/// The value, or a dash when it is not known.
pub fn known<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In characters: the dash has three bytes.
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
        let widths: Vec<_> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(self.aligns).map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("NAME", Align::Left), ("KEYS", Align::Right), ("WHY", Align::Left)]);
        table.row(["a".into(), known(Some(12_345)), String::new()]);
        table.row(["longer".into(), known(None::<u64>), "x".into()]);
        assert_eq!(table.to_string(), "NAME     KEYS  WHY\na       12345\nlonger      –  x\n");
    }
}
