//! Whether a folder holds a model that a trainer can go on from.
//!
//! Everything is read from the files: the index and headers of the weights, shapes against
//! `config.json`, every value for NaN and infinity, the tokenizer, the chat template. Nothing needs
//! torch or an accelerator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::Serialize;
use serde_json::Value;

use super::tokenizer;
use crate::checkpoint;
use crate::config::{EvalConfig, Style};
use crate::error::EvalError;
use crate::generate::{Ask, Client, Launch, Server, ServerHome, cause};
use crate::safetensors::Header;

/// How many names a message lists.
const NAMED: usize = 5;
/// What is scanned at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    Pass,
    /// Look at it; training goes on.
    Caution,
    /// The checkpoint must not be handed on.
    Fail,
    /// It could not be made here.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub detail: String,
}

/// What was found in a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// The folder.
    pub model: PathBuf,
    /// `architectures` of its config.
    pub architectures: Vec<String>,
    /// Numbers in all its tensors.
    pub parameters: u64,
    /// `vocab_size` of its config.
    pub vocab_size: Option<u64>,
    /// The type of its weights.
    pub dtype: Option<String>,
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Verified {
    /// Whether no check failed.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.state != State::Fail)
    }

    pub(super) fn add(&mut self, name: &'static str, state: State, detail: impl Into<String>) {
        self.checks.push(Check {
            name,
            state,
            detail: detail.into(),
        });
    }
}

/// Checks a folder. Every check is made, whatever an earlier one found.
///
/// # Errors
///
/// There is no such folder. What is wrong with its content is a check that failed.
pub fn verify(model: &Path) -> Result<Verified, EvalError> {
    fs::read_dir(model).map_err(EvalError::read(model))?;
    let mut verified = Verified {
        model: model.to_owned(),
        ..Verified::default()
    };
    let config = check_config(model, &mut verified);
    let headers = check_weights(model, &mut verified);
    if !headers.is_empty() {
        check_names(model, &headers, &mut verified);
        if let Some(config) = &config {
            check_shapes(config, &headers, &mut verified);
        }
        check_dtype(config.as_ref(), &headers, &mut verified);
        check_values(&headers, &mut verified);
    }
    let embeddings = headers.iter().find_map(|(_, header)| {
        let tensors = header.tensors.tensors();
        let embedding = tensors
            .iter()
            .find(|(name, _)| name.ends_with("embed_tokens.weight"));
        embedding.and_then(|(_, info)| info.shape.first().copied())
    });
    tokenizer::check(model, embeddings, config.as_ref(), &mut verified);
    check_companions(model, &mut verified);
    Ok(verified)
}

type Headers = Vec<(PathBuf, Header)>;

fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&String> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(NAMED).map(|name| name.as_str()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        n => format!("{} and {n} more", shown.join(", ")),
    }
}

fn check_config(model: &Path, verified: &mut Verified) -> Option<Value> {
    let path = model.join("config.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            verified.add("config", State::Fail, format!("config.json: {error}"));
            return None;
        }
    };
    let config: Value = match serde_json::from_slice(&text) {
        Ok(config) => config,
        Err(error) => {
            verified.add(
                "config",
                State::Fail,
                format!("config.json is no JSON: {error}"),
            );
            return None;
        }
    };
    let architectures = config["architectures"].as_array().into_iter().flatten();
    verified.architectures = architectures
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    verified.vocab_size = config["vocab_size"].as_u64();
    let wanted = [
        "architectures",
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "vocab_size",
    ];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|key| config[*key].is_null())
        .collect();
    // Multimodal models keep these in a section of their own.
    let nested = config["text_config"].is_object();
    match missing.is_empty() || nested {
        true => verified.add(
            "config",
            State::Pass,
            format!(
                "{}, {} layers",
                verified.architectures.join(", "),
                config["num_hidden_layers"]
            ),
        ),
        false => verified.add(
            "config",
            State::Fail,
            format!("config.json lacks {}", missing.join(", ")),
        ),
    }
    Some(config)
}

