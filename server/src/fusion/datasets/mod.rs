//! The data sets of `/submit`: rows, prompts, and how each class judges a completion.
//!
//! - `rows`: where rows come from, and how their columns are read
//! - `prompts`: what a model is asked
//! - `submit`: one completion, judged
//! - `live_code_bench`: the one class that runs many test cases in one program

mod live_code_bench;
mod prompts;
mod rows;
mod submit;

use serde_json::Value;
use serde_json::value::RawValue;

use super::languages::Language;
use super::wire::{finish, language};
use crate::app::{App, Rejection};
use crate::body::{self, BadBody, Body, Place};

pub(crate) use rows::Tables;

/// How completions of a data set are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    CommonOj,
    HumanEval,
    /// HumanEval's older rows: `content`, `test`, `labels`.
    HumanEvalOld,
    Mbpp,
    LiveCodeBench,
    AutoEval,
    Mbxp,
    Mhpp,
    EvoEval,
    CruxEval,
    /// Known by name, and not judged here.
    NotServed,
}

const CLASSES: [(&str, Class); 22] = [
    ("CommonOJDataset", Class::CommonOj),
    ("HumanEvalDataset", Class::HumanEval),
    ("MultiPLEDataset", Class::HumanEval),
    ("HumanEvalDeprecatedDataset", Class::HumanEvalOld),
    ("MBPPDataset", Class::Mbpp),
    ("LiveCodeBenchDataset", Class::LiveCodeBench),
    ("AutoEvalDataset", Class::AutoEval),
    ("AutoEvalV4Dataset", Class::AutoEval),
    ("AutoEvalV5Dataset", Class::AutoEval),
    ("AutoEvalV6Dataset", Class::AutoEval),
    ("MBXPDataset", Class::Mbxp),
    ("MHPPDataset", Class::Mhpp),
    ("EvoEvalDataset", Class::EvoEval),
    ("CruxEvalDataset", Class::CruxEval),
    ("AiderBenchmarkDataset", Class::NotServed),
    ("NaturalCodeBenchDataset", Class::NotServed),
    ("PalMathDataset", Class::NotServed),
    ("RepobenchCDataset", Class::NotServed),
    ("RepobenchPDataset", Class::NotServed),
    ("VerilogDataset", Class::NotServed),
    ("MiniF2FLean4Dataset", Class::NotServed),
    ("CanItEditDataset", Class::NotServed),
];

/// Ids whose class needs no `config.dataset_type`, in the order of `/list_datasets`.
const DATASETS: [(&str, Class); 23] = [
    ("code_contests", Class::CommonOj),
    ("humaneval_python", Class::HumanEval),
    ("humaneval_cpp", Class::HumanEval),
    ("humaneval_typescript", Class::HumanEval),
    ("humaneval_bash", Class::HumanEval),
    ("humaneval_csharp", Class::HumanEval),
    ("humaneval_go", Class::HumanEval),
    ("humaneval_java", Class::HumanEval),
    ("shadow_humaneval_python", Class::HumanEval),
    ("bigcodebench", Class::HumanEval),
    ("mbpp", Class::Mbpp),
    ("live_code_bench_v1", Class::LiveCodeBench),
    ("mbxp_v1_en", Class::Mbxp),
    ("mbxp_v2_en", Class::Mbxp),
    ("humanevalds_v1_en", Class::Mbxp),
    ("humanevalds_v2_en", Class::Mbxp),
    ("oodtest_v1_zh", Class::Mbxp),
    ("mhpp", Class::Mhpp),
    ("evoeval", Class::EvoEval),
    ("cruxeval", Class::CruxEval),
    ("multiple_py", Class::HumanEval),
    ("multiple_cpp", Class::HumanEval),
    ("multiple_sh", Class::HumanEval),
];

/// Every id of `/list_datasets`.
pub(crate) fn list_datasets() -> Vec<&'static str> {
    DATASETS.iter().map(|(id, _)| *id).collect()
}

