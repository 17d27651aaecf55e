//! JSON Lines, or one JSON array of objects.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use crate::EvalError;
use crate::error::{Place, Position};
use crate::fields::Fields;
use crate::rows::RowText;

/// Cuts a text into its rows. Array elements are cut by matching brackets outside strings; whether
/// a row is valid JSON is for its reader to find out.
pub(super) struct JsonRows {
    file: Arc<Path>,
    input: Box<dyn BufRead + Send>,
    /// Bytes consumed so far.
    offset: u64,
    /// The line the next byte stands on.
    line: u64,
    shape: Shape,
}

enum Shape {
    Lines,
    /// A JSON array, of which this many elements were read.
    Array(u64),
}

impl JsonRows {
    /// Skips a byte order mark and blanks, and looks whether an array begins.
    pub(super) fn new(file: Arc<Path>, input: Box<dyn BufRead + Send>) -> Result<Self, EvalError> {
        let mut rows = Self {
            file,
            input,
            offset: 0,
            line: 1,
            shape: Shape::Lines,
        };
        let starts_with_bom = rows.fill()?.starts_with(b"\xef\xbb\xbf");
        if starts_with_bom {
            rows.consume(3);
        }
        if rows.next_visible_byte()? == Some(b'[') {
            rows.consume(1);
            rows.shape = Shape::Array(0);
        }
        Ok(rows)
    }

    pub(super) fn next_row(&mut self) -> Result<Option<RowText>, EvalError> {
        match self.shape {
            Shape::Lines => self.next_line(),
            Shape::Array(done) => self.next_element(done),
        }
    }

    fn next_line(&mut self) -> Result<Option<RowText>, EvalError> {
        loop {
            let (offset, line) = (self.offset, self.line);
            let mut bytes = Vec::new();
            let read = self
                .input
                .read_until(b'\n', &mut bytes)
                .map_err(EvalError::read(&self.file))?;
            if read == 0 {
                return Ok(None);
            }
            self.offset += read as u64;
            self.line += 1;
            if !bytes.trim_ascii().is_empty() {
                bytes.truncate(bytes.trim_ascii_end().len());
                return self.row(bytes, offset, Position::Line(line)).map(Some);
            }
        }
    }

    fn next_element(&mut self, done: u64) -> Result<Option<RowText>, EvalError> {
        let mut byte = self.next_visible_byte()?;
        if byte == Some(b']') {
            self.consume(1);
            return match self.next_visible_byte()? {
                None => Ok(None),
                Some(_) => Err(self.bad(Position::Line(self.line), "text after the array's end")),
            };
        }
        if done > 0 && byte == Some(b',') {
            self.consume(1);
            byte = self.next_visible_byte()?;
        } else if done > 0 && byte.is_some() {
            return Err(self.bad(
                Position::Line(self.line),
                "expected `,` or `]` between elements",
            ));
        }
        let at = Position::Element {
            number: done + 1,
            line: self.line,
        };
        match byte {
            Some(b'{') => {}
            Some(_) => return Err(self.bad(at, "expected an object")),
            None => {
                let at = Position::Line(self.line);
                return Err(self.bad(at, "the file ends before its array does"));
            }
        }
        let offset = self.offset;
        let bytes = self.object(at)?;
        self.shape = Shape::Array(done + 1);
        self.row(bytes, offset, at).map(Some)
    }

    /// Reads from an opening brace to the one that closes it.
    fn object(&mut self, at: Position) -> Result<Vec<u8>, EvalError> {
        let mut bytes = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        loop {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Err(self.bad(at, "the file ends inside this element"));
            }
            let mut taken = 0;
            let mut closed = false;
            for &byte in chunk {
                taken += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    b'{' | b'[' if !in_string => depth += 1,
                    b'}' | b']' if !in_string => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    closed = true;
                    break;
                }
            }
            bytes.extend_from_slice(&chunk[..taken]);
            self.consume(taken);
            if closed {
                return Ok(bytes);
            }
        }
    }

    /// Reads to the end, for the error that may wait there.
    pub(super) fn drain(&mut self) -> Result<(), EvalError> {
        loop {
            let available = self.fill()?.len();
            if available == 0 {
                return Ok(());
            }
            self.consume(available);
        }
    }

    fn row(&self, bytes: Vec<u8>, offset: u64, at: Position) -> Result<RowText, EvalError> {
        let place = Place {
            file: Arc::clone(&self.file),
            at,
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(RowText {
                place,
                text,
                offset,
            }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                Err(EvalError::BadRow {
                    place,
                    reason: format!("not UTF-8 (byte {})", valid + 1),
                })
            }
        }
    }

    /// Skips white space; the byte after it is still to be consumed.
    fn next_visible_byte(&mut self) -> Result<Option<u8>, EvalError> {
        loop {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let blanks = chunk
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let visible = chunk.get(blanks).copied();
            self.consume(blanks);
            if visible.is_some() {
                return Ok(visible);
            }
        }
    }

    fn fill(&mut self) -> Result<&[u8], EvalError> {
        self.input.fill_buf().map_err(EvalError::read(&self.file))
    }

    /// Takes bytes that `fill` has shown.
    fn consume(&mut self, bytes: usize) {
        let lines = match self.input.fill_buf() {
            Ok(chunk) => chunk[..bytes].iter().filter(|&&byte| byte == b'\n').count(),
            Err(_) => 0,
        };
        self.input.consume(bytes);
        self.offset += bytes as u64;
        self.line += lines as u64;
    }

    fn bad(&self, at: Position, reason: &str) -> EvalError {
        let place = Place {
            file: Arc::clone(&self.file),
            at,
        };
        EvalError::BadRow {
            place,
            reason: reason.into(),
        }
    }
}

/// The names of an object's fields.
pub(super) fn field_names(row: &RowText) -> Result<Vec<String>, EvalError> {
    let fields = Fields::parse(&row.text).map_err(|error| error.at(row.place.clone()))?;
    Ok(fields.names().map(str::to_owned).collect())
}
