//! The settings of an evaluation: defaults, a file, flags; put together, checked, written down.
//!
//! The defaults are one commented file in the binary. A user's file is laid over them key by key,
//! flags over both. Each key is looked up among those that exist before anything else happens, so
//! that a misspelt one is an error with its name, not a default that was meant to be changed.

mod layers;
mod rules;

use std::collections::BTreeMap;
use std::path::PathBuf;

use judge::{Compare, LimitOverrides};
use serde::{Deserialize, Serialize};

pub(crate) use layers::nearest;

use crate::dataset::{DatasetSpec, Format, Selection, TestSelection};
use crate::error::EvalError;
use crate::extract::ExtractRule;

/// The defaults, as a commented TOML file.
pub const DEFAULT_CONFIG: &str = include_str!("config/default.toml");

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

fn range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (first, last) = text.split_once("..")?;
    let (first, last) = (
        first.trim().parse().ok()?,
        last.trim_start_matches('=').trim().parse().ok()?,
    );
    (first <= last).then_some(first..=last)
}
