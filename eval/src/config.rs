//! The settings of an evaluation: defaults, a file, flags; put together, checked, written down.
//!
//! The defaults are one commented file in the binary. A user's file is laid over them key by key,
//! flags over both. Each key is looked up among those that exist before anything else happens, so
//! that a misspelt one is an error with its name, not a default that was meant to be changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use judge::{Compare, LimitOverrides};
use serde::{Deserialize, Serialize};

use crate::dataset::{DatasetSpec, Format, Selection, TestSelection};
use crate::error::EvalError;
use crate::extract::ExtractRule;

/// The defaults, as a commented TOML file.
pub const DEFAULT_CONFIG: &str = include_str!("config/default.toml");

/// Metrics that choose a checkpoint: the larger, the better.
const CHOOSING: [&str; 8] = [
    "exec_success_rate",
    "accepted_at_1",
    "pass_ratio_mean",
    "pass@1",
    "pass@5",
    "pass@10",
    "pass@50",
    "pass@100",
];

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalConfig {
    /// Where results go.
    pub out: PathBuf,
    /// The model's name in requests and results; empty: from the step or the folder.
    pub model_name: String,
    /// Above this share of failures of ours an evaluation is void.
    pub max_api_error_rate: f64,
    /// Where completions come from.
    pub generator: GeneratorConfig,
    /// The server that is started for them.
    pub server: ServerConfig,
    /// How completions are sampled.
    pub sampling: Sampling,
    /// How programs are judged.
    pub judging: JudgingConfig,
    /// What is evaluated when, by tier number.
    pub tiers: BTreeMap<String, Tier>,
    /// The datasets by slug.
    pub datasets: BTreeMap<String, DatasetConfig>,
    /// Which checkpoint is the best.
    pub selection: SelectionConfig,
    /// Checkpoints of a training run.
    pub watch: WatchConfig,
    /// What training is expected to change.
    pub compare: CompareConfig,
}

/// Where completions come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorConfig {
    /// The kind.
    pub kind: GeneratorKind,
    /// openai: the address up to `/v1`.
    pub base_url: String,
    /// The environment variable with the server's key.
    pub api_key_env: String,
    /// replay: a file or folder.
    pub completions: PathBuf,
    /// Requests in flight to each server.
    pub concurrency: usize,
    /// Seconds.
    pub connect_timeout_s: f64,
    /// Seconds of silence after which a request has failed.
    pub silence_timeout_s: f64,
    /// Repeats after failures that may pass.
    pub retries: u32,
    /// The first wait before a repeat, in milliseconds.
    pub retry_delay_ms: u64,
    /// How many stop strings a server takes.
    pub max_stop_strings: usize,
}

/// The kinds of generators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorKind {
    /// A vLLM server that we start and stop.
    Vllm,
    /// A server that runs already.
    Openai,
    /// Recorded completions.
    Replay,
    /// The dataset's own solutions.
    Reference,
}

impl GeneratorKind {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Openai => "openai",
            Self::Replay => "replay",
            Self::Reference => "reference",
        }
    }
}

/// The server that is started for generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerConfig {
    /// Program and arguments, with `{model}`, `{name}`, `{port}` and `{max_model_len}`.
    pub command: Vec<String>,
    /// Tokens of prompt and completion together.
    pub max_model_len: u64,
    /// 0: a free one for each replica.
    pub port: u16,
    /// How many servers.
    pub replicas: u16,
    /// `CUDA_VISIBLE_DEVICES` of each replica.
    pub devices: Vec<String>,
    /// Seconds until the first token.
    pub ready_timeout_s: f64,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace_s: f64,
    /// How often a dead server is started again.
    pub restarts: u32,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
}

/// How completions are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the OpenAI protocol")]
pub struct Sampling {
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: i64,
    pub min_p: f64,
    pub repetition_penalty: f64,
    pub presence_penalty: f64,
    pub frequency_penalty: f64,
    pub max_new_tokens: u64,
    pub samples: u32,
    pub seed: u64,
}

