//! Rows that are appended as they come and end in dataset order.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use judge::ErrorType;
use serde::Deserialize;

use super::files::write_atomically;
use crate::EvalError;
use crate::error::{Place, Position};

/// A file with one row for each sample of a dataset, verdicts or completions: what is on disk
/// already, and what is added.
#[derive(Debug)]
pub struct RowLog {
    path: PathBuf,
    file: File,
    length: u64,
    /// Position of each problem in the dataset.
    order: HashMap<Box<str>, u32>,
    /// Where the last row for each problem and sample stands.
    rows: BTreeMap<(u32, u32), Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    /// Without its line break.
    length: u64,
    /// Whether a new run would not judge it again.
    settled: bool,
}

/// What the log needs to know of a row.
#[derive(Deserialize)]
struct Key {
    problem_id: String,
    sample: u32,
    /// A verdict's.
    #[serde(default)]
    error_type: Option<ErrorType>,
    #[serde(default)]
    error_subtype: Option<String>,
    /// Why there is no completion.
    #[serde(default)]
    error: Option<String>,
}

impl Key {
    /// Whether a new run would not try again. What failed for reasons of ours is tried again; a
    /// prompt that is too long stays so.
    fn settled(&self) -> bool {
        let failed = self.error_type == Some(ErrorType::ApiError) || self.error.is_some();
        let reason = self.error.as_deref().or(self.error_subtype.as_deref());
        !failed || reason == Some("context_length")
    }
}

