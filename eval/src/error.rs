//! What can go wrong with the files a user hands us, and with the ones we write.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a row stands: the file, and the line, element or row in it, all counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<Path>,
    /// Where in it.
    pub at: Position,
}

/// A position inside a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// A line of a JSON Lines file.
    Line(u64),
    /// An element of a JSON array, and the line on which it begins.
    Element {
        /// Which element.
        number: u64,
        /// The line of its opening brace.
        line: u64,
    },
    /// A row of a parquet file.
    Row(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Element { number, line } => write!(f, "element {number} (line {line})"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.file.display(), self.at)
    }
}

/// What this crate reports. Everything here is either a user's input that cannot be used, or a
/// file of ours that cannot be written; verdicts are never errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A file is missing, unreadable, truncated or corrupt.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the decoder said.
        #[source]
        source: io::Error,
    },
    /// A parquet file is truncated, corrupt, or of a type that rows cannot have.
    #[error("cannot read {} as parquet", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file without a single row.
    #[error("{} holds no rows", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A row that is no JSON object in UTF-8.
    #[error("{place}: {reason}")]
    BadRow {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A row whose field is missing or cannot be used.
    #[error("{place}, field `{field}`: {reason}")]
    BadField {
        /// Where the row stands.
        place: Place,
        /// The field, for example `private_tests.output[3]`.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The format of a dataset cannot be told from its first row.
    #[error(
        "{place}: cannot tell the format of this dataset from its fields ({fields}); name it with --format"
    )]
    UnknownFormat {
        /// The row that was looked at.
        place: Place,
        /// Its fields.
        fields: String,
    },
    /// Two problems of one dataset with the same id.
    #[error("{second}: problem {id:?} was already read from {first}")]
    DuplicateProblem {
        /// The id.
        id: String,
        /// The first row that has it.
        first: Place,
        /// The row that has it again.
        second: Place,
    },
    /// A selection that leaves no problem of a dataset.
    #[error("dataset {slug:?} has no problem numbered {range}")]
    NothingSelected {
        /// The dataset.
        slug: String,
        /// The numbers asked for.
        range: String,
    },
    /// Two completions with the same problem and sample.
    #[error(
        "{second}: a completion for problem {id:?}, sample {sample} was already read from {first}"
    )]
    DuplicateCompletion {
        /// The problem's id.
        id: String,
        /// The sample.
        sample: u32,
        /// The first row.
        first: Place,
        /// The row that has it again.
        second: Place,
    },
    /// A name that is neither a file nor a dataset that comes with the program.
    #[error("no dataset {name:?}: there is no such file, and the bundled ones are: starter")]
    UnknownDataset {
        /// The name.
        name: String,
    },
    /// No problem of this id.
    #[error("dataset {slug:?} has no problem {id:?}")]
    UnknownProblem {
        /// The dataset.
        slug: String,
        /// The id asked for.
        id: String,
    },
    /// Another process works in this results folder.
    #[error("{} is in use by another codejury{}", path.display(), owner(*pid))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// Its process id, if it could be read.
        pid: Option<u32>,
    },
    /// The results in a folder were made with other settings.
    #[error(
        "{} holds results of other settings ({differences}); use --fresh to discard them, or another --out",
        path.display()
    )]
    OtherSettings {
        /// The folder.
        path: PathBuf,
        /// The settings that differ, with both values.
        differences: String,
    },
    /// Verdict files that no `run.json` explains.
    #[error(
        "{} holds verdicts but no run.json that says how they were made; use --fresh to discard them, or another --out",
        path.display()
    )]
    UnexplainedResults {
        /// The folder.
        path: PathBuf,
    },
    /// A row in a results folder that this version cannot use.
    #[error("{}, the row for problem {id:?}: {reason}; --fresh discards these results", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The problem's id.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A result could not be written: disk full, no permission. What was written before is kept.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A configuration that cannot be.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file, or `the command line`.
        path: PathBuf,
        /// The key and what is wrong.
        reason: String,
    },
    /// Something else that the user has to change.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A part of ours, or the model server, failed; nothing is known about the model.
    #[error("{what}")]
    Failed {
        /// What failed.
        what: String,
        /// The end of the model server's log, by lines, if the server failed.
        log: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The judge cannot go on.
    #[error(transparent)]
    Judge(#[from] judge::JudgeError),
    /// The user ended it; what was done is kept.
    #[error("interrupted")]
    Interrupted,
    /// Two verdicts for the same problem and sample reached one summary.
    #[error("two verdicts for problem {id:?}, sample {sample} in dataset {dataset:?}")]
    DuplicateVerdict {
        /// The dataset.
        dataset: String,
        /// The problem's id.
        id: String,
        /// The sample.
        sample: u32,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl EvalError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn parquet(
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Parquet {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn config(path: &Path, reason: String) -> Self {
        Self::Config {
            path: path.to_owned(),
            reason,
        }
    }

    /// Something that the user has to change.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            hint: None,
        }
    }

    /// A failure of ours.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            log: Vec::new(),
            hint: None,
        }
    }

    /// The same error with what to do about it, where it has room for that.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Invalid { hint, .. } | Self::Failed { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    pub(crate) fn field(place: Place, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadField {
            place,
            field: field.into(),
            reason: reason.into(),
        }
    }
}