/// How programs are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgingConfig {
    /// Seconds of wall time for each run.
    pub run_timeout_s: f64,
    /// MiB for each run.
    pub memory_limit_mb: u64,
    /// Which failing test case gives the error type.
    pub aggregate: judge::Aggregate,
    /// Timeouts after which the rest is skipped; 0 runs everything.
    pub max_timeouts: u32,
    /// Whether tests must be out of the candidate's reach.
    pub integrity: judge::IntegrityRequest,
    /// Whose limits apply where nobody states others.
    pub limits: LimitsOf,
    /// Fuel that counts as one second of CPU time on the wasm backend.
    pub wasm_fuel_per_second: u64,
    /// A folder with verdicts; empty: none.
    pub cache: PathBuf,
}

/// Whose limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitsOf {
    /// Ours.
    Default,
    /// Those of the dataset's source.
    Source,
}

/// A group of datasets and when they are due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// Their slugs.
    pub datasets: Vec<String>,
    /// Due at the multiples of this; 0: at the end only.
    pub every_steps: u64,
}

/// Which endpoint a prompt is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As a user's message.
    Chat,
    /// As a text to go on from.
    Completion,
}

/// One dataset of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetConfig {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Their format; empty: told from the first row.
    pub format: String,
    /// Which of a row's tests are used.
    pub tests: String,
    /// `FIRST..LAST`, or empty.
    pub numbers: String,
    /// `hash:N`, or empty.
    pub select: String,
    /// A manifest whose problems these must be; empty: none.
    pub manifest: PathBuf,
    /// How many problems there must be; 0: any number.
    pub count: u64,
    /// A bundled template, or a file.
    pub prompt: String,
    /// The endpoint.
    pub style: Style,
    /// Ids of problems that the template shows.
    pub few_shot: Vec<String>,
    /// Where a completion ends.
    pub stop: Vec<String>,
    /// How the program is found in the text; empty: by the style.
    pub extract: String,
    /// The comparison; empty: the row's, or the reader's.
    pub compare: String,
    /// Limits of this dataset.
    pub limits: LimitOverrides,
    /// How many samples the QA log holds.
    pub qa_total: usize,
    /// How many of each error type.
    pub qa_per_type: usize,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            format: String::new(),
            tests: String::new(),
            numbers: String::new(),
            select: String::new(),
            manifest: PathBuf::new(),
            count: 0,
            prompt: "plain".into(),
            style: Style::Chat,
            few_shot: Vec::new(),
            stop: Vec::new(),
            extract: String::new(),
            compare: String::new(),
            limits: LimitOverrides::default(),
            qa_total: 30,
            qa_per_type: 5,
        }
    }
}

/// Which checkpoint is the best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectionConfig {
    /// Where it is measured.
    pub dataset: String,
    /// What decides.
    pub metric: String,
    /// What decides between equals; after it, the smaller step.
    pub tie_break: String,
    /// Percentage points.
    pub guard_no_output_pp: f64,
    /// Percentage points.
    pub guard_accepted_pp: f64,
}

/// Checkpoints of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchConfig {
    /// Seconds between looks.
    pub poll_s: f64,
    /// Where in `global_step_N` the weights may be.
    pub subfolders: Vec<String>,
}

/// What training is expected to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "ranges and thresholds, named as they are shown"
)]
pub struct CompareConfig {
    pub dataset: String,
    pub humaneval: String,
    pub mbpp: String,
    pub exec_gain_pp: [f64; 2],
    pub accepted_gain_pp: [f64; 2],
    pub syntax_error_change_percent: [f64; 2],
    pub runtime_error_change_percent: [f64; 2],
    pub timeout_change_percent: [f64; 2],
    pub alarm_exec_gain_pp: f64,
    pub alarm_humaneval_loss_pp: f64,
    pub alarm_nothing_changed_pp: f64,
}