impl RowLog {
    pub(super) fn open(path: PathBuf, ids: &[String]) -> Result<Self, EvalError> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(EvalError::write(&path))?;
        let order = ids
            .iter()
            .zip(0..)
            .map(|(id, index)| (id.as_str().into(), index))
            .collect();
        let mut log = Self {
            path,
            file,
            length: 0,
            order,
            rows: BTreeMap::new(),
        };
        log.read_back()?;
        Ok(log)
    }

    fn read_back(&mut self) -> Result<(), EvalError> {
        let file = self.file.try_clone().map_err(EvalError::read(&self.path))?;
        let mut input = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = input
                .read_until(b'\n', &mut line)
                .map_err(EvalError::read(&self.path))?;
            if line.pop() != Some(b'\n') {
                // Nothing more, or a row that was cut off: it is judged again.
                if read > 0 {
                    self.file
                        .set_len(self.length)
                        .map_err(EvalError::write(&self.path))?;
                }
                break;
            }
            let place = || Place {
                file: self.path.as_path().into(),
                at: Position::Line(number),
            };
            let key: Key = serde_json::from_slice(&line).map_err(|error| EvalError::BadRow {
                place: place(),
                reason: format!("no result row ({error}); --fresh discards this file"),
            })?;
            let Some(&problem) = self.order.get(key.problem_id.as_str()) else {
                return Err(EvalError::field(
                    place(),
                    "problem_id",
                    format!("the dataset has no problem {:?}", key.problem_id),
                ));
            };
            self.note(problem, &key, line.len() as u64);
        }
        Ok(())
    }

    fn note(&mut self, problem: u32, key: &Key, length: u64) {
        let span = Span {
            offset: self.length,
            length,
            settled: key.settled(),
        };
        self.rows.insert((problem, key.sample), span);
        self.length += length + 1;
    }

    /// The row that an earlier run wrote for this problem and sample. `None` if there is none, or
    /// if it should be judged again because it failed for a reason of ours.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn recorded(&self, problem_id: &str, sample: u32) -> Result<Option<String>, EvalError> {
        match self.is_settled(problem_id, sample) {
            false => Ok(None),
            true => self.row(problem_id, sample),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`RowLog::recorded`] has a row.
    pub fn is_settled(&self, problem_id: &str, sample: u32) -> bool {
        let problem = self.order.get(problem_id);
        let span = problem.and_then(|&problem| self.rows.get(&(problem, sample)));
        span.is_some_and(|span| span.settled)
    }

    /// The row for this problem and sample, whatever it says.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn row(&self, problem_id: &str, sample: u32) -> Result<Option<String>, EvalError> {
        let problem = self.order.get(problem_id);
        let span = problem.and_then(|&problem| self.rows.get(&(problem, sample)));
        span.map(|span| self.read(*span)).transpose()
    }

    /// Forgets the row for this problem and sample: what it was made from is gone.
    pub(crate) fn forget(&mut self, problem_id: &str, sample: u32) {
        if let Some(&problem) = self.order.get(problem_id) {
            self.rows.remove(&(problem, sample));
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn read(&self, span: Span) -> Result<String, EvalError> {
        let mut row = vec![0; span.length as usize];
        self.file
            .read_exact_at(&mut row, span.offset)
            .map_err(EvalError::read(&self.path))?;
        String::from_utf8(row).map_err(|error| EvalError::read(&self.path)(io::Error::other(error)))
    }

    /// Writes one row, given without its line break, through to the system: the process
    /// may die right after.
    ///
    /// # Errors
    ///
    /// The row is none of this dataset, or cannot be written, for example because the disk
    /// is full. What was written before stays, and the same row can be tried again.
    pub fn append(&mut self, row: &str) -> Result<(), EvalError> {
        let wrong = |reason: String| {
            EvalError::write(&self.path)(io::Error::new(io::ErrorKind::InvalidInput, reason))
        };
        let key: Key = serde_json::from_str(row).map_err(|error| wrong(error.to_string()))?;
        let Some(&problem) = self.order.get(key.problem_id.as_str()) else {
            return Err(wrong(format!(
                "the dataset has no problem {:?}",
                key.problem_id
            )));
        };
        let line = format!("{row}\n");
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Part of the line may be there. If it cannot be taken back now, the next start does.
            let _ = self.file.set_len(self.length);
            return Err(EvalError::write(&self.path)(error));
        }
        self.note(problem, &key, row.len() as u64);
        Ok(())
    }

    /// The rows in dataset order, then sample.
    pub fn in_order(&self) -> impl Iterator<Item = Result<String, EvalError>> {
        self.rows.values().map(|span| self.read(*span))
    }

    /// Rewrites the file in dataset order, then sample, and flushes it to disk. Returns its path.
    ///
    /// # Errors
    ///
    /// It cannot be written; the file with the rows in order of arrival is then still there.
    pub fn finish(self) -> Result<PathBuf, EvalError> {
        self.rewrite()?;
        Ok(self.path)
    }

    /// The same, of a log that stays open to be read.
    pub(crate) fn rewrite(&self) -> Result<(), EvalError> {
        write_atomically(&self.path, |out| {
            for span in self.rows.values() {
                let mut row = vec![0; span.length as usize + 1];
                self.file.read_exact_at(&mut row, span.offset)?;
                out.write_all(&row)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn row(id: &str) -> String {
        format!(r#"{{"problem_id":"{id}","sample":0,"error_type":"success"}}"#)
    }

    #[test]
    fn a_full_disk_loses_nothing_that_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("d.jsonl");
        let ids = ["a".to_owned(), "b".to_owned()];
        let mut log = RowLog::open(path.clone(), &ids).expect("opens");
        log.append(&row("a")).expect("written");
        // Every write to this device fails as on a full disk.
        let full = OpenOptions::new()
            .append(true)
            .open("/dev/full")
            .expect("there");
        let disk = std::mem::replace(&mut log.file, full);
        let error = log.append(&row("b")).expect_err("full");
        let EvalError::Write {
            path: named,
            source,
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!((named, source.kind()), (&path, io::ErrorKind::StorageFull));
        assert_eq!(fs::read_to_string(&path).expect("there"), row("a") + "\n");
        // Once there is room again, the same row is written.
        log.file = disk;
        log.append(&row("b")).expect("written");
        log.finish().expect("finished");
        assert_eq!(
            fs::read_to_string(&path).expect("there"),
            row("a") + "\n" + &row("b") + "\n"
        );
    }
}
