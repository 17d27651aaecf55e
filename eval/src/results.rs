//! The results folder: who may write to it, what is in it, and how it survives a crash.
//!
//! ```text
//! DIR/.lock                     held by the process that works here
//! DIR/run.json                  the settings that the verdicts were made with
//! DIR/verdicts/<dataset>.jsonl  one row a verdict
//! DIR/metrics.json, summary.json
//! ```
//!
//! Verdicts are appended as they finish, in any order, one write for each row: whatever kills the
//! process, at most the last line is cut, and the next start drops it. When a dataset is done its
//! file is rewritten in dataset order, then sample. Every other file, and that rewrite, is a
//! temporary file that is flushed to disk and then renamed, so that a reader sees the old content
//! or the new one, never half of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use judge::ErrorType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::EvalError;
use crate::dataset::hex;
use crate::error::{Place, Position};
use crate::metrics::DatasetSummary;

/// What to do with results that a folder already holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Go on from them, if they were made with the same settings.
    #[default]
    Resume,
    /// Discard them.
    Fresh,
}

/// A results folder that this process alone writes to, until it is dropped.
#[derive(Debug)]
pub struct ResultsFolder {
    path: PathBuf,
    fingerprint: String,
    /// Dropping it, or dying, releases the lock.
    _lock: File,
}

/// `run.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    schema: String,
    /// sha256 of the settings as JSON with sorted keys.
    fingerprint: String,
    settings: Map<String, Value>,
}

impl ResultsFolder {
    /// Creates the folder if need be, locks it, and checks that what it holds was made with these
    /// settings. They should name everything that verdicts depend on, and nothing else (not the
    /// number of workers, say).
    ///
    /// # Errors
    ///
    /// Another process works there, the results were made with other settings, or the folder
    /// cannot be written.
    pub fn open(
        path: &Path,
        settings: Map<String, Value>,
        start: Start,
    ) -> Result<Self, EvalError> {
        fs::create_dir_all(path).map_err(EvalError::write(path))?;
        let lock = lock(path)?;
        let verdicts = path.join("verdicts");
        let run_path = path.join("run.json");
        if start == Start::Fresh {
            for name in ["run.json", "metrics.json", "summary.json"] {
                let file = path.join(name);
                if_there(fs::remove_file(&file)).map_err(EvalError::write(&file))?;
            }
            if_there(fs::remove_dir_all(&verdicts)).map_err(EvalError::write(&verdicts))?;
        }
        let fingerprint = fingerprint(&settings);
        match fs::read(&run_path) {
            Ok(text) => check_settings(path, &run_path, &text, &settings)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if verdicts.exists() {
                    return Err(EvalError::UnexplainedResults {
                        path: path.to_owned(),
                    });
                }
                let fingerprint = fingerprint.clone();
                let run = Run {
                    schema: "codejury.run/1".into(),
                    fingerprint,
                    settings,
                };
                write_json(&run_path, &run)?;
            }
            Err(source) => {
                return Err(EvalError::Read {
                    path: run_path,
                    source,
                });
            }
        }
        fs::create_dir_all(&verdicts).map_err(EvalError::write(&verdicts))?;
        Ok(Self {
            path: path.to_owned(),
            fingerprint,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// sha256 of the settings in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Opens the verdicts of one dataset, whose ids in order are given. Drops a last line that was
    /// cut off by a crash.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or holds a line that is no verdict for this dataset.
    pub fn verdicts(&self, dataset: &str, ids: &[String]) -> Result<VerdictLog, EvalError> {
        VerdictLog::open(
            self.path.join("verdicts").join(format!("{dataset}.jsonl")),
            ids,
        )
    }

    /// Writes `metrics.json` and `summary.json`.
    ///
    /// # Errors
    ///
    /// A file cannot be written; the old one is then still there.
    pub fn write_summary(
        &self,
        datasets: &BTreeMap<String, DatasetSummary>,
    ) -> Result<(), EvalError> {
        write_json(&self.path.join("metrics.json"), &flat_metrics(datasets))?;
        let summary = Summary {
            schema: Summary::SCHEMA.into(),
            datasets: datasets.clone(),
        };
        write_json(&self.path.join("summary.json"), &summary)
    }
}

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Names the version of this layout.
    pub schema: String,
    /// The numbers, by dataset.
    pub datasets: BTreeMap<String, DatasetSummary>,
}

impl Summary {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.summary/1";

    /// Reads a `summary.json`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no summary.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = fs::read(path).map_err(EvalError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| EvalError::read(path)(error.into()))
    }
}

/// `metrics.json`: one flat object with the keys that trackers log, `eval/<dataset>/<metric>`.
pub fn flat_metrics(datasets: &BTreeMap<String, DatasetSummary>) -> Map<String, Value> {
    let mut flat = Map::new();
    flat.insert("schema".into(), "codejury.metrics/1".into());
    for (dataset, summary) in datasets {
        let mut put = |name: &str, value: Value| {
            flat.insert(format!("eval/{dataset}/{name}"), value);
        };
        put("n", summary.n.into());
        put("n_judged", summary.n_judged.into());
        put("n_samples", summary.n_samples.into());
        for (name, value) in &summary.metrics {
            put(name, (*value).into());
        }
        put("wall_clock_time", summary.wall_clock_time.into());
    }
    flat
}

