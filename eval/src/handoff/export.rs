//! The package that GRPO training starts from: where the model is and what its files must hash to,
//! the settings that decided the evaluation, and training rows whose reward means the same.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use executor::Network;
use judge::{JudgeConfig, Overrides};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::verify::Verified;
use crate::config::EvalConfig;
use crate::dataset::{Dataset, hex};
use crate::error::EvalError;
use crate::prompt::Prompter;
use crate::results::{write_atomically, write_json};

/// Rows in memory at a time.
const BATCH_ROWS: usize = 64;

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// The Hugging Face folder, checked before.
    pub verified: Verified,
    /// Where the package goes.
    pub out: PathBuf,
    /// Datasets that become training rows.
    pub rows: Vec<String>,
    /// Ids that must stay out of training, one a line.
    pub exclude_ids: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// `handoff.json`.
    pub manifest: PathBuf,
    /// The parquet files, and how many rows each has and how many were left out.
    pub rows: Vec<(PathBuf, u64, u64)>,
}

/// Writes the package.
///
/// # Errors
///
/// A file cannot be read or written, or a dataset is not set up.
pub fn export(request: &ExportRequest, config: &EvalConfig) -> Result<Exported, EvalError> {
    let out = &request.out;
    let model = fs::canonicalize(&request.verified.model)
        .map_err(EvalError::read(&request.verified.model))?;
    fs::create_dir_all(out).map_err(EvalError::write(out))?;
    let files = hash_files(&model)?;
    let of = |name: &str| {
        let found = files.iter().find(|file| file["name"] == name);
        found.map_or(Value::Null, |file| file["sha256"].clone())
    };
    let mut datasets = serde_json::Map::new();
    let mut rows = Vec::new();
    let excluded = excluded(request.exclude_ids.as_deref())?;
    // Workers and network say nothing about a row.
    let judge = config.judge_config(1, Network::None);
    for slug in &request.rows {
        let dataset_config = config.datasets.get(slug).ok_or_else(|| {
            let near = crate::config::nearest(slug, config.datasets.keys().map(String::as_str));
            EvalError::invalid(format!("there is no dataset {slug:?}{near}"))
        })?;
        if dataset_config.files.is_empty() {
            return Err(
                EvalError::invalid(format!("dataset {slug:?} has no file")).hint(format!(
                    "set `files` in [datasets.{slug}], or give --dataset {slug}=FILE"
                )),
            );
        }
        let bad = |reason: String| EvalError::invalid(format!("datasets.{slug}.{reason}"));
        let dataset = Dataset::open(dataset_config.spec(slug).map_err(bad)?)?;
        let prompter = Prompter::new(dataset_config, &dataset)?;
        let templates = out.join("prompts");
        fs::create_dir_all(&templates).map_err(EvalError::write(&templates))?;
        let template = templates.join(format!("{slug}.txt"));
        write_atomically(&template, |file| {
            file.write_all(prompter.template().as_bytes())
        })?;
        let path = out.join(format!("{slug}.parquet"));
        let extract = dataset_config.extract_rule().map_err(bad)?;
        let rules = RowRules {
            judge: &judge,
            extract: extract.as_str(),
            excluded: &excluded,
        };
        let (written, left_out) = write_rows(&path, &dataset, &prompter, &rules)?;
        datasets.insert(
            slug.clone(),
            json!({
                "rows": written,
                "excluded": left_out,
                "parquet": path.file_name().map(|name| name.to_string_lossy()),
                "prompt_template": format!("prompts/{slug}.txt"),
                "prompt_sha256": prompter.sha256(),
                "style": dataset_config.style,
                "extract": extract,
                "compare": dataset_config.compare,
                "limits": dataset_config.limits,
            }),
        );
        rows.push((path, written, left_out));
    }
    let manifest = out.join("handoff.json");
    let judging = &config.judging;
    write_json(
        &manifest,
        &json!({
            "schema": "codejury.handoff/1",
            "codejury": env!("CARGO_PKG_VERSION"),
            "model_path": model,
            "architectures": request.verified.architectures,
            "parameters": request.verified.parameters,
            "vocab_size": request.verified.vocab_size,
            "dtype": request.verified.dtype,
            "checks": request.verified.checks,
            "files": files,
            "tokenizer_sha256": of("tokenizer.json"),
            "reward": {
                "function": "codejury.verl.compute_score",
                "options": reward_options(config),
                "run_timeout_s": judging.run_timeout_s,
                "memory_limit_mb": judging.memory_limit_mb,
                "aggregate": judging.aggregate,
                "max_timeouts": judging.max_timeouts,
                "integrity": judging.integrity,
                "limits": judging.limits,
            },
            "sampling": config.sampling,
            "datasets": datasets,
        }),
    )?;
    write_overrides(out, &model, config, &rows)?;
    Ok(Exported { manifest, rows })
}

