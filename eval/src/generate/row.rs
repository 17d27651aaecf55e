//! One line of `completions/<dataset>.jsonl`: what a model answered, or why it did not.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Generated, Trouble};
use crate::error::EvalError;

/// One sample of one problem. Exactly one of `completion`, `source`, `source_b64` and `error` is
/// there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionRecord {
    /// Names the version of the row.
    pub schema: String,
    /// The problem.
    pub problem_id: String,
    /// Which sample, from 0.
    pub sample: u32,
    /// The model's text, raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// A finished program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// One that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_b64: Option<String>,
    /// Why there is none: `context_length`, `server_failed`, `server_busy`, `request_refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the server said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<String>,
    /// `stop` or `length`.
    pub finish_reason: Option<String>,
    /// The stop string or token that ended it.
    pub stop_reason: Option<Value>,
    /// Whether it stopped at its token limit.
    pub truncated: Option<bool>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens that the model produced.
    pub gen_tokens: Option<u64>,
    /// Seconds from sending the request to the last byte.
    pub gen_time: Option<f64>,
    /// The token limit that held: less than asked for where the context leaves less.
    pub max_tokens: Option<u64>,
    /// The seed that was sent.
    pub seed: Option<u64>,
    /// The server's version and configuration, as it calls them.
    pub system_fingerprint: Option<String>,
}

impl CompletionRecord {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.completion/1";

    pub(crate) fn new(problem_id: &str, sample: u32) -> Self {
        Self {
            schema: Self::SCHEMA.into(),
            problem_id: problem_id.into(),
            sample,
            ..Self::default()
        }
    }

    pub(crate) fn generated(self, generated: Generated) -> Self {
        Self {
            truncated: Some(generated.finish_reason == "length"),
            completion: Some(generated.text),
            finish_reason: Some(generated.finish_reason),
            stop_reason: generated.stop_reason,
            prompt_tokens: generated.prompt_tokens,
            gen_tokens: generated.gen_tokens,
            gen_time: Some((generated.seconds * 1e6).round() / 1e6),
            system_fingerprint: generated.system_fingerprint,
            ..self
        }
    }

    pub(crate) fn failed(self, trouble: &Trouble) -> Self {
        Self {
            error: Some(trouble.word().into()),
            error_detail: Some(trouble.detail().into()),
            ..self
        }
    }

    /// The row of a recorded completion, whatever else that row says.
    ///
    /// # Errors
    ///
    /// It is no row of completions.
    pub(crate) fn recorded(self, text: &str) -> Result<Self, EvalError> {
        #[derive(Deserialize)]
        struct Recorded {
            finish_reason: Option<String>,
            stop_reason: Option<Value>,
            prompt_tokens: Option<u64>,
            max_tokens: Option<u64>,
            seed: Option<u64>,
            system_fingerprint: Option<String>,
            error_detail: Option<String>,
        }
        let bad = |reason: String| {
            EvalError::invalid(format!(
                "the recorded completion of {:?}: {reason}",
                self.problem_id
            ))
        };
        let body = crate::completions::text_of_row(text).map_err(bad)?;
        let generation = crate::completions::CompletionRow::parse(text)
            .map_err(|error| bad(error.to_string()))?
            .generation();
        let recorded: Recorded =
            serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let mut row = Self {
            finish_reason: recorded.finish_reason,
            stop_reason: recorded.stop_reason,
            truncated: generation.truncated,
            prompt_tokens: recorded.prompt_tokens,
            gen_tokens: generation.tokens,
            gen_time: generation.time,
            max_tokens: recorded.max_tokens,
            seed: recorded.seed,
            system_fingerprint: recorded.system_fingerprint,
            error_detail: recorded.error_detail,
            ..self
        };
        use crate::completions::RowText;
        match body {
            RowText::Completion(text) => row.completion = Some(text),
            RowText::Source(text) => row.source = Some(text),
            RowText::Bytes(coded) => row.source_b64 = Some(coded),
            RowText::Missing(reason) => row.error = Some(reason),
        }
        Ok(row)
    }

    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers")
    }
}