impl EvalConfig {
    /// The defaults, the file laid over them, and over both the settings that flags make: dotted
    /// names with TOML values.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no TOML, has a key that does not exist, or a value of the wrong
    /// type or out of range.
    pub fn load(file: Option<&Path>, flags: &[(String, toml::Value)]) -> Result<Self, EvalError> {
        let mut all: toml::Table = DEFAULT_CONFIG.parse().expect("the defaults are TOML");
        if let Some(path) = file {
            let text = fs::read_to_string(path).map_err(EvalError::read(path))?;
            let table: toml::Table = text
                .parse()
                .map_err(|error| EvalError::config(path, no_toml(&error, &text)))?;
            known_keys(&table).map_err(|reason| EvalError::config(path, reason))?;
            let folder = path.parent().unwrap_or(Path::new(""));
            lay_over(&mut all, table);
            // Checked here too, so that the file is blamed for what the file says.
            let config = Self::of(all.clone()).map_err(|why| EvalError::config(path, why))?;
            let config = config.beside(folder);
            // Fails for a folder whose name is no UTF-8.
            all = toml::Table::try_from(&config)
                .map_err(|error| EvalError::config(path, error.to_string()))?;
        }
        let mut table = toml::Table::new();
        for (name, value) in flags {
            put(&mut table, name, value.clone());
        }
        let blame = || PathBuf::from("the command line");
        known_keys(&table).map_err(|reason| EvalError::config(&blame(), reason))?;
        lay_over(&mut all, table);
        Self::of(all).map_err(|reason| EvalError::config(&blame(), reason))
    }

    fn of(table: toml::Table) -> Result<Self, String> {
        let config: Self = table
            .try_into()
            // The key stands on a line of its own; messages have one.
            .map_err(|error: toml::de::Error| error.to_string().trim_end().replace('\n', " "))?;
        config.check()?;
        Ok(config)
    }

    /// Relative names in the file mean files beside it.
    fn beside(mut self, folder: &Path) -> Self {
        let join = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        join(&mut self.generator.completions);
        join(&mut self.judging.cache);
        for dataset in self.datasets.values_mut() {
            dataset.files.iter_mut().for_each(join);
            join(&mut dataset.manifest);
            if dataset.prompt.contains(['/', '.']) && !Path::new(&dataset.prompt).is_absolute() {
                dataset.prompt = folder.join(&dataset.prompt).to_string_lossy().into_owned();
            }
        }
        self
    }

    /// What cannot be, with the key's name.
    fn check(&self) -> Result<(), String> {
        let sampling = &self.sampling;
        let seconds = |value: f64| (0.0..=86_400.0).contains(&value);
        let rules = [
            (
                (0.0..=1.0).contains(&self.max_api_error_rate),
                "max_api_error_rate must be between 0 and 1",
            ),
            (
                (0.0..=2.0).contains(&sampling.temperature),
                "sampling.temperature must be between 0 and 2",
            ),
            (
                sampling.top_p > 0.0 && sampling.top_p <= 1.0,
                "sampling.top_p must be above 0 and at most 1",
            ),
            (
                sampling.max_new_tokens > 0,
                "sampling.max_new_tokens must be at least 1",
            ),
            (
                (1..=10_000).contains(&sampling.samples),
                "sampling.samples must be between 1 and 10000",
            ),
            (
                sampling.samples == 1 || sampling.temperature > 0.0,
                "sampling.samples above 1 needs sampling.temperature above 0: at 0 all samples are the same",
            ),
            (
                self.generator.concurrency > 0,
                "generator.concurrency must be at least 1",
            ),
            (
                self.generator.silence_timeout_s > 0.0 && self.generator.connect_timeout_s > 0.0,
                "generator timeouts must be above 0",
            ),
            (
                !self.server.command.is_empty(),
                "server.command must not be empty",
            ),
            (
                self.server.replicas > 0,
                "server.replicas must be at least 1",
            ),
            (
                self.server.port == 0
                    || self
                        .server
                        .port
                        .checked_add(self.server.replicas.saturating_sub(1))
                        .is_some(),
                "server.port leaves too few ports above it for server.replicas",
            ),
            (
                self.generator.kind != GeneratorKind::Vllm
                    || sampling.max_new_tokens < self.server.max_model_len,
                "sampling.max_new_tokens must be below server.max_model_len, which holds the prompt too",
            ),
            (
                self.judging.run_timeout_s >= 0.001 && self.judging.run_timeout_s <= 86_400.0,
                "judging.run_timeout_s must be between 0.001 and 86400 (a day)",
            ),
            (
                (1..=1 << 20).contains(&self.judging.memory_limit_mb),
                "judging.memory_limit_mb must be between 1 and 1048576",
            ),
            (
                (1_000_000..=1 << 60).contains(&self.judging.wasm_fuel_per_second),
                "judging.wasm_fuel_per_second must be between 1000000 and 1152921504606846976",
            ),
            (
                seconds(self.watch.poll_s) && self.watch.poll_s > 0.0,
                "watch.poll_s must be above 0, and at most a day",
            ),
            (
                seconds(self.generator.connect_timeout_s)
                    && seconds(self.generator.silence_timeout_s)
                    && seconds(self.server.ready_timeout_s)
                    && seconds(self.server.stop_grace_s),
                "generator and server timeouts must be between 0 and 86400 (a day)",
            ),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(rule.to_owned());
        }
        // A name that nothing has would choose nothing, without a word.
        for (key, slug) in [
            ("selection.dataset", &self.selection.dataset),
            ("compare.dataset", &self.compare.dataset),
            ("compare.humaneval", &self.compare.humaneval),
            ("compare.mbpp", &self.compare.mbpp),
        ] {
            if !self.datasets.contains_key(slug) {
                let near = nearest(slug, self.datasets.keys().map(String::as_str));
                return Err(format!(
                    "{key} names {slug:?}, for which there is no [datasets.{slug}]{near}"
                ));
            }
        }
        for (key, metric) in [
            ("selection.metric", &self.selection.metric),
            ("selection.tie_break", &self.selection.tie_break),
        ] {
            if !CHOOSING.contains(&metric.as_str()) {
                let near = nearest(metric, CHOOSING.into_iter());
                return Err(format!(
                    "{key}: {metric:?} cannot choose a checkpoint; known: {}{near}",
                    CHOOSING.join(", ")
                ));
            }
        }
        for (number, tier) in &self.tiers {
            for slug in &tier.datasets {
                if !self.datasets.contains_key(slug) {
                    let near = nearest(slug, self.datasets.keys().map(String::as_str));
                    return Err(format!(
                        "tiers.{number}.datasets names {slug:?}, for which there is no [datasets.{slug}]{near}"
                    ));
                }
            }
        }
        for (slug, dataset) in &self.datasets {
            dataset
                .spec(slug)
                .and(dataset.extract_rule())
                .map_err(|reason| format!("datasets.{slug}.{reason}"))?;
            dataset
                .comparison()
                .map_err(|reason| format!("datasets.{slug}.compare: {reason}"))?;
            dataset
                .limits
                .check()
                .map_err(|(name, reason)| format!("datasets.{slug}.limits.{name}: {reason}"))?;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if slug.is_empty() || !slug.chars().all(plain) {
                return Err(format!(
                    "datasets.{slug}: a name has lower-case letters, digits and underscores only"
                ));
            }
        }
        Ok(())
    }