/// The verdicts of one dataset: what is on disk already, and what is added.
#[derive(Debug)]
pub struct VerdictLog {
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
    error_type: ErrorType,
    #[serde(default)]
    error_subtype: Option<String>,
}

impl VerdictLog {
    fn open(path: PathBuf, ids: &[String]) -> Result<Self, EvalError> {
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
                reason: format!("no verdict row ({error}); --fresh discards this file"),
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
        // An api_error is our failure, so it is tried again; a prompt that is too long stays so.
        let settled = key.error_type != ErrorType::ApiError
            || key.error_subtype.as_deref() == Some("context_length");
        let span = Span {
            offset: self.length,
            length,
            settled,
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
        let key = self.order.get(problem_id).map(|&problem| (problem, sample));
        match key
            .and_then(|key| self.rows.get(&key))
            .filter(|span| span.settled)
        {
            None => Ok(None),
            Some(span) => self.read(*span).map(Some),
        }
    }

    /// How many verdicts there are.
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

    /// Writes one verdict row, given without its line break, through to the system: the process
    /// may die right after.
    ///
    /// # Errors
    ///
    /// The row is no verdict for this dataset, or cannot be written, for example because the disk
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
        write_atomically(&self.path, |out| {
            for span in self.rows.values() {
                let mut row = vec![0; span.length as usize + 1];
                self.file.read_exact_at(&mut row, span.offset)?;
                out.write_all(&row)?;
            }
            Ok(())
        })?;
        Ok(self.path)
    }
}

/// Replaces a file by what `write` writes, in one step: a temporary file beside it is written,
/// flushed to disk and renamed. If anything fails, the old file is untouched.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), EvalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let attempt = || -> io::Result<()> {
        let temporary = tempfile::Builder::new()
            .prefix(".codejury-")
            // What any program would create; temporary files are private by default.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        let mut out = BufWriter::new(temporary);
        write(&mut out)?;
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        // The rename itself is only safe once the folder is on disk.
        File::open(folder)?.sync_all()
    };
    attempt().map_err(EvalError::write(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvalError> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

fn lock(folder: &Path) -> Result<File, EvalError> {
    let path = folder.join(".lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(EvalError::write(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = lock
                .read_to_string(&mut pid)
                .ok()
                .and_then(|_| pid.trim().parse().ok());
            return Err(EvalError::FolderInUse {
                path: folder.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(source)) => return Err(EvalError::Write { path, source }),
    }
    let write = |lock: &mut File| {
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())
    };
    write(&mut lock).map_err(EvalError::write(&path))?;
    Ok(lock)
}

fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn check_settings(
    folder: &Path,
    run_path: &Path,
    text: &[u8],
    settings: &Map<String, Value>,
) -> Result<(), EvalError> {
    let run: Run =
        serde_json::from_slice(text).map_err(|error| EvalError::read(run_path)(error.into()))?;
    let (there, here) = (leaves(&run.settings), leaves(settings));
    let names: Vec<&String> = there
        .keys()
        .chain(here.keys().filter(|name| !there.contains_key(*name)))
        .filter(|name| there.get(*name) != here.get(*name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    const SHOWN: usize = 5;
    let shown = |value: Option<&Value>| value.map_or("unset".to_owned(), Value::to_string);
    let mut differences: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|&name| {
            format!(
                "{name}: {} there, {} now",
                shown(there.get(name)),
                shown(here.get(name))
            )
        })
        .collect();
    if names.len() > SHOWN {
        differences.push(format!("and {} more", names.len() - SHOWN));
    }
    Err(EvalError::OtherSettings {
        path: folder.to_owned(),
        differences: differences.join("; "),
    })
}

/// Settings by dotted name; lists are compared as a whole.
fn leaves(settings: &Map<String, Value>) -> BTreeMap<String, Value> {
    fn walk(name: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (field, value) in fields {
                    walk(&format!("{name}.{field}"), value, out);
                }
            }
            // Unset and null mean the same.
            Value::Null => {}
            value => {
                out.insert(name.to_owned(), value.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    for (name, value) in settings {
        walk(name, value, &mut out);
    }
    out
}

fn fingerprint(settings: &Map<String, Value>) -> String {
    let sorted = serde_json::to_vec(&leaves(settings)).expect("JSON values always serialise");
    hex(&Sha256::digest(sorted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> String {
        format!(r#"{{"problem_id":"{id}","sample":0,"error_type":"success"}}"#)
    }

    #[test]
    fn a_full_disk_loses_nothing_that_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("d.jsonl");
        let ids = ["a".to_owned(), "b".to_owned()];
        let mut log = VerdictLog::open(path.clone(), &ids).expect("opens");
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

    #[test]
    fn a_file_that_cannot_be_replaced_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("summary.json");
        fs::write(&path, "old").expect("written");
        let error = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(error, Err(EvalError::Write { .. })), "{error:?}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
