//! Datasets: any known format in, a stream of [`Problem`]s out.
//!
//! [`Dataset::open`] looks at the first row only. [`Dataset::problems`] streams, and can be called
//! again: a judge first scans a dataset, so that a bad row at its end is found before anything
//! runs, and then reads it once more while it works. One row is in memory at a time, plus the ids
//! seen so far; nothing is ever skipped, the first bad row ends the stream with its error.

mod apps;
mod cases;
mod code_contests;
mod human_eval;
mod live_code_bench;
mod mbpp;
mod sandbox_fusion;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use judge::Problem;
use sha2::{Digest, Sha256};

use crate::EvalError;
use crate::completions::spellings;
use crate::error::{Place, Position};
use crate::fields::{FieldError, Fields};
use crate::manifest::canonical_sha256;
use crate::rows::{RowText, Rows, first_fields};
use crate::starter;

/// What to open, and how to read it.
#[derive(Clone, Debug, Default)]
pub struct DatasetSpec {
    /// Its files, read one after another, or the name of a bundled dataset.
    pub files: Vec<PathBuf>,
    /// The name used in results; without it, what the first native row says, else the file's name.
    pub slug: Option<String>,
    /// The format; without it, told from the fields of the first row.
    pub format: Option<Format>,
    /// Which tests of a CodeContests or LiveCodeBench row are used.
    pub tests: TestSelection,
    /// Keeps only problems whose id ends in a number of this range (`MBPP_reg` is 11..=210).
    pub numbers: Option<RangeInclusive<u64>>,
    /// Keeps only some of the problems, by a rule that everybody can follow.
    pub select: Option<Selection>,
    /// Appends MBPP's `challenge_test_list` to its asserts.
    pub challenge_tests: bool,
    /// Reads the dataset's own solutions. They are the largest part of some files, so a judge of
    /// other people's completions leaves them alone.
    pub references: bool,
}

impl DatasetSpec {
    /// One file, or a bundled dataset by its name; everything else as by default.
    pub fn new(name: impl Into<PathBuf>) -> Self {
        Self {
            files: vec![name.into()],
            ..Self::default()
        }
    }
}

/// A format that datasets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own rows.
    Native,
    /// HumanEval and HumanEval+.
    HumanEval,
    /// MBPP, sanitized MBPP and MBPP+.
    Mbpp,
    /// DeepMind's CodeContests.
    CodeContests,
    /// APPS.
    Apps,
    /// LiveCodeBench's code generation rows.
    LiveCodeBench,
    /// The sample rows of SandboxFusion.
    SandboxFusion,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Native,
        Self::HumanEval,
        Self::Mbpp,
        Self::CodeContests,
        Self::Apps,
        Self::LiveCodeBench,
        Self::SandboxFusion,
    ];

    /// The name that `--format` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::HumanEval => "humaneval",
            Self::Mbpp => "mbpp",
            Self::CodeContests => "codecontests",
            Self::Apps => "apps",
            Self::LiveCodeBench => "livecodebench",
            Self::SandboxFusion => "sandboxfusion",
        }
    }

    /// Tells the format from the names of a row's fields.
    fn detect(fields: &[String]) -> Option<Self> {
        let has = |name: &str| fields.iter().any(|field| field == name);
        let any = |names: &[&str]| names.iter().any(|name| has(name));
        if has("problem_id") && has("kind") {
            Some(Self::Native)
        } else if has("input_output") {
            Some(Self::Apps)
        } else if any(&["public_test_cases", "private_test_cases"]) {
            Some(Self::LiveCodeBench)
        } else if has("content") && has("labels") {
            Some(Self::SandboxFusion)
        } else if has("test_list") {
            Some(Self::Mbpp)
        } else if has("prompt") && has("entry_point") && any(&["test", "base_input", "plus_input"])
        {
            Some(Self::HumanEval)
        } else if any(&["public_tests", "private_tests", "generated_tests"])
            || has("tests") && any(&["solutions", "description", "cf_tags"])
        {
            Some(Self::CodeContests)
        } else {
            None
        }
    }

    /// Whether a reader of this format looks at a column.
    fn reads_column(self, name: &str, references: bool) -> bool {
        match self {
            Self::Native => references || name != "reference",
            Self::HumanEval => {
                human_eval::COLUMNS.contains(&name) || references && name == "canonical_solution"
            }
            // The reference also tells the function's name.
            Self::Mbpp => mbpp::COLUMNS.contains(&name),
            Self::CodeContests => {
                code_contests::COLUMNS.contains(&name) || references && name == "solutions"
            }
            Self::Apps => apps::COLUMNS.contains(&name) || references && name == "solutions",
            Self::LiveCodeBench => live_code_bench::COLUMNS.contains(&name),
            Self::SandboxFusion => true,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|format| format.as_str()).collect();
                format!("unknown format {name:?}; known: auto, {}", known.join(", "))
            })
    }
}