    /// The tiers that are due at a step.
    pub fn due(&self, step: u64) -> Vec<String> {
        self.tiers
            .iter()
            .filter(|(_, tier)| {
                tier.every_steps > 0 && step > 0 && step.is_multiple_of(tier.every_steps)
            })
            .map(|(number, _)| number.clone())
            .collect()
    }

    /// The datasets of some tiers, each once, in the order of the tiers.
    ///
    /// # Errors
    ///
    /// There is no such tier.
    pub fn datasets_of(&self, tiers: &[String]) -> Result<Vec<String>, EvalError> {
        let mut slugs: Vec<String> = Vec::new();
        for number in tiers {
            let tier = self.tiers.get(number).ok_or_else(|| {
                let known: Vec<&str> = self.tiers.keys().map(String::as_str).collect();
                EvalError::Invalid {
                    what: format!("there is no tier {number}; known: {}", known.join(", ")),
                    hint: None,
                }
            })?;
            for slug in &tier.datasets {
                if !slugs.contains(slug) {
                    slugs.push(slug.clone());
                }
            }
        }
        Ok(slugs)
    }

    /// The configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is TOML")
    }
}

impl DatasetConfig {
    /// How its files are read.
    ///
    /// # Errors
    ///
    /// The name of a key and what is wrong with its value.
    pub fn spec(&self, slug: &str) -> Result<DatasetSpec, String> {
        let parse = |key: &str, text: &str, what: &str| format!("{key}: {text:?} is no {what}");
        Ok(DatasetSpec {
            files: self.files.clone(),
            slug: Some(slug.to_owned()),
            format: match self.format.as_str() {
                "" | "auto" => None,
                name => Some(
                    name.parse::<Format>()
                        .map_err(|error| format!("format: {error}"))?,
                ),
            },
            tests: match self.tests.as_str() {
                "" => TestSelection::All,
                name => name.parse().map_err(|error| format!("tests: {error}"))?,
            },
            numbers: match self.numbers.as_str() {
                "" => None,
                text => {
                    Some(range(text).ok_or_else(|| {
                        parse("numbers", text, "FIRST..LAST, for example 11..210")
                    })?)
                }
            },
            select: match self.select.as_str() {
                "" => None,
                text => Some(
                    text.parse::<Selection>()
                        .map_err(|error| format!("select: {error}"))?,
                ),
            },
            challenge_tests: false,
            references: false,
        })
    }