/// Settings for verl, to be given as its configuration or read from.
fn write_overrides(
    out: &Path,
    model: &Path,
    config: &EvalConfig,
    rows: &[(PathBuf, u64, u64)],
) -> Result<(), EvalError> {
    // JSON is YAML, whatever stands in a path.
    let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy()).expect("a text");
    let absolute = fs::canonicalize(out).map_err(EvalError::read(out))?;
    let files: Vec<String> = rows
        .iter()
        .map(|(path, ..)| quoted(&absolute.join(path.file_name().unwrap_or_default())))
        .collect();
    let answer = config.sampling.max_new_tokens;
    let text = format!(
        "# GRPO with verl: the model that was evaluated, and rewards that mean what its verdicts meant.\n\
         # Up to verl 0.6 `custom_reward_function` stands at the top, and its `path` is that of a file:\n\
         # python -c 'import codejury.verl; print(codejury.verl.__file__)'\n\
         actor_rollout_ref:\n  model:\n    path: {model}\n\
         data:\n  train_files: [{files}]\n  prompt_key: prompt\n  max_prompt_length: {question}\n  \
         max_response_length: {answer}\n\
         reward:\n  custom_reward_function:\n    path: pkg://codejury.verl\n    name: compute_score\n    \
         reward_kwargs:\n      options: {options}\n",
        model = quoted(model),
        files = files.join(", "),
        question = config.server.max_model_len.saturating_sub(answer).max(1),
        options = reward_options(config),
    );
    write_atomically(&out.join("verl_grpo.yaml"), |file| {
        file.write_all(text.as_bytes())
    })?;
    let model = quoted(model);
    let text = format!(
        "# Further SFT with verl, from the same model. Its older trainer (verl.trainer.fsdp_sft_trainer) calls this\n\
         # model.partial_pretrain={model}\n\
         model:\n  path: {model}\n",
    );
    write_atomically(&out.join("verl_sft.yaml"), |file| {
        file.write_all(text.as_bytes())
    })
}

/// What of a verdict no row states.
fn reward_options(config: &EvalConfig) -> Value {
    json!({
        "aggregate": config.judging.aggregate,
        "max_timeouts": config.judging.max_timeouts,
        "integrity": config.judging.integrity,
    })
}

fn hash_files(model: &Path) -> Result<Vec<Value>, EvalError> {
    let entries = fs::read_dir(model).map_err(EvalError::read(model))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let hash = |path: &PathBuf| -> Result<Value, EvalError> {
        let mut file = File::open(path).map_err(EvalError::read(path))?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            match file.read(&mut chunk).map_err(EvalError::read(path))? {
                0 => break,
                n => {
                    hash.update(&chunk[..n]);
                    size += n as u64;
                }
            }
        }
        Ok(json!({
            "name": path.file_name().unwrap_or_default().to_string_lossy(),
            "size_bytes": size,
            "sha256": hex(&hash.finalize()),
        }))
    };
    paths.iter().map(hash).collect()
}

fn excluded(path: Option<&Path>) -> Result<HashSet<String>, EvalError> {
    let Some(path) = path else {
        return Ok(HashSet::new());
    };
    let text = fs::read_to_string(path).map_err(EvalError::read(path))?;
    let ids = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(ids.map(str::to_owned).collect())
}

/// One training row, as verl's data sets have them.
struct TrainingRow {
    data_source: String,
    prompt: String,
    ground_truth: String,
    problem_id: String,
    extract: String,
}

/// What the rows of a dataset have in common.
struct RowRules<'a> {
    judge: &'a JudgeConfig,
    extract: &'a str,
    excluded: &'a HashSet<String>,
}