/// Which of a row's tests are used, where the row keeps them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TestSelection {
    /// Public, then private, then generated.
    #[default]
    All,
    /// Those of the problem statement.
    Public,
    /// The hidden ones of the contest.
    Private,
    /// Those that CodeContests' authors made by mutation.
    Generated,
}

impl TestSelection {
    /// The name that `--tests` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Public => "public",
            Self::Private => "private",
            Self::Generated => "generated",
        }
    }

    fn includes(self, part: Self) -> bool {
        self == Self::All || self == part
    }
}

impl FromStr for TestSelection {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::All, Self::Public, Self::Private, Self::Generated]
            .into_iter()
            .find(|selection| selection.as_str() == name)
            .ok_or_else(|| {
                format!("unknown tests {name:?}; known: all, public, private, generated")
            })
    }
}

/// A rule that keeps some problems of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The so many problems whose sha256 of [`Selection::PREFIX`] and id is smallest: the same ones
    /// whatever the order of the rows, and those chosen stay chosen when the number grows.
    Hash(usize),
}

impl Selection {
    /// What stands before the id in the text that is hashed.
    pub const PREFIX: &str = "codejury:valid_big:";

    /// The rule in words, for manifests.
    pub fn rule(self) -> String {
        let Self::Hash(count) = self;
        format!(
            "the {count} problems with the smallest sha256 of {:?} + problem_id, as lower-case hex; \
             ties cannot happen, ids are unique",
            Self::PREFIX
        )
    }

    fn hash(id: &str) -> [u8; 32] {
        Sha256::new()
            .chain_update(Self::PREFIX)
            .chain_update(id)
            .finalize()
            .into()
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Hash(count) = self;
        write!(f, "hash:{count}")
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("hash:").map(str::parse) {
            Some(Ok(count @ 1..)) => Ok(Self::Hash(count)),
            _ => Err(format!(
                "{text:?} is no selection; expected hash:N, for example hash:500"
            )),
        }
    }
}

/// An opened dataset. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset {
    spec: Arc<DatasetSpec>,
    slug: String,
    format: Format,
    /// The ids that [`DatasetSpec::select`] keeps, once they are known.
    selected: Arc<OnceLock<HashSet<Box<str>>>>,
}

