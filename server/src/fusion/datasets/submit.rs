//! One completion, judged as the contract says, bit for bit; except that a program which ends with
//! exit code 0 before its tests have is rejected, unless `compat_exit0` asks for the original's way.
//!
//! How that is seen: the program gets one more line at its end, which writes a random token to a
//! pipe of ours. It stands below everything, so line numbers and output are as without it. The token
//! is in the program's own file: it stops early exits, not a program that reads its own source.

mod classes;
mod text;

use executor::{Program, RunRequest};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rows::Row;
use super::{Class, Fault, TestConfig};
use crate::app::App;
use crate::fusion::extraction::{CodeBlock, Extracted, by_priority};
use crate::fusion::languages::Language;
use crate::fusion::run_code::{For, in_full, limits, run_reported};
use crate::fusion::wire::{RunCodeRequest, RunCodeResponse, RunStatus};
use crate::queue::Client;
use text::token;

/// Where a request states no time limit, in seconds.
const RUN_TIMEOUT_S: f64 = 20.0;
/// Test cases of one submission in flight.
const CASES_AT_ONCE: usize = 3;

pub(super) struct Submission<'a> {
    pub(super) app: &'a App,
    pub(super) client: &'a Client,
    pub(super) dataset: String,
    pub(super) id: Value,
    pub(super) completion: String,
    pub(super) config: TestConfig,
    pub(super) row: Row,
}

/// What `POST /submit` answers.
#[derive(Debug, Serialize)]
pub(crate) struct EvalResult {
    id: Value,
    accepted: bool,
    extracted_code: String,
    full_code: Option<String>,
    test_code: Option<String>,
    tests: Vec<EvalTestCase>,
    extracted_type: Option<Extracted>,
    extra: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
pub(super) struct EvalTestCase {
    pub(super) passed: bool,
    pub(super) exec_info: RunCodeResponse,
    pub(super) test_info: Option<Value>,
}

impl EvalResult {
    /// What one run says. `reject_reason` is why a run that succeeded is not accepted.
    fn of_one_run(
        id: Value,
        extracted_code: String,
        answer: RunCodeResponse,
        reject_reason: Option<&str>,
    ) -> Self {
        let success = answer.status == RunStatus::Success;
        let accepted = success && reject_reason.is_none();
        Self {
            id,
            accepted,
            extracted_code,
            full_code: None,
            test_code: None,
            tests: vec![EvalTestCase {
                passed: accepted,
                exec_info: answer,
                test_info: None,
            }],
            extracted_type: None,
            extra: reject_reason
                .filter(|_| success)
                .map(|reason| Map::from_iter([("reject_reason".to_owned(), Value::from(reason))])),
        }
    }
}

/// A program to be run once; rc 0 and the end of its tests accept it.
struct Once {
    extracted: String,
    program: String,
    language: Language,
    compile_timeout: f64,
    run_timeout: f64,
    files: Vec<(String, String)>,
}

impl Submission<'_> {
    pub(super) async fn judge(self, class: Class) -> Result<EvalResult, Fault> {
        match class {
            Class::CommonOj => self.common_oj().await,
            Class::HumanEval => self.human_eval().await,
            Class::HumanEvalOld | Class::EvoEval => self.human_eval_old(class).await,
            Class::Mbpp => self.mbpp().await,
            Class::LiveCodeBench => self.live_code_bench().await,
            Class::AutoEval => self.auto_eval().await,
            Class::Mbxp => self.mbxp().await,
            Class::Mhpp => self.mhpp().await,
            Class::CruxEval => self.crux_eval().await,
            Class::NotServed => Err(super::bad_request("this class is not served".to_owned())),
        }
    }

    fn timeout(&self) -> f64 {
        // None and 0 are one to Python's `or`.
        self.config
            .run_timeout
            .filter(|timeout| *timeout != 0.0)
            .unwrap_or(RUN_TIMEOUT_S)
    }

    fn compile_timeout(&self, default: f64) -> f64 {
        self.config
            .compile_timeout
            .filter(|timeout| *timeout != 0.0)
            .unwrap_or(default)
    }

