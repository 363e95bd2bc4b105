//! The one way to standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{CommandFailure, ErrorKind};

/// Writes lines, JSON and tables.
pub(super) struct Printer<'a>(Box<dyn Write + 'a>);

impl Printer<'_> {
    /// To standard output.
    pub(super) fn stdout() -> Self {
        Self(Box::new(io::stdout()))
    }

    /// To memory.
    #[cfg(test)]
    pub(super) fn to(buffer: &mut Vec<u8>) -> Printer<'_> {
        Printer(Box::new(buffer))
    }

    /// One line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CommandFailure> {
        writeln!(self.0, "{text}").and_then(|()| self.0.flush()).map_err(|error| failure(&error))
    }

    /// One JSON value in one line.
    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CommandFailure> {
        let text = serde_json::to_string(value)
            .map_err(|error| CommandFailure::from_error(ErrorKind::Failed, &error))?;
        self.line(&text)
    }

    /// A table whose columns are as wide as their widest cell; the first row is the heading.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) -> Result<(), CommandFailure> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn failure(error: &io::Error) -> CommandFailure {
    CommandFailure::new(ErrorKind::Failed, format!("standard output: {error}"))
}
