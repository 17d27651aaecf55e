//! Requests and answers, field by field. Every key of an answer is always there, nulls included.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::languages::{LANGUAGES, Language};
use crate::body::{self, BadBody, Body, Place};

/// What `POST /run_code` takes.
#[derive(Clone, Debug)]
pub(crate) struct RunCodeRequest {
    /// Bytes: a lone surrogate of the request stays one, and is the compiler's to refuse.
    pub(crate) code: Vec<u8>,
    pub(crate) language: Language,
    pub(crate) compile_timeout: f64,
    pub(crate) run_timeout: f64,
    pub(crate) memory_limit_mb: i64,
    pub(crate) stdin: Vec<u8>,
    /// Path and base64; an entry of null is left out.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) fetch_files: Vec<String>,
    /// More arguments for pytest.
    pub(crate) args: Vec<String>,
}

impl RunCodeRequest {
    /// A request with the contract's defaults.
    pub(crate) fn new(code: impl Into<Vec<u8>>, language: Language) -> Self {
        Self {
            code: code.into(),
            language,
            compile_timeout: 10.0,
            run_timeout: 10.0,
            memory_limit_mb: -1,
            stdin: Vec::new(),
            files: Vec::new(),
            fetch_files: Vec::new(),
            args: Vec::new(),
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BadBody> {
        let mut body = Body::parse(bytes)?;
        let code = body.required("code", body::bytes);
        // SandboxFusion's hosted versions take requests without a language, and so do we.
        let mut request = Self::new(code.unwrap_or_default(), Language::PYTHON);
        request.language = body.optional("language", language, Language::PYTHON);
        request.compile_timeout = body.optional("compile_timeout", body::float, 10.0);
        request.run_timeout = body.optional("run_timeout", body::float, 10.0);
        request.memory_limit_mb = body.optional("memory_limit_MB", body::integer, -1);
        let stdin = body.optional(
            "stdin",
            |raw, place| body::nullable(raw, place, body::bytes),
            None,
        );
        request.stdin = stdin.unwrap_or_default();
        let files = body.optional(
            "files",
            |raw, place| {
                body::map(raw, place, |raw, place| {
                    body::nullable(raw, place, body::string)
                })
            },
            Vec::new(),
        );
        request.files = files
            .into_iter()
            .filter_map(|(path, content)| Some((path, content?)))
            .collect();
        request.fetch_files = body.optional("fetch_files", strings, Vec::new());
        request.args = body.optional("args", strings, Vec::new());
        finish(body)?;
        Ok(request)
    }
}

/// What `POST /run_jupyter` takes. `cell_timeout`, `memory_limit_MB` and `kernel` are checked and
/// otherwise without effect, as in the original; the memory limit is the server's.
#[derive(Clone, Debug)]
pub(crate) struct RunJupyterRequest {
    pub(crate) cells: Vec<String>,
    pub(crate) total_timeout: f64,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) fetch_files: Vec<String>,
}

impl RunJupyterRequest {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BadBody> {
        let mut body = Body::parse(bytes)?;
        let cells = body.required("cells", strings);
        body.optional("cell_timeout", body::float, 0.0);
        let total_timeout = body.optional("total_timeout", body::float, 45.0);
        body.optional("memory_limit_MB", body::integer, -1);
        body.optional(
            "kernel",
            |raw, place| body::word(raw, place, &[("python3", ())]),
            (),
        );
        let files = body.optional(
            "files",
            |raw, place| body::map(raw, place, body::string),
            Vec::new(),
        );
        let fetch_files = body.optional("fetch_files", strings, Vec::new());
        finish(body)?;
        Ok(Self {
            cells: cells.unwrap_or_default(),
            total_timeout,
            files,
            fetch_files,
        })
    }
}

pub(crate) fn finish(body: Body<'_>) -> Result<(), BadBody> {
    body.finish().map_err(BadBody::Faults)
}

pub(crate) fn strings(raw: &RawValue, place: &mut Place<'_>) -> Option<Vec<String>> {
    body::list(raw, place, body::string)
}

pub(crate) fn language(raw: &RawValue, place: &mut Place<'_>) -> Option<Language> {
    body::word(raw, place, &LANGUAGES)
}

/// Whether a run did well, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum RunStatus {
    Success,
    /// The program's own failure, whatever it was.
    Failed,
    /// Ours.
    SandboxError,
}

/// How one command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum CommandStatus {
    Finished,
    TimeLimitExceeded,
}

/// One command: compiling, or running.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CommandRunResult {
    pub(crate) status: CommandStatus,
    /// Wall time in seconds, from the program's start; waiting is not in it.
    pub(crate) execution_time: f64,
    /// Null on time-out; the negative signal number where a signal ended it.
    pub(crate) return_code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// CPU time in seconds, all processes.
    pub(crate) cpu_time: f64,
}

impl CommandRunResult {
    /// A time limit of nothing: over before it began.
    pub(crate) fn no_time() -> Self {
        Self {
            status: CommandStatus::TimeLimitExceeded,
            execution_time: 0.0,
            return_code: None,
            stdout: String::new(),
            stderr: String::new(),
            cpu_time: 0.0,
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.status == CommandStatus::Finished && self.return_code == Some(0)
    }
}

/// What `POST /run_code` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunCodeResponse {
    pub(crate) status: RunStatus,
    pub(crate) message: String,
    pub(crate) compile_result: Option<CommandRunResult>,
    pub(crate) run_result: Option<CommandRunResult>,
    pub(crate) executor_pod_name: Option<String>,
    pub(crate) files: BTreeMap<String, String>,
}

impl RunCodeResponse {
    /// The status that the commands' results make together.
    pub(crate) fn of(
        compile_result: Option<CommandRunResult>,
        run_result: Option<CommandRunResult>,
        files: BTreeMap<String, String>,
    ) -> Self {
        let fine = compile_result
            .iter()
            .chain(&run_result)
            .all(CommandRunResult::succeeded);
        Self {
            status: if fine {
                RunStatus::Success
            } else {
                RunStatus::Failed
            },
            message: String::new(),
            compile_result,
            run_result,
            executor_pod_name: pod_name(),
            files,
        }
    }

    /// Our failure, or a request that cannot be carried out.
    pub(crate) fn sandbox_error(message: String) -> Self {
        Self {
            status: RunStatus::SandboxError,
            message,
            compile_result: None,
            run_result: None,
            executor_pod_name: pod_name(),
            files: BTreeMap::new(),
        }
    }
}

/// What `POST /run_jupyter` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunJupyterResponse {
    pub(crate) status: RunStatus,
    pub(crate) message: String,
    pub(crate) driver: Option<CommandRunResult>,
    pub(crate) cells: Vec<CellRunResult>,
    pub(crate) executor_pod_name: Option<String>,
    pub(crate) files: BTreeMap<String, String>,
}

/// What one cell printed, showed and raised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub(crate) struct CellRunResult {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// MIME bundles.
    pub(crate) display: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Jupyter's error contents: `ename`, `evalue`, `traceback`.
    pub(crate) error: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The name that the cluster gave this server.
pub(crate) fn pod_name() -> Option<String> {
    std::env::var("MY_POD_NAME").ok()
}