fn check_weights(model: &Path, verified: &mut Verified) -> Headers {
    let files = match checkpoint::weight_files(model) {
        Ok(files) => files,
        Err(error) => {
            let hint = match &error {
                EvalError::Invalid {
                    hint: Some(hint), ..
                } => format!(" ({hint})"),
                _ => String::new(),
            };
            verified.add("weights", State::Fail, format!("{error}{hint}"));
            // What is there is still worth a look.
            let Ok(entries) = fs::read_dir(model) else {
                return Vec::new();
            };
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "safetensors"))
                .collect()
        }
    };
    let mut headers = Vec::new();
    let mut broken = Vec::new();
    for path in files {
        match Header::read(&path) {
            Ok(header) => headers.push((path, header)),
            Err(error) => broken.push(error.to_string()),
        }
    }
    let tensors: usize = headers
        .iter()
        .map(|(_, header)| header.tensors.tensors().len())
        .sum();
    verified.parameters = headers
        .iter()
        .flat_map(|(_, header)| header.tensors.tensors().into_values())
        .map(|info| info.shape.iter().map(|&n| n as u64).product::<u64>())
        .sum();
    if !broken.is_empty() {
        verified.add("weights", State::Fail, broken.join("; "));
    } else if tensors > 0 && !verified.checks.iter().any(|check| check.name == "weights") {
        verified.add(
            "weights",
            State::Pass,
            format!(
                "{} files, {tensors} tensors, {} parameters",
                headers.len(),
                verified.parameters
            ),
        );
    }
    headers
}

/// Names that a merged model does not have, tensors that the index places elsewhere, doubles.
fn check_names(model: &Path, headers: &Headers, verified: &mut Verified) {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut doubles = Vec::new();
    for (path, header) in headers {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for name in header.tensors.tensors().into_keys() {
            if places.insert(name.clone(), file.clone()).is_some() {
                doubles.push(name);
            }
        }
    }
    let lora: Vec<&String> = places
        .keys()
        .filter(|name| {
            ["lora_A", "lora_B", "lora_embedding", "lora_magnitude"]
                .iter()
                .any(|part| name.contains(part))
                || name.starts_with("base_model.model.")
        })
        .collect();
    if !lora.is_empty() {
        verified.add(
            "lora",
            State::Fail,
            format!("the adapter is not merged: {}", named(lora)),
        );
    } else if model.join("adapter_config.json").is_file() {
        verified.add(
            "lora",
            State::Fail,
            "adapter_config.json: this is an adapter, not a model; merge it",
        );
    } else {
        verified.add("lora", State::Pass, "no adapter");
    }
    let mut faults = Vec::new();
    if !doubles.is_empty() {
        faults.push(format!("in two files: {}", named(&doubles)));
    }
    let index = fs::read(model.join("model.safetensors.index.json")).ok();
    let index: Option<Value> = index.and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(map) = index
        .as_ref()
        .and_then(|index| index["weight_map"].as_object())
    {
        let missing: Vec<String> = map
            .iter()
            .filter(|(name, file)| places.get(*name).map(String::as_str) != file.as_str())
            .map(|(name, _)| name.clone())
            .collect();
        let strange: Vec<&String> = places
            .keys()
            .filter(|name| !map.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            faults.push(format!("not where the index says: {}", named(&missing)));
        }
        if !strange.is_empty() {
            faults.push(format!("not in the index: {}", named(strange)));
        }
    }
    match faults.is_empty() {
        true => verified.add(
            "index",
            State::Pass,
            "every tensor once, where it should be",
        ),
        false => verified.add("index", State::Fail, faults.join("; ")),
    }
}