    /// How the program is found in a completion.
    ///
    /// # Errors
    ///
    /// The name of the key and what is wrong with its value.
    pub fn extract_rule(&self) -> Result<ExtractRule, String> {
        match (self.extract.as_str(), self.style) {
            ("", Style::Chat) => Ok(ExtractRule::Chat),
            ("", Style::Completion) => Ok(ExtractRule::Completion),
            (name, _) => name.parse().map_err(|error| format!("extract: {error}")),
        }
    }

    /// The comparison, if one is set.
    ///
    /// # Errors
    ///
    /// There is no such comparison.
    pub fn comparison(&self) -> Result<Option<Compare>, String> {
        match self.compare.as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|error: judge::ParseCompareError| error.to_string()),
        }
    }
}

/// Where a text stops being TOML, and why, on one line.
fn no_toml(error: &toml::de::Error, text: &str) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let message = error.message().replace('\n', ", ");
    format!("line {line}, column {column}: {message}")
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (first, last) = text.split_once("..")?;
    let (first, last) = (
        first.trim().parse().ok()?,
        last.trim_start_matches('=').trim().parse().ok()?,
    );
    (first <= last).then_some(first..=last)
}

/// Sets a dotted name.
fn put(table: &mut toml::Table, name: &str, value: toml::Value) {
    match name.split_once('.') {
        None => drop(table.insert(name.to_owned(), value)),
        Some((head, rest)) => {
            let entry = table
                .entry(head)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = entry {
                put(inner, rest, value);
            }
        }
    }
}

fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay_over(under, over),
            // Whole numbers are written where fractions are meant.
            (Some(old @ toml::Value::Float(_)), toml::Value::Integer(new)) => {
                *old = toml::Value::Float(new as f64);
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Refuses a key that does not exist.
fn known_keys(table: &toml::Table) -> Result<(), String> {
    let defaults: toml::Table = DEFAULT_CONFIG.parse().expect("the defaults are TOML");
    let mut dataset = toml::Table::try_from(DatasetConfig::default()).expect("TOML");
    let limits = [
        "wall_time_ms",
        "cpu_time_ms",
        "memory_bytes",
        "stdout_bytes",
        "stderr_bytes",
        "tasks",
        "open_files",
        "file_size_bytes",
        "scratch_bytes",
        "scratch_inodes",
    ];
    let limits: toml::Table = limits
        .into_iter()
        .map(|key| (key.to_owned(), toml::Value::Integer(0)))
        .collect();
    dataset.insert("limits".to_owned(), toml::Value::Table(limits));
    let tier = defaults["tiers"]["1"].as_table().expect("a table").clone();
    walk(table, &defaults, "", &|path: &str| match path {
        "server.env" => Some(None),
        "datasets" => Some(Some(dataset.clone())),
        "tiers" => Some(Some(tier.clone())),
        _ => None,
    })
}

/// `free` says which tables have keys of the user's own, and what each of these holds.
fn walk(
    table: &toml::Table,
    known: &toml::Table,
    path: &str,
    free: &dyn Fn(&str) -> Option<Option<toml::Table>>,
) -> Result<(), String> {
    let name = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    let own = free(path);
    for (key, value) in table {
        let inner = match (&own, known.get(key)) {
            (Some(None), _) => continue,
            (Some(Some(template)), _) => toml::Value::Table(template.clone()),
            (None, Some(inner)) => inner.clone(),
            (None, None) => {
                let near = nearest(key, known.keys().map(String::as_str));
                return Err(format!("there is no key `{}`{near}", name(key)));
            }
        };
        match (value, inner) {
            (toml::Value::Table(table), toml::Value::Table(known)) => {
                walk(table, &known, &name(key), free)?;
            }
            (_, toml::Value::Table(_)) => {
                return Err(format!("`{}` must be a table", name(key)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `; did you mean …?`, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(word.len()) / 3)
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<EvalConfig, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("eval.toml");
        fs::write(&path, text).expect("written");
        EvalConfig::load(Some(&path), &[]).map_err(|error| {
            let message = error.to_string();
            message
                .split_once(".toml: ")
                .expect("the file")
                .1
                .to_owned()
        })
    }

    #[test]
    fn the_defaults_hold_together() {
        let config = EvalConfig::load(None, &[]).expect("valid");
        assert_eq!(config.due(500), ["1"]);
        assert_eq!(config.due(4000), ["1", "2"]);
        assert!(config.due(0).is_empty() && config.due(750).is_empty());
        let again: EvalConfig = toml::from_str(&config.to_toml()).expect("read back");
        assert_eq!(again, config);
    }

    #[test]
    fn a_file_is_laid_over_them_and_flags_over_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("eval.toml");
        let text =
            "[sampling]\ntemperature = 1\nsamples = 5\n[datasets.own]\nfiles = [\"a.jsonl\"]\n";
        fs::write(&path, text).expect("written");
        let flags = [("sampling.samples".to_owned(), toml::Value::Integer(3))];
        let config = EvalConfig::load(Some(&path), &flags).expect("valid");
        assert_eq!(config.sampling.temperature, 1.0);
        assert_eq!(config.sampling.samples, 3);
        assert_eq!(config.sampling.max_new_tokens, 2048);
        assert_eq!(
            config.datasets["own"].files,
            [folder.path().join("a.jsonl")]
        );
        assert_eq!(config.datasets["humaneval"].count, 164);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                "[sampling]\ntemperatur = 1.0\n",
                "there is no key `sampling.temperatur`; did you mean `temperature`?",
            ),
            (
                "[datasets.own]\nfile = []\n",
                "there is no key `datasets.own.file`; did you mean `files`?",
            ),
            (
                "[selection]\nmetric = \"exec_sucess_rate\"\n",
                "selection.metric: \"exec_sucess_rate\" cannot choose a checkpoint; known: \
                 exec_success_rate, accepted_at_1, pass_ratio_mean, pass@1, pass@5, pass@10, pass@50, pass@100; \
                 did you mean `exec_success_rate`?",
            ),
            (
                "[selection]\ndataset = \"codecontest_valid\"\n",
                "selection.dataset names \"codecontest_valid\", for which there is no \
                 [datasets.codecontest_valid]; did you mean `codecontests_valid`?",
            ),
            (
                "[watch]\npoll_s = inf\n",
                "watch.poll_s must be above 0, and at most a day",
            ),
            (
                "[server]\nready_timeout_s = -1.0\n",
                "generator and server timeouts must be between 0 and 86400 (a day)",
            ),
            ("xyzzy = 1\n", "there is no key `xyzzy`"),
            ("sampling = 1\n", "`sampling` must be a table"),
            (
                "[sampling]\nsamples = 4\n",
                "sampling.samples above 1 needs sampling.temperature above 0: at 0 all samples are the same",
            ),
            (
                "[server]\nport = 65535\nreplicas = 2\n",
                "server.port leaves too few ports above it for server.replicas",
            ),
            (
                "[server]\nmax_model_len = 2048\n",
                "sampling.max_new_tokens must be below server.max_model_len, which holds the prompt too",
            ),
            (
                "[tiers.1]\ndatasets = [\"mbpp\"]\n",
                "tiers.1.datasets names \"mbpp\", for which there is no [datasets.mbpp]",
            ),
            (
                "[datasets.own]\nnumbers = \"9..1\"\n",
                "datasets.own.numbers: \"9..1\" is no FIRST..LAST, for example 11..210",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(load(text).expect_err(text), expected, "case: {text}");
        }
        let error = load("out = \"größer\"\n[sampling\n").expect_err("no TOML");
        assert_eq!(error, "line 2, column 10: unclosed table, expected `]`");
        let error = load("[sampling]\ntop_p = \"high\"\n").expect_err("no number");
        assert_eq!(
            error,
            "invalid type: string \"high\", expected f64 in `sampling.top_p`"
        );
    }
}
