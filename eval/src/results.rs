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
    /// Versions, host, effective configuration: what may differ when a run goes on.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    environment: Map<String, Value>,
}

/// What of `run.json` a run that goes on may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Datasets {
    /// Nothing.
    Fixed,
    /// Datasets may be added.
    MayGrow,
}

/// What a fresh start removes.
const FILES: [&str; 3] = ["run.json", "metrics.json", "summary.json"];
const FOLDERS: [&str; 4] = ["verdicts", "completions", "prompts", "qa_logs"];

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
        Self::open_as(path, settings, Map::new(), start, Datasets::Fixed)
    }

    /// The same for an evaluation: datasets may be added to those that the folder has, and
    /// `environment` is noted but not compared.
    ///
    /// # Errors
    ///
    /// Those of [`ResultsFolder::open`].
    pub fn open_evaluation(
        path: &Path,
        settings: Map<String, Value>,
        environment: Map<String, Value>,
        start: Start,
    ) -> Result<Self, EvalError> {
        Self::open_as(path, settings, environment, start, Datasets::MayGrow)
    }

    fn open_as(
        path: &Path,
        mut settings: Map<String, Value>,
        mut environment: Map<String, Value>,
        start: Start,
        datasets: Datasets,
    ) -> Result<Self, EvalError> {
        fs::create_dir_all(path).map_err(EvalError::write(path))?;
        let lock = lock(path)?;
        let verdicts = path.join("verdicts");
        let run_path = path.join("run.json");
        if start == Start::Fresh {
            for name in FILES {
                let file = path.join(name);
                if_there(fs::remove_file(&file)).map_err(EvalError::write(&file))?;
            }
            for name in FOLDERS {
                let folder = path.join(name);
                if_there(fs::remove_dir_all(&folder)).map_err(EvalError::write(&folder))?;
            }
        }
        let write = match fs::read(&run_path) {
            Ok(text) => {
                let there: Run = serde_json::from_slice(&text)
                    .map_err(|error| EvalError::read(&run_path)(error.into()))?;
                if has_rows(path)? {
                    if datasets == Datasets::MayGrow {
                        adopt_datasets(&mut settings, &there.settings);
                    }
                    check_settings(path, &there.settings, &settings, datasets)?;
                    let grown = leaves(&there.settings) != leaves(&settings);
                    // What stands there was true when the results began.
                    environment = there.environment;
                    grown
                } else {
                    // Nothing was made with them yet: whoever mends what kept a server from
                    // starting need not discard anything.
                    true
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if verdicts.exists() {
                    return Err(EvalError::UnexplainedResults {
                        path: path.to_owned(),
                    });
                }
                true
            }
            Err(source) => {
                return Err(EvalError::Read {
                    path: run_path,
                    source,
                });
            }
        };
        let fingerprint = fingerprint(&settings);
        if write {
            let run = Run {
                schema: "codejury.run/1".into(),
                fingerprint: fingerprint.clone(),
                settings,
                environment,
            };
            write_json(&run_path, &run)?;
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
    pub fn verdicts(&self, dataset: &str, ids: &[String]) -> Result<RowLog, EvalError> {
        self.rows("verdicts", dataset, ids)
    }

    /// The same for the completions.
    ///
    /// # Errors
    ///
    /// Those of [`ResultsFolder::verdicts`].
    pub fn completions(&self, dataset: &str, ids: &[String]) -> Result<RowLog, EvalError> {
        self.rows("completions", dataset, ids)
    }

    fn rows(&self, kind: &str, dataset: &str, ids: &[String]) -> Result<RowLog, EvalError> {
        let folder = self.path.join(kind);
        fs::create_dir_all(&folder).map_err(EvalError::write(&folder))?;
        RowLog::open(folder.join(format!("{dataset}.jsonl")), ids)
    }

    /// Writes `metrics.json` and `summary.json`. Numbers of datasets that the folder has and `datasets` has
    /// not are kept, and so are times that were measured when everything was judged already.
    ///
    /// # Errors
    ///
    /// A file cannot be written; the old one is then still there. Or the summary that is there cannot be
    /// read.
    pub fn write_summary(
        &self,
        datasets: &BTreeMap<String, DatasetSummary>,
    ) -> Result<(), EvalError> {
        self.write(None, datasets.clone()).map(drop)
    }

    /// The same for an evaluation, of which it says what was evaluated.
    ///
    /// # Errors
    ///
    /// Those of [`ResultsFolder::write_summary`].
    pub fn write_evaluation(
        &self,
        evaluation: Evaluation,
        datasets: BTreeMap<String, DatasetSummary>,
    ) -> Result<Summary, EvalError> {
        self.write(Some(evaluation), datasets)
    }

    fn write(
        &self,
        evaluation: Option<Evaluation>,
        mut datasets: BTreeMap<String, DatasetSummary>,
    ) -> Result<Summary, EvalError> {
        let path = self.path.join("summary.json");
        if path.exists() {
            for (slug, old) in Summary::read(&path)?.datasets {
                let new = datasets.entry(slug).or_insert_with(|| old.clone());
                if new.wall_clock_time.is_none() && new.n_samples == old.n_samples {
                    // Nothing was judged this time, so what was measured then still stands.
                    new.wall_clock_time = old.wall_clock_time;
                    let throughput = old.metric("throughput");
                    new.metrics.insert("throughput".into(), throughput);
                }
            }
        }
        write_json(&self.path.join("metrics.json"), &flat_metrics(&datasets))?;
        let summary = Summary {
            schema: Summary::SCHEMA.into(),
            evaluation,
            datasets,
        };
        write_json(&path, &summary)?;
        Ok(summary)
    }
}

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Names the version of this layout.
    pub schema: String,
    /// What was evaluated; missing where recorded completions were judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// The numbers, by dataset.
    pub datasets: BTreeMap<String, DatasetSummary>,
}

/// What an evaluation evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// `step`, `baseline` or `final`.
    pub kind: String,
    /// The training step; null for a baseline.
    pub step: Option<u64>,
    /// The model's name in requests.
    pub model: String,
    /// Where the checkpoint was.
    pub model_path: Option<String>,
    /// What tells it from others.
    pub model_fingerprint: Option<String>,
    /// vllm, openai, replay or reference.
    pub generator: String,
    /// False if too much failed for reasons of ours: the numbers mean nothing.
    pub usable: bool,
    /// Why not.
    pub reason: Option<String>,
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

/// Replaces a file by what `write` writes, in one step: a temporary file beside it is written,
/// flushed to disk and renamed. If anything fails, the old file is untouched.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
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

/// Writes a whole file in one step.
///
/// # Errors
///
/// It cannot be written; the old one is then still there.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), EvalError> {
    write_atomically(path, |out| out.write_all(content))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvalError> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Takes a folder for this process, until the file is dropped.
pub(crate) fn lock(folder: &Path) -> Result<File, EvalError> {
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

/// Whether a folder holds a completion or a verdict.
fn has_rows(path: &Path) -> Result<bool, EvalError> {
    for kind in ["completions", "verdicts"] {
        let folder = path.join(kind);
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files.map_err(EvalError::read(&folder))?,
        };
        for file in files {
            let size = file.and_then(|file| Ok(file.metadata()?.len()));
            if size.map_err(EvalError::read(&folder))? > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Takes over the datasets that only the folder has, in its order.
fn adopt_datasets(settings: &mut Map<String, Value>, there: &Map<String, Value>) {
    let Some(Value::Object(old)) = there.get("datasets") else {
        return;
    };
    if let Some(Value::Object(new)) = settings.get_mut("datasets") {
        let mut all = old.clone();
        for (slug, about) in std::mem::take(new) {
            all.insert(slug, about);
        }
        *new = all;
    }
}

fn check_settings(
    folder: &Path,
    there: &Map<String, Value>,
    settings: &Map<String, Value>,
    datasets: Datasets,
) -> Result<(), EvalError> {
    let (there, here) = (leaves(there), leaves(settings));
    // A dataset that the folder does not have yet differs from nothing.
    let slug_of = |name: &str| -> Option<String> {
        let (slug, _) = name.strip_prefix("datasets.")?.split_once('.')?;
        Some(format!("datasets.{slug}."))
    };
    let added = |name: &String| {
        datasets == Datasets::MayGrow
            && slug_of(name).is_some_and(|slug| !there.keys().any(|old| old.starts_with(&slug)))
    };
    let names: Vec<&String> = there
        .keys()
        .chain(here.keys().filter(|name| !there.contains_key(*name)))
        .filter(|name| there.get(*name) != here.get(*name) && !added(name))
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