fn write_rows(
    path: &Path,
    dataset: &Dataset,
    prompter: &Prompter,
    rules: &RowRules<'_>,
) -> Result<(u64, u64), EvalError> {
    let (mut written, mut left_out) = (0, 0);
    let mut failure = None;
    let outcome = write_atomically(path, |out| {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .build();
        let mut writer = ArrowWriter::try_new(&mut *out, Arc::new(schema()), Some(properties))?;
        let mut batch = Vec::new();
        for problem in dataset.problems() {
            let made = problem.and_then(|problem| {
                let row = prompter.row(&problem)?;
                Ok((problem, row))
            });
            let (mut problem, prompt) = match made {
                Ok(made) => made,
                Err(error) => {
                    failure = Some(error);
                    return Err(std::io::ErrorKind::InvalidData.into());
                }
            };
            if rules.excluded.contains(&problem.problem_id) {
                left_out += 1;
                continue;
            }
            // What the configuration says travels in the row: a trainer does not read it.
            Overrides {
                compare: problem.compare,
                limits: problem.limits,
            } = rules.judge.stated(&problem);
            batch.push(TrainingRow {
                data_source: format!("codejury/{}", problem.dataset),
                prompt: prompt.prompt,
                problem_id: problem.problem_id.clone(),
                extract: rules.extract.to_owned(),
                // The native row: tests, comparison and limits as the evaluation had them.
                ground_truth: problem.to_row(),
            });
            if batch.len() == BATCH_ROWS {
                writer.write(&record_batch(&batch, written))?;
                writer.flush()?;
                written += batch.len() as u64;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            writer.write(&record_batch(&batch, written))?;
            written += batch.len() as u64;
        }
        writer.close()?;
        Ok(())
    });
    match failure {
        Some(error) => Err(error),
        None => outcome.map(|()| (written, left_out)),
    }
}

fn text_fields(names: &[&str]) -> Fields {
    names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, false))
        .collect()
}

fn extra_fields() -> Fields {
    let mut fields: Vec<Field> = vec![Field::new("index", DataType::Int64, false)];
    fields.extend(
        ["split", "problem_id", "extract"].map(|name| Field::new(name, DataType::Utf8, false)),
    );
    fields.into()
}

fn message() -> Arc<Field> {
    Arc::new(Field::new(
        "item",
        DataType::Struct(text_fields(&["role", "content"])),
        false,
    ))
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("data_source", DataType::Utf8, false),
        Field::new("prompt", DataType::List(message()), false),
        Field::new("ability", DataType::Utf8, false),
        Field::new(
            "reward_model",
            DataType::Struct(text_fields(&["style", "ground_truth"])),
            false,
        ),
        Field::new("extra_info", DataType::Struct(extra_fields()), false),
    ])
}

fn record_batch(rows: &[TrainingRow], first: u64) -> RecordBatch {
    let texts = |of: &dyn Fn(&TrainingRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let messages = StructArray::new(
        text_fields(&["role", "content"]),
        vec![texts(&|_| "user".into()), texts(&|row| row.prompt.clone())],
        None,
    );
    let prompt = ListArray::new(
        message(),
        arrow_array_offsets(rows.len()),
        Arc::new(messages),
        None,
    );
    let reward = StructArray::new(
        text_fields(&["style", "ground_truth"]),
        vec![
            texts(&|_| "rule".into()),
            texts(&|row| row.ground_truth.clone()),
        ],
        None,
    );
    let index = Int64Array::from_iter_values((0..rows.len()).map(|i| (first + i as u64) as i64));
    let extra = StructArray::new(
        extra_fields(),
        vec![
            Arc::new(index),
            texts(&|_| "train".into()),
            texts(&|row| row.problem_id.clone()),
            texts(&|row| row.extract.clone()),
        ],
        None,
    );
    let columns: Vec<ArrayRef> = vec![
        texts(&|row| row.data_source.clone()),
        Arc::new(prompt),
        texts(&|_| "code".into()),
        Arc::new(reward),
        Arc::new(extra),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns as in the schema")
}

/// Lists of one message each.
fn arrow_array_offsets(rows: usize) -> arrow_buffer::OffsetBuffer<i32> {
    arrow_buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows))
}