/// The shapes of the families that share Llama's layout; for others those of the embeddings.
fn check_shapes(config: &Value, headers: &Headers, verified: &mut Verified) {
    let shapes: BTreeMap<String, Vec<u64>> = headers
        .iter()
        .flat_map(|(_, header)| header.tensors.tensors())
        .map(|(name, info)| (name, info.shape.iter().map(|&n| n as u64).collect()))
        .collect();
    let number = |key: &str| config[key].as_u64();
    let (Some(hidden), Some(layers), Some(vocab)) = (
        number("hidden_size"),
        number("num_hidden_layers"),
        number("vocab_size"),
    ) else {
        verified.add(
            "shapes",
            State::Skipped,
            "config.json does not say what to expect",
        );
        return;
    };
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    expected.insert("model.embed_tokens.weight".into(), vec![vocab, hidden]);
    expected.insert("model.norm.weight".into(), vec![hidden]);
    if config["tie_word_embeddings"] != Value::Bool(true) {
        expected.insert("lm_head.weight".into(), vec![vocab, hidden]);
    }
    let dense = ["llama", "qwen2", "qwen3", "mistral"];
    let family = config["model_type"].as_str().unwrap_or_default();
    if let (true, Some(heads), Some(ffn)) = (
        dense.contains(&family),
        number("num_attention_heads"),
        number("intermediate_size"),
    ) && heads > 0
    {
        let kv_heads = number("num_key_value_heads").unwrap_or(heads);
        let head = number("head_dim").unwrap_or(hidden / heads);
        for layer in 0..layers {
            let mut put = |name: &str, shape: Vec<u64>| {
                expected.insert(format!("model.layers.{layer}.{name}"), shape);
            };
            put("self_attn.q_proj.weight", vec![heads * head, hidden]);
            put("self_attn.k_proj.weight", vec![kv_heads * head, hidden]);
            put("self_attn.v_proj.weight", vec![kv_heads * head, hidden]);
            put("self_attn.o_proj.weight", vec![hidden, heads * head]);
            put("mlp.gate_proj.weight", vec![ffn, hidden]);
            put("mlp.up_proj.weight", vec![ffn, hidden]);
            put("mlp.down_proj.weight", vec![hidden, ffn]);
            put("input_layernorm.weight", vec![hidden]);
            put("post_attention_layernorm.weight", vec![hidden]);
            if family == "qwen2" {
                put("self_attn.q_proj.bias", vec![heads * head]);
                put("self_attn.k_proj.bias", vec![kv_heads * head]);
                put("self_attn.v_proj.bias", vec![kv_heads * head]);
            }
        }
    }
    let missing: Vec<&String> = expected
        .keys()
        .filter(|name| !shapes.contains_key(*name))
        .collect();
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|(name, shape)| {
            let found = shapes.get(name)?;
            (found != shape).then(|| format!("{name} is {found:?}, not {shape:?}"))
        })
        .collect();
    // A server refuses layers that its configuration does not know. (Other families keep there what
    // predicts further tokens.)
    let beyond: Vec<&String> = shapes
        .keys()
        .filter(|_| dense.contains(&family))
        .filter(|name| {
            let layer = name.strip_prefix("model.layers.");
            let number = layer.and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
            number.is_some_and(|number| number >= layers)
        })
        .collect();
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("missing: {}", named(missing)));
    }
    if !beyond.is_empty() {
        faults.push(format!("beyond {layers} layers: {}", named(beyond)));
    }
    if !wrong.is_empty() {
        faults.push(named(&wrong));
    }
    let known = match dense.contains(&family) {
        true => format!("all {} as config.json says", expected.len()),
        false => format!(
            "embeddings and norm as config.json says; the layers of {family:?} are not known here"
        ),
    };
    match faults.is_empty() {
        true => verified.add("shapes", State::Pass, known),
        false => verified.add("shapes", State::Fail, faults.join("; ")),
    }
}

fn check_dtype(config: Option<&Value>, headers: &Headers, verified: &mut Verified) {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (_, header) in headers {
        for info in header.tensors.tensors().into_values() {
            *kinds.entry(format!("{:?}", info.dtype)).or_default() += 1;
        }
    }
    let most = kinds.iter().max_by_key(|(_, count)| **count);
    verified.dtype = most.map(|(kind, _)| kind.clone());
    let said = config.and_then(|config| {
        let dtype = config["dtype"]
            .as_str()
            .or_else(|| config["torch_dtype"].as_str());
        dtype.map(str::to_owned)
    });
    let expected = said
        .as_deref()
        .map(|said| match said.trim_start_matches("torch.") {
            "bfloat16" => "BF16".to_owned(),
            "float16" | "half" => "F16".to_owned(),
            "float32" | "float" => "F32".to_owned(),
            other => other.to_uppercase(),
        });
    let all: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} × {kind}"))
        .collect();
    let all = all.join(", ");
    match expected {
        Some(expected) if kinds.keys().all(|kind| *kind == expected) => {
            verified.add("dtype", State::Pass, all);
        }
        Some(expected) => verified.add(
            "dtype",
            State::Fail,
            format!("config.json says {expected}, the weights are {all}"),
        ),
        None if kinds.len() == 1 => {
            verified.add(
                "dtype",
                State::Caution,
                format!("{all}; config.json does not say"),
            );
        }
        None => verified.add("dtype", State::Fail, format!("mixed: {all}")),
    }
}