impl Dataset {
    /// Looks at the first row and tells format and name; reads nothing else.
    ///
    /// # Errors
    ///
    /// There is no such file or bundled dataset, the first row cannot be read, or its format
    /// cannot be told.
    pub fn open(spec: DatasetSpec) -> Result<Self, EvalError> {
        for file in &spec.files {
            match file.metadata() {
                Ok(meta) if meta.is_file() => {}
                Ok(meta) => {
                    let reason = if meta.is_dir() {
                        "it is a folder; name its files"
                    } else {
                        "a dataset is read more than once, so it must be a regular file"
                    };
                    let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
                    return Err(EvalError::Read {
                        path: file.clone(),
                        source,
                    });
                }
                Err(_) if starter::is_name(file) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(EvalError::UnknownDataset {
                        name: file.display().to_string(),
                    });
                }
                Err(source) => {
                    return Err(EvalError::Read {
                        path: file.clone(),
                        source,
                    });
                }
            }
        }
        let Some(first) = spec.files.first() else {
            return Err(EvalError::UnknownDataset {
                name: String::new(),
            });
        };
        let format = match spec.format {
            Some(format) => format,
            None if is_bundled(first) => Format::Native,
            None => {
                let (place, fields) = first_fields(first)?;
                match Format::detect(&fields) {
                    Some(format) => format,
                    None => {
                        return Err(EvalError::UnknownFormat {
                            place,
                            fields: fields.join(", "),
                        });
                    }
                }
            }
        };
        let mut slug = match &spec.slug {
            Some(slug) => slug_of(slug),
            None if format == Format::Native => native_slug(first)?,
            None => String::new(),
        };
        if slug.is_empty() {
            slug = slug_of_file(first);
        }
        Ok(Self {
            spec: Arc::new(spec),
            slug,
            format,
            selected: Arc::default(),
        })
    }

    /// Its name in keys, files and flags: lower-case letters, digits and underscores.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How it is read.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// The same dataset, read with the dataset's own solutions.
    #[must_use]
    pub fn with_references(&self) -> Self {
        let spec = DatasetSpec {
            references: true,
            ..(*self.spec).clone()
        };
        Self {
            spec: Arc::new(spec),
            ..self.clone()
        }
    }

    /// The same files without what selects some of their problems.
    #[must_use]
    pub fn unselected(&self) -> Self {
        let spec = DatasetSpec {
            select: None,
            numbers: None,
            ..(*self.spec).clone()
        };
        Self {
            spec: Arc::new(spec),
            ..self.clone()
        }
    }

    /// Streams the problems in file order. An error is the last item.
    pub fn problems(&self) -> Problems {
        Problems {
            dataset: self.clone(),
            next_file: 0,
            rows: None,
            seen: HashMap::new(),
            selected: None,
            hash_rows: false,
            hashed: None,
            yielded: false,
            ended: false,
        }
    }

    /// The same, each with its place and the sha256 of its whole row as canonical JSON.
    pub(crate) fn hashed_problems(
        &self,
    ) -> impl Iterator<Item = Result<(Problem, Place, String), EvalError>> {
        let mut problems = self.problems();
        problems.hash_rows = true;
        std::iter::from_fn(move || {
            let problem = match problems.next()? {
                Ok(problem) => problem,
                Err(error) => return Some(Err(error)),
            };
            let (place, sha256) = problems.hashed.take()?;
            Some(Ok((problem, place, sha256)))
        })
    }

    /// One of its files alone, everything in it.
    pub(crate) fn only(&self, file: &Path) -> Self {
        let spec = DatasetSpec {
            files: vec![file.to_owned()],
            ..(*self.spec).clone()
        };
        Self {
            spec: Arc::new(spec),
            ..self.clone()
        }
    }

    /// Reads the whole dataset once and returns the ids in order: finds every bad row before
    /// anything is judged.
    ///
    /// # Errors
    ///
    /// The first bad row, a repeated id, or a selection that leaves nothing.
    pub fn ids(&self) -> Result<Vec<String>, EvalError> {
        self.problems()
            .map(|problem| problem.map(|problem| problem.problem_id))
            .collect()
    }

    /// The problem with this id, spelled as completions may spell it: `MBPP/11`, `Mbpp/11`, `11`.
    ///
    /// # Errors
    ///
    /// There is none, or a row before it is bad.
    pub fn find(&self, id: &str) -> Result<Problem, EvalError> {
        for problem in self.problems() {
            let problem = problem?;
            if spellings(&problem.problem_id)
                .iter()
                .any(|spelling| spelling == id)
            {
                return Ok(problem);
            }
        }
        Err(EvalError::UnknownProblem {
            slug: self.slug.clone(),
            id: id.to_owned(),
        })
    }

    /// The sha256 of its files' bytes, one after another, in hex.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn sha256(&self) -> Result<String, EvalError> {
        let mut hasher = Sha256::new();
        for path in &self.spec.files {
            if is_bundled(path) {
                hasher.update(starter::PROBLEMS);
                continue;
            }
            let file = File::open(path).map_err(EvalError::read(path))?;
            let mut input = BufReader::with_capacity(256 * 1024, file);
            loop {
                let chunk = input.fill_buf().map_err(EvalError::read(path))?;
                if chunk.is_empty() {
                    break;
                }
                hasher.update(chunk);
                let length = chunk.len();
                input.consume(length);
            }
        }
        Ok(hex(&hasher.finalize()))
    }
}