/// Why there is no answer.
pub(crate) enum Fault {
    Rejection(Rejection),
    /// What the original would have raised: 500, with this text.
    Exception(String),
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl From<BadBody> for Fault {
    fn from(bad: BadBody) -> Self {
        Self::Rejection(bad.into())
    }
}

impl From<crate::dispatch::Refused> for Fault {
    fn from(why: crate::dispatch::Refused) -> Self {
        Self::Rejection(why.into())
    }
}

fn bad_request(text: String) -> Fault {
    Fault::Rejection(Rejection::Detail(axum::http::StatusCode::BAD_REQUEST, text))
}

/// The class of a data set: the one registered for its id, else the one that the request names.
fn class_of(dataset: &str, config: &TestConfig) -> Result<Class, Fault> {
    if let Some((_, class)) = DATASETS.iter().find(|(id, _)| *id == dataset) {
        return Ok(*class);
    }
    let Some(name) = &config.dataset_type else {
        return Err(bad_request(format!(
            "no eval class found for dataset {dataset}"
        )));
    };
    match CLASSES.iter().find(|(known, _)| known == name) {
        Some((_, Class::NotServed)) => Err(bad_request(format!(
            "eval class {name} is not served by codejury"
        ))),
        Some((_, class)) => Ok(*class),
        None => Err(bad_request(format!("eval class {name} not found"))),
    }
}

/// What a request says about how to judge.
#[derive(Debug, Default)]
pub(crate) struct TestConfig {
    dataset_type: Option<String>,
    language: Option<Language>,
    locale: Option<String>,
    is_fewshot: bool,
    compile_timeout: Option<f64>,
    run_timeout: Option<f64>,
    custom_extract_logic: Option<String>,
    /// A row or a list of rows; what is empty counts as absent.
    provided_data: Option<Value>,
    extra: serde_json::Map<String, Value>,
}

impl TestConfig {
    /// Reads the `config` of a request.
    fn read(raw: &RawValue, place: &mut Place<'_>) -> Option<Self> {
        let mut body = match Body::of(raw, place.at().to_vec()) {
            Ok(body) => body,
            Err(fault) => {
                place.blame(vec![*fault]);
                return None;
            }
        };
        let text = |raw: &RawValue, place: &mut Place<'_>| body::nullable(raw, place, body::string);
        let number =
            |raw: &RawValue, place: &mut Place<'_>| body::nullable(raw, place, body::float);
        let config = Self {
            dataset_type: body.optional("dataset_type", text, None),
            language: body.optional(
                "language",
                |raw, place| body::nullable(raw, place, language),
                None,
            ),
            locale: body.optional("locale", text, None),
            is_fewshot: body
                .optional(
                    "is_fewshot",
                    |raw, place| body::nullable(raw, place, body::boolean),
                    None,
                )
                .unwrap_or(false),
            compile_timeout: body.optional("compile_timeout", number, None),
            run_timeout: body.optional("run_timeout", number, None),
            custom_extract_logic: body.optional("custom_extract_logic", text, None),
            provided_data: body
                .optional(
                    "provided_data",
                    |raw, place| body::nullable(raw, place, body::rows),
                    None,
                )
                .filter(|data| match data {
                    Value::Array(rows) => !rows.is_empty(),
                    Value::Object(row) => !row.is_empty(),
                    _ => false,
                }),
            extra: body.optional("extra", body::object, serde_json::Map::new()),
        };
        match body.finish() {
            Ok(()) => Some(config),
            Err(faults) => {
                place.blame(faults);
                None
            }
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.extra.get(name) {
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Null) | None => false,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(fields)) => !fields.is_empty(),
        }
    }
}

/// An id: a whole number or a text, and echoed as what it was.
fn id(raw: &RawValue, place: &mut Place<'_>) -> Option<Value> {
    match serde_json::from_str(raw.get()) {
        Ok(id @ (Value::Number(_) | Value::String(_)))
            if raw.get().parse::<f64>().is_err() || raw.get().parse::<i64>().is_ok() =>
        {
            Some(id)
        }
        _ => {
            place.fault_in_context("int_type", "Input should be a valid integer", raw, None);
            None
        }
    }
}

/// `POST /submit`.
pub(crate) async fn submit(
    app: &App,
    client: &crate::queue::Client,
    bytes: &[u8],
) -> Result<impl serde::Serialize, Fault> {
    let mut body = Body::parse(bytes)?;
    let dataset = body.required("dataset", body::string);
    let id = body.required("id", id);
    let completion = body.required("completion", body::string);
    let config = body.required("config", TestConfig::read);
    finish(body)?;
    let (Some(dataset), Some(id), Some(completion), Some(config)) =
        (dataset, id, completion, config)
    else {
        unreachable!("required fields without a fault are there")
    };
    let class = class_of(&dataset, &config)?;
    if class == Class::CommonOj && config.language.is_none() {
        return Err(bad_request(
            "config.language field must exist for CommonOJDataset, got None".to_owned(),
        ));
    }
    let row = rows::one(app, &dataset, &config, &id)?;
    let submission = submit::Submission {
        app,
        client,
        dataset,
        id,
        completion,
        config,
        row,
    };
    submission.judge(class).await
}

