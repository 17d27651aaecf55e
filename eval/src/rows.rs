//! From a file to row texts, one at a time.
//!
//! Whatever a file is (JSON Lines, one JSON array, parquet; plain, gzip or zstd), its rows come
//! out as JSON object texts with their place, so that every reader above is written once. The kind
//! is told from the first bytes, never from the name. At most one row is held: a line, an array's
//! element, or a parquet row with only the columns that somebody will look at.

mod json;
mod parquet;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use crate::EvalError;
use crate::error::Place;

/// One row as a JSON object in UTF-8.
#[derive(Debug)]
pub(crate) struct RowText {
    pub(crate) place: Place,
    pub(crate) text: String,
    /// Where `text` begins in the unpacked file; nothing meaningful for parquet.
    pub(crate) offset: u64,
}

/// The rows of one file. Ends after its first error: what follows a bad row is not looked at.
pub(crate) struct Rows {
    file: Arc<Path>,
    source: Source,
    origin: Origin,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Memory,
    Plain,
    Packed,
    Parquet,
}

enum Source {
    Json(json::JsonRows),
    Parquet(Box<parquet::ParquetRows>),
}

#[derive(PartialEq)]
enum State {
    NoRowYet,
    SomeRows,
    Ended,
}

/// Which columns of a parquet file are read; JSON rows come whole.
pub(crate) type Columns<'a> = &'a dyn Fn(&str) -> bool;

impl Rows {
    /// Opens a file and looks at its first bytes.
    pub(crate) fn open(path: &Path, columns: Columns<'_>) -> Result<Self, EvalError> {
        let file: Arc<Path> = path.into();
        let mut input = File::open(path).map_err(EvalError::read(path))?;
        let mut magic = Vec::new();
        (&mut input)
            .take(4)
            .read_to_end(&mut magic)
            .map_err(EvalError::read(path))?;
        let origin = match packing(&magic) {
            _ if magic == *b"PAR1" => Origin::Parquet,
            Some(_) => Origin::Packed,
            None => Origin::Plain,
        };
        let named_parquet = path.extension().is_some_and(|end| end == "parquet");
        if named_parquet && origin == Origin::Plain && !magic.is_empty() {
            return Err(EvalError::Parquet {
                path: path.to_owned(),
                source: "it does not begin as such a file does".into(),
            });
        }
        let source = if origin == Origin::Parquet {
            Source::Parquet(Box::new(parquet::ParquetRows::open(
                Arc::clone(&file),
                columns,
            )?))
        } else {
            let input = unpacked(magic, input).map_err(EvalError::read(path))?;
            Source::Json(json::JsonRows::new(Arc::clone(&file), input)?)
        };
        Ok(Self {
            file,
            source,
            origin,
            state: State::NoRowYet,
        })
    }

    /// Rows that are in memory, with the name that errors give them.
    pub(crate) fn of_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, EvalError> {
        let file: Arc<Path> = Path::new(name).into();
        let source = Source::Json(json::JsonRows::new(Arc::clone(&file), Box::new(bytes))?);
        Ok(Self {
            file,
            source,
            origin: Origin::Memory,
            state: State::NoRowYet,
        })
    }

    /// What to report when a row is bad: that error, unless the packed data turns out to be
    /// corrupt. Gzip has its checksum at the end, so nonsense rows may come first.
    pub(crate) fn blame_packing(&mut self, error: EvalError) -> EvalError {
        match &mut self.source {
            Source::Json(rows) if self.origin == Origin::Packed => {
                rows.drain().err().unwrap_or(error)
            }
            _ => error,
        }
    }

    /// Whether a row can be read again from this very file, at its [`RowText::offset`].
    pub(crate) fn offsets_are_in_file(&self) -> bool {
        self.origin == Origin::Plain && self.file.metadata().is_ok_and(|meta| meta.is_file())
    }
}

impl Iterator for Rows {
    type Item = Result<RowText, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Ended {
            return None;
        }
        let row = match &mut self.source {
            Source::Json(rows) => rows.next_row(),
            Source::Parquet(rows) => rows.next_row(),
        };
        let item = match row {
            Ok(None) if self.state == State::NoRowYet => Err(EvalError::NoRows {
                path: self.file.to_path_buf(),
            }),
            Ok(None) => {
                self.state = State::Ended;
                return None;
            }
            Ok(Some(row)) => Ok(row),
            Err(error) => Err(self.blame_packing(error)),
        };
        self.state = if item.is_ok() {
            State::SomeRows
        } else {
            State::Ended
        };
        Some(item)
    }
}

/// The names of the top-level fields of a file's first row, or of a parquet file's columns.
pub(crate) fn first_fields(path: &Path) -> Result<(Place, Vec<String>), EvalError> {
    let mut rows = Rows::open(path, &|_| false)?;
    if let Source::Parquet(parquet) = &rows.source {
        return Ok((parquet.first_place(), parquet.column_names.clone()));
    }
    match rows.next() {
        Some(Ok(row)) => {
            let fields = json::field_names(&row)?;
            Ok((row.place, fields))
        }
        Some(Err(error)) => Err(error),
        None => Err(EvalError::NoRows {
            path: path.to_owned(),
        }),
    }
}

#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
}

fn packing(magic: &[u8]) -> Option<Packing> {
    match magic {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Packing::Zstd),
        _ => None,
    }
}

/// `magic`, then the rest of `file`, unpacked if the magic says that it is packed.
fn unpacked(magic: Vec<u8>, file: File) -> io::Result<Box<dyn io::BufRead + Send>> {
    let packing = packing(&magic);
    let whole = Cursor::new(magic).chain(file);
    let unpacked: Box<dyn Read + Send> = match packing {
        None => Box::new(whole),
        Some(Packing::Gzip) => Box::new(Unpacking {
            what: "gzip",
            inner: flate2::read::MultiGzDecoder::new(whole),
        }),
        Some(Packing::Zstd) => Box::new(Unpacking {
            what: "zstd",
            inner: zstd::stream::read::Decoder::new(whole)?,
        }),
    };
    Ok(Box::new(io::BufReader::with_capacity(256 * 1024, unpacked)))
}

/// Says of a decoder's error that it is about the packed data; decoders themselves say things
/// like "failed to fill whole buffer".
struct Unpacking<R> {
    what: &'static str,
    inner: R,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let what = self.what;
            io::Error::new(
                error.kind(),
                format!("the {what} data is truncated or corrupt ({error})"),
            )
        })
    }
}