/// The problems of a dataset, one at a time; see [`Dataset::problems`].
pub struct Problems {
    dataset: Dataset,
    next_file: usize,
    rows: Option<Rows>,
    /// Where each id was read, to name both rows when one comes again.
    seen: HashMap<Box<str>, (u32, Position)>,
    /// What a selection keeps, once the first item was asked for.
    selected: Option<HashSet<Box<str>>>,
    /// Whether rows are read whole and hashed, and the last one's place and hash.
    hash_rows: bool,
    hashed: Option<(Place, String)>,
    yielded: bool,
    ended: bool,
}

impl Problems {
    fn next_row(&mut self) -> Result<Option<RowText>, EvalError> {
        loop {
            if self.rows.is_none() {
                let Some(path) = self.dataset.spec.files.get(self.next_file) else {
                    return Ok(None);
                };
                self.next_file += 1;
                self.rows = Some(if self.hash_rows && !is_bundled(path) {
                    Rows::open(path, &|_| true)?
                } else {
                    open_rows(path, self.dataset.format, self.dataset.spec.references)?
                });
            }
            match self.rows.as_mut().and_then(Iterator::next) {
                Some(row) => return row.map(Some),
                None => self.rows = None,
            }
        }
    }

    fn next_problem(&mut self) -> Result<Option<Problem>, EvalError> {
        if let (Some(_), None) = (self.dataset.spec.select, &self.selected) {
            self.selected = Some(self.dataset.selected()?);
        }
        while let Some(RowText { place, text, .. }) = self.next_row()? {
            let problem = self.dataset.read(&text).map_err(|error| {
                let error = error.at(place.clone());
                match &mut self.rows {
                    Some(rows) => rows.blame_packing(error),
                    None => error,
                }
            })?;
            let file = self.next_file as u32 - 1;
            let id = problem.problem_id.as_str();
            if let Some((file, at)) = self.seen.insert(id.into(), (file, place.at)) {
                let path = &self.dataset.spec.files[file as usize];
                let first = Place {
                    file: Arc::from(path.as_path()),
                    at,
                };
                let id = problem.problem_id;
                return Err(EvalError::DuplicateProblem {
                    id,
                    first,
                    second: place,
                });
            }
            if self.dataset.in_range(id)
                && self.selected.as_ref().is_none_or(|ids| ids.contains(id))
            {
                if self.hash_rows {
                    let hash = canonical_sha256(&text).map_err(|error| EvalError::BadRow {
                        place: place.clone(),
                        reason: error.to_string(),
                    })?;
                    self.hashed = Some((place, hash));
                }
                return Ok(Some(problem));
            }
        }
        match &self.dataset.spec.numbers {
            Some(range) if !self.yielded => Err(EvalError::NothingSelected {
                slug: self.dataset.slug.clone(),
                range: format!("{}..{}", range.start(), range.end()),
            }),
            _ => Ok(None),
        }
    }
}

impl Iterator for Problems {
    type Item = Result<Problem, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.next_problem().transpose();
        match &item {
            Some(Ok(_)) => self.yielded = true,
            Some(Err(_)) | None => self.ended = true,
        }
        item
    }
}

impl Dataset {
    fn in_range(&self, id: &str) -> bool {
        match &self.spec.numbers {
            None => true,
            Some(range) => number_of(id).is_some_and(|number| range.contains(&number)),
        }
    }