/// `POST /list_ids`, `/get_prompts`.
pub(crate) fn list(app: &App, bytes: &[u8], prompts_wanted: bool) -> Result<Value, Fault> {
    let mut body = Body::parse(bytes)?;
    let dataset = body.required("dataset", body::string);
    let config = body.required("config", TestConfig::read);
    let offset = body.optional("offset", body::integer, 0).max(0) as usize;
    let limit = body.optional("limit", body::integer, 1_000_000).max(0) as usize;
    finish(body)?;
    let (dataset, config) = (dataset.unwrap_or_default(), config.unwrap_or_default());
    let class = class_of(&dataset, &config)?;
    let rows = rows::all(app, &dataset, &config)?;
    let rows = rows.iter().skip(offset).take(limit);
    if prompts_wanted {
        rows.map(|row| prompts::prompt(class, &dataset, &config, row))
            .collect()
    } else {
        Ok(rows.map(rows::id_of).collect())
    }
}

/// `POST /get_prompt_by_id`.
pub(crate) fn prompt_by_id(app: &App, bytes: &[u8]) -> Result<Value, Fault> {
    let mut body = Body::parse(bytes)?;
    let dataset = body.required("dataset", body::string);
    let config = body.required("config", TestConfig::read);
    let id = body.required("id", id);
    finish(body)?;
    let (dataset, config) = (dataset.unwrap_or_default(), config.unwrap_or_default());
    let class = class_of(&dataset, &config)?;
    let row = rows::one(app, &dataset, &config, &id.unwrap_or_default())?;
    prompts::prompt(class, &dataset, &config, &row)
}

/// `POST /get_metrics`, `/get_metrics_function`: no class of ours computes metrics in the server,
/// and two hand out a function that does.
pub(crate) fn metrics(bytes: &[u8], function_wanted: bool) -> Result<Value, Fault> {
    let mut body = Body::parse(bytes)?;
    let dataset = body.required("dataset", body::string);
    let config = if function_wanted {
        body.optional(
            "config",
            |raw, place| body::nullable(raw, place, TestConfig::read),
            None,
        )
    } else {
        body.required("results", |raw, place| {
            body::list(raw, place, |_, _| Some(()))
        });
        body.required("config", TestConfig::read)
    };
    finish(body)?;
    let class = class_of(&dataset.unwrap_or_default(), &config.unwrap_or_default())?;
    if !function_wanted {
        return Ok(serde_json::json!({}));
    }
    let function = match class {
        Class::Mhpp => Some(format!("{BY_DIFFICULTY}{PASS_AT_K}")),
        Class::EvoEval => Some(format!("{BY_NAME}{PASS_AT_K}")),
        _ => None,
    };
    Ok(serde_json::json!({ "function": function }))
}

/// How results fall into categories; `k_targets` and `repeats` are the caller's.
const BY_DIFFICULTY: &str = r#"
def get_category(result):
    return result.tests[0].test_info["difficulty_type"]
"#;
const BY_NAME: &str = r#"
def get_category(result):
    return result.id.split("EvoEval_", 1)[1].rsplit("_EvoEval", 1)[0]
"#;
const PASS_AT_K: &str = r#"

def get_metrics(results):
    """Unbiased pass@k of each category, for every k of k_targets that repeats allows."""
    from math import comb
    correct = {}
    for result in results:
        by_id = correct.setdefault(get_category(result), {})
        by_id[result.id] = by_id.get(result.id, 0) + bool(result.accepted)
    metrics = {}
    for category, by_id in correct.items():
        for k in k_targets:
            if k <= repeats:
                misses = [comb(repeats - c, k) / comb(repeats, k) for c in by_id.values()]
                metrics["%s/Pass@k=%d" % (category, k)] = 1.0 - sum(misses) / len(misses)
    return metrics
"#;
