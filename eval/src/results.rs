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

mod files;
mod row_log;
mod settings;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use files::write_file;
pub(crate) use files::{lock, write_atomically, write_json};
pub use row_log::RowLog;
use settings::{Datasets, adopt_datasets, check_settings, fingerprint, leaves};

use crate::EvalError;
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