    /// The ids that the selection keeps: one pass over everything, once.
    fn selected(&self) -> Result<HashSet<Box<str>>, EvalError> {
        let Some(Selection::Hash(count)) = self.spec.select else {
            return Ok(HashSet::new());
        };
        if let Some(ids) = self.selected.get() {
            return Ok(ids.clone());
        }
        let everything = DatasetSpec {
            select: None,
            ..(*self.spec).clone()
        };
        let everything = Self {
            spec: Arc::new(everything),
            ..self.clone()
        };
        // Ties are impossible for unique ids, so the set is the same in any order.
        let mut smallest = BTreeSet::new();
        for problem in everything.problems() {
            let id = problem?.problem_id;
            smallest.insert((Selection::hash(&id), id.into_boxed_str()));
            if smallest.len() > count {
                smallest.pop_last();
            }
        }
        let ids: HashSet<Box<str>> = smallest.into_iter().map(|(_, id)| id).collect();
        Ok(self.selected.get_or_init(|| ids).clone())
    }

    /// Reads one row.
    fn read(&self, text: &str) -> Result<Problem, FieldError> {
        let spec = &self.spec;
        let mut problem = if self.format == Format::Native {
            Problem::from_row(text).map_err(|error| match Fields::parse(text) {
                Ok(_) => error.into(),
                // No object at all: said in the same words for every format.
                Err(error) => error,
            })?
        } else {
            let row = Fields::parse(text)?;
            match self.format {
                Format::Native => unreachable!("read above"),
                Format::HumanEval => human_eval::problem(&row, spec)?,
                Format::Mbpp => mbpp::problem(&row, spec)?,
                Format::CodeContests => code_contests::problem(&row, spec)?,
                Format::Apps => apps::problem(&row, spec)?,
                Format::LiveCodeBench => live_code_bench::problem(&row, spec)?,
                Format::SandboxFusion => sandbox_fusion::problem(&row, spec)?,
            }
        };
        if problem.problem_id.trim().is_empty() {
            return Err(FieldError::new("problem_id", "blank"));
        }
        if !spec.references {
            problem.references = Vec::new();
        }
        problem.dataset.clone_from(&self.slug);
        Ok(problem)
    }
}

fn is_bundled(path: &Path) -> bool {
    starter::is_name(path) && !path.exists()
}

fn open_rows(path: &Path, format: Format, references: bool) -> Result<Rows, EvalError> {
    if is_bundled(path) {
        return Rows::of_bytes("starter", starter::PROBLEMS);
    }
    Rows::open(path, &|column| format.reads_column(column, references))
}

/// The `dataset` that the first native row states, as a slug; empty if it states none.
fn native_slug(path: &Path) -> Result<String, EvalError> {
    let row = match open_rows(path, Format::Native, false)?.next() {
        Some(row) => row?,
        None => return Ok(String::new()),
    };
    let fields = Fields::parse(&row.text).map_err(|error| error.at(row.place.clone()))?;
    let dataset: Option<String> = fields
        .optional("dataset")
        .map_err(|error| error.at(row.place.clone()))?;
    Ok(slug_of(&dataset.unwrap_or_default()))
}

/// `data/sanitized-MBPP.json.gz` is `sanitized_mbpp`; the shard numbers that Hugging Face puts
/// into names (`test-00000-of-00001-9c49eeff30aacaa8.parquet`) are left out.
fn slug_of_file(path: &Path) -> String {
    let mut name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    for extension in [".gz", ".zst", ".jsonl", ".ndjson", ".json", ".parquet"] {
        if let Some(stem) = name.strip_suffix(extension) {
            name.truncate(stem.len());
        }
    }
    if let Some((split, shard)) = name.split_once('-')
        && let Some((number, of)) = shard.split_once("-of-")
        && number.len() == 5
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && of.bytes().take(5).all(|byte| byte.is_ascii_digit())
    {
        name = split.to_owned();
    }
    let slug = slug_of(&name);
    if slug.is_empty() {
        "dataset".into()
    } else {
        slug
    }
}

/// Lower-case ASCII letters, digits and single underscores: safe in keys, file names and flags.
fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    slug.truncate(slug.trim_end_matches('_').len());
    slug
}

/// The number at the end of an id: 11 for `MBPP/11`.
fn number_of(id: &str) -> Option<u64> {
    id.rsplit('/').next()?.parse().ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to a string cannot fail");
            out
        })
}