/// Reads every value.
fn check_values(headers: &Headers, verified: &mut Verified) {
    let mut faults: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut zero = BTreeSet::new();
    let mut unread = Vec::new();
    for (path, header) in headers {
        let scan = || -> std::io::Result<Vec<(String, Scan)>> {
            let mut input = BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
            let mut found = Vec::new();
            for name in header.tensors.offset_keys() {
                let Some(info) = header.tensors.info(&name) else {
                    continue;
                };
                let (start, end) = info.data_offsets;
                input.seek(SeekFrom::Start(header.data_offset + start as u64))?;
                found.push((name, Scan::of(&mut input, info.dtype, end - start)?));
            }
            Ok(found)
        };
        match scan() {
            Ok(found) => {
                for (name, scan) in found {
                    if scan.nan + scan.infinite > 0 {
                        faults.insert(name.clone(), (scan.nan, scan.infinite));
                    }
                    if scan.all_zero && name.ends_with("_proj.weight") {
                        zero.insert(name);
                    }
                }
            }
            Err(error) => unread.push(format!("{}: {error}", path.display())),
        }
    }
    if !unread.is_empty() {
        verified.add("values", State::Fail, unread.join("; "));
    } else if !faults.is_empty() {
        let nan: u64 = faults.values().map(|(nan, _)| nan).sum();
        let infinite: u64 = faults.values().map(|(_, infinite)| infinite).sum();
        let names = named(faults.keys());
        verified.add(
            "values",
            State::Fail,
            format!("{nan} NaN and {infinite} infinite values in {names}"),
        );
    } else if !zero.is_empty() {
        verified.add(
            "values",
            State::Caution,
            format!("nothing but zeros in {}", named(&zero)),
        );
    } else {
        verified.add("values", State::Pass, "no NaN, no infinity");
    }
}

struct Scan {
    nan: u64,
    infinite: u64,
    all_zero: bool,
}