    fn on(&self, admitted: bool) -> For<'_> {
        For {
            app: self.app,
            client: self.client,
            admitted,
        }
    }

    fn accepts_early_exit(&self) -> bool {
        match self.config.extra.get("compat_exit0") {
            Some(_) => self.config.flag("compat_exit0"),
            None => self.app.config.compat_exit0,
        }
    }

    /// The code of a completion by the rule of most classes, the request's own logic included.
    async fn extract(&self, completion: &str, language: &str) -> Result<String, Fault> {
        let custom = match &self.config.custom_extract_logic {
            Some(logic) => self.custom_blocks(completion, logic).await?,
            None => Vec::new(),
        };
        Ok(by_priority(completion, language, custom))
    }

    /// Runs the request's own extraction logic, in the sandbox and nowhere else.
    async fn custom_blocks(&self, completion: &str, logic: &str) -> Result<Vec<CodeBlock>, Fault> {
        const DRIVER: &str = include_str!("custom_extract.py");
        let limits = limits(self.app, 10.0, -1, 0).expect("ten seconds are some time");
        let request = RunRequest {
            program: Program::Python {
                source: DRIVER.as_bytes().into(),
                args: Vec::new(),
            },
            stdin: json!({ "completion": completion, "logic": logic })
                .to_string()
                .into_bytes()
                .into(),
            limits,
            report_pipe: true,
            ..RunRequest::python(&b""[..])
        };
        let on = self.on(false);
        let runner = &self.app.runners.python;
        let report = self
            .app
            .dispatch
            .run(runner, self.client, request, on.patience(0.0))
            .await?
            .map_err(|error| Fault::Exception(in_full(&error)))?;
        serde_json::from_slice(&report.report).map_err(|_| {
            let stderr = String::from_utf8_lossy(&report.stderr.bytes).into_owned();
            let last = stderr.trim_end().lines().last().unwrap_or("it did not end");
            Fault::Exception(format!("custom_extract_logic failed: {last}"))
        })
    }

    /// Runs a program once and accepts it by its exit code.
    async fn once(self, once: Once) -> Result<EvalResult, Fault> {
        let token = token();
        let guarded = once.language == Language::PYTHON && !self.accepts_early_exit();
        let mut request = RunCodeRequest::new(once.program.clone(), once.language);
        if guarded {
            let line = format!("\n__import__('os').write(3, b'{token}')\n");
            request.code.extend_from_slice(line.as_bytes());
        }
        request.compile_timeout = once.compile_timeout;
        request.run_timeout = once.run_timeout;
        request.files = once.files;
        let (answer, report) = run_reported(self.on(false), request, guarded).await?;
        if answer.status == RunStatus::SandboxError {
            return Err(sandbox_error(&answer));
        }
        let reason = (guarded && report != token.as_bytes())
            .then_some("the program ended with exit code 0 before its tests had ended");
        Ok(EvalResult {
            full_code: Some(once.program),
            ..EvalResult::of_one_run(self.id, once.extracted, answer, reason)
        })
    }
}

/// Our failure inside a judge, in the original's words and spelling.
fn sandbox_error(answer: &RunCodeResponse) -> Fault {
    Fault::Exception(format!(
        "failed to request sandbox: Sanbox responded with error: {}",
        answer.message
    ))
}

/// The language of a data set's prompts and completions, by its id.
pub(super) fn language_of(dataset: &str, config: &TestConfig) -> String {
    let end = dataset.rsplit('_').next().unwrap_or_default();
    match (end, config.language) {
        ("cpp" | "typescript" | "bash" | "csharp" | "go" | "java", _) => end.to_owned(),
        ("sh", _) => "bash".to_owned(),
        (_, Some(language)) => language.name().to_owned(),
        _ => "python".to_owned(),
    }
}

fn named(language: &str) -> Result<Language, Fault> {
    Language::named(language)
        .ok_or_else(|| Fault::Exception(format!("no runner for language {language}")))
}