impl Scan {
    /// Reads `length` bytes.
    fn of(input: &mut impl std::io::Read, dtype: Dtype, length: usize) -> std::io::Result<Self> {
        let mut scan = Self {
            nan: 0,
            infinite: 0,
            all_zero: length > 0,
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = length;
        while left > 0 {
            // A whole number of values of every width.
            let part = &mut chunk[..left.min(CHUNK_BYTES)];
            input.read_exact(part)?;
            left -= part.len();
            scan.all_zero = scan.all_zero && part.iter().all(|byte| *byte == 0);
            match dtype {
                Dtype::BF16 => scan.halves(part, 0x7f80, 0x007f),
                Dtype::F16 => scan.halves(part, 0x7c00, 0x03ff),
                Dtype::F32 => {
                    for value in part.chunks_exact(4) {
                        let value = f32::from_le_bytes(value.try_into().expect("four bytes"));
                        scan.nan += u64::from(value.is_nan());
                        scan.infinite += u64::from(value.is_infinite());
                    }
                }
                Dtype::F64 => {
                    for value in part.chunks_exact(8) {
                        let value = f64::from_le_bytes(value.try_into().expect("eight bytes"));
                        scan.nan += u64::from(value.is_nan());
                        scan.infinite += u64::from(value.is_infinite());
                    }
                }
                Dtype::F8_E4M3 => {
                    scan.nan += part.iter().filter(|byte| **byte & 0x7f == 0x7f).count() as u64;
                }
                Dtype::F8_E5M2 => {
                    for byte in part {
                        let value = *byte & 0x7f;
                        scan.infinite += u64::from(value == 0x7c);
                        scan.nan += u64::from(value > 0x7c);
                    }
                }
                // Integers and packed types have neither.
                _ => {}
            }
        }
        Ok(scan)
    }

    fn halves(&mut self, bytes: &[u8], exponent: u16, mantissa: u16) {
        for value in bytes.chunks_exact(2) {
            let value = u16::from_le_bytes([value[0], value[1]]);
            if value & exponent == exponent {
                match value & mantissa {
                    0 => self.infinite += 1,
                    _ => self.nan += 1,
                }
            }
        }
    }
}

/// Files that trainers expect beside the weights.
fn check_companions(model: &Path, verified: &mut Verified) {
    let optional = ["generation_config.json", "special_tokens_map.json"];
    let mut missing: Vec<&str> = optional
        .into_iter()
        .filter(|name| !model.join(name).is_file())
        .collect();
    let has = |name: &str| model.join(name).is_file();
    if !has("vocab.json") && !has("tokenizer.model") && !has("vocab.txt") {
        missing.push("vocab.json (or tokenizer.model)");
    }
    match missing.is_empty() {
        true => verified.add("files", State::Pass, "nothing is missing"),
        false => verified.add(
            "files",
            State::Caution,
            format!("not there: {}", missing.join(", ")),
        ),
    }
}

/// What the server is asked, and what a trained model's answer holds.
const QUESTIONS: [&str; 3] = [
    "Write a Python function `add(a, b)` that returns the sum of two numbers.",
    "In Python3, read two integers from standard input and print their sum.",
    "Write a Python function that says whether a number is even.",
];

/// Loads the model in the real server, reads its model list and asks it a few questions. Adds the
/// checks, and returns the answers.
///
/// # Errors
///
/// This host is out of threads. A server that does not start is a check that failed.
pub fn ask_server(
    verified: &mut Verified,
    config: &EvalConfig,
    home: &ServerHome,
) -> Result<Vec<(String, String)>, EvalError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| EvalError::failed(format!("cannot start: {error}")))?;
    let model = fs::canonicalize(&verified.model).map_err(EvalError::read(&verified.model))?;
    let launch = Launch {
        guard: home.guard.clone(),
        name: "handoff".into(),
        replica: 0,
        log: home.logs.join("server_0.log"),
        model,
    };
    let asked: Result<_, EvalError> = runtime.block_on(async {
        let mut server: Server = launch.start(&config.server)?;
        let client = Client::new(&server.base(), &config.generator)?;
        let served = server
            .ready(&client, "handoff", &[Style::Chat], config)
            .await?;
        let mut answers = Vec::new();
        for (number, question) in QUESTIONS.iter().enumerate() {
            let ask = Ask {
                model: "handoff",
                style: Style::Chat,
                prompt: question,
                sampling: &config.sampling,
                max_tokens: config.sampling.max_new_tokens.min(256),
                seed: None,
                stop: &[],
                max_stop_strings: 0,
                request_id: &format!("codejury-handoff-{number}"),
            };
            let answer = client.generate(&ask).await.map_err(|trouble| {
                server.failure(&format!(
                    "a question was not answered: {}",
                    trouble.detail()
                ))
            })?;
            answers.push(((*question).to_owned(), answer.text));
        }
        server.stop();
        Ok((served, answers))
    });
    match asked {
        Ok((served, answers)) => {
            let length = served
                .max_model_len
                .map_or_else(String::new, |n| format!(", {n} tokens"));
            verified.add(
                "server",
                State::Pass,
                format!("serves {:?}{length}", served.name),
            );
            let code = answers
                .iter()
                .filter(|(_, answer)| answer.contains("def ") || answer.contains("print("))
                .count();
            let state = if code > 0 {
                State::Pass
            } else {
                State::Caution
            };
            let detail = format!("{code} of {} answers hold Python code", answers.len());
            verified.add("answers", state, detail);
            Ok(answers)
        }
        Err(error) => {
            let mut detail = error.to_string();
            if let EvalError::Failed { log, .. } = &error
                && let Some(cause) = cause(log)
            {
                detail += &format!("; it says: {cause}");
            }
            if let EvalError::Invalid { hint, .. } | EvalError::Failed { hint, .. } = &error
                && let Some(hint) = hint
            {
                detail += &format!(" ({hint})");
            }
            verified.add("server", State::Fail, detail);
            Ok(Vec::new())
        }
    }
}
