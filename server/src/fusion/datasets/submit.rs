//! One completion, judged as the contract says, bit for bit; except that a program which ends with
//! exit code 0 before its tests have is rejected, unless `compat_exit0` asks for the original's way.
//!
//! How that is seen: the program gets one more line at its end, which writes a random token to a
//! pipe of ours. It stands below everything, so line numbers and output are as without it. The token
//! is in the program's own file: it stops early exits, not a program that reads its own source.

use std::time::{SystemTime, UNIX_EPOCH};

use executor::{Program, RunRequest};
use futures_util::{FutureExt as _, StreamExt as _};
use judge::{Compare, Compat};
use regex::Regex;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::rows::{Row, column, json as json_column, object, text, texts};
use super::{Class, Fault, TestConfig, live_code_bench};
use crate::app::App;
use crate::fusion::extraction::{CodeBlock, Extracted, by_priority, freeform, freeform_v2, strip};
use crate::fusion::languages::Language;
use crate::fusion::run_code::{For, in_full, limits, run_reported};
use crate::fusion::wire::{RunCodeRequest, RunCodeResponse, RunStatus};
use crate::queue::Client;

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
        let success = answer.status == RunStatus::Success;
        let early = guarded && success && report != token.as_bytes();
        let accepted = success && !early;
        Ok(EvalResult {
            id: self.id,
            accepted,
            extracted_code: once.extracted,
            full_code: Some(once.program),
            test_code: None,
            tests: vec![EvalTestCase {
                passed: accepted,
                exec_info: answer,
                test_info: None,
            }],
            extracted_type: None,
            extra: early
                .then(|| reject("the program ended with exit code 0 before its tests had ended")),
        })
    }

    async fn common_oj(self) -> Result<EvalResult, Fault> {
        let language = self.config.language.unwrap_or(Language::PYTHON);
        let Value::Array(cases) = json_column(&self.row, "test")? else {
            return Err(Fault::Exception("column 'test' is no list".to_owned()));
        };
        let code = self.extract(&self.completion, language.name()).await?;
        let compiled = matches!(language.name(), "cpp" | "go" | "java");
        let default = if compiled { 10.0 } else { RUN_TIMEOUT_S };
        let run_timeout = self
            .config
            .run_timeout
            .filter(|t| *t != 0.0)
            .unwrap_or(default);
        let field = |case: &Value, part: &str, name: &str| -> Result<String, Fault> {
            match case.get(part).map(|part| part.get(name)) {
                Some(Some(Value::String(text))) => Ok(text.clone()),
                Some(None | Some(Value::Null)) => Ok(String::new()),
                Some(Some(other)) => Ok(other.to_string()),
                None => Err(Fault::Exception(format!("a test case has no '{part}'"))),
            }
        };
        let inputs: Vec<(String, String)> = cases
            .iter()
            .map(|case| {
                Ok((
                    field(case, "input", "stdin")?,
                    field(case, "output", "stdout")?,
                ))
            })
            .collect::<Result<_, Fault>>()?;
        let this = &self;
        let code_bytes = code.clone().into_bytes();
        let code_bytes = &code_bytes[..];
        let inputs = &inputs;
        let runs = (0..inputs.len()).map(|index| {
            let mut request = RunCodeRequest::new(code_bytes, language);
            request.stdin = inputs[index].0.as_bytes().to_vec();
            request.run_timeout = run_timeout;
            request.compile_timeout = this.compile_timeout(10.0);
            // The first case stands for all: once it has its place, the others have theirs.
            run_reported(this.on(index > 0), request, false).boxed()
        });
        let whole = self.config.flag("return_full_case");
        let run_all = self.config.flag("run_all_cases");
        let mut tests = Vec::new();
        let mut runs = std::pin::pin!(futures_util::stream::iter(runs).buffered(CASES_AT_ONCE));
        // Dropped at the first failure: what is still in flight ends there.
        while let Some(result) = runs.next().await {
            let (answer, _) = result?;
            if answer.status == RunStatus::SandboxError {
                return Err(sandbox_error(&answer));
            }
            let index = tests.len();
            let stdout = answer.run_result.as_ref().map_or("", |run| &run.stdout);
            let matches = Compare::Compat(Compat::Sandboxfusion)
                .matches(stdout.as_bytes(), inputs[index].1.as_bytes());
            let passed = answer.status == RunStatus::Success && matches;
            let case = &cases[index];
            tests.push(EvalTestCase {
                passed,
                exec_info: answer,
                test_info: Some(if passed && !whole {
                    shortened(case)
                } else {
                    case.clone()
                }),
            });
            if !passed && !run_all {
                break;
            }
        }
        Ok(EvalResult {
            id: self.id.clone(),
            accepted: tests.iter().all(|test| test.passed),
            extracted_code: code,
            full_code: None,
            test_code: None,
            tests,
            extracted_type: None,
            extra: None,
        })
    }

    async fn human_eval(self) -> Result<EvalResult, Fault> {
        let row = &self.row;
        let tests = match row.get("tests") {
            Some(_) => text(row, "tests")?,
            None => text(row, "test")?,
        };
        // A row in HumanEval's own shape is Python whatever the data set is called.
        let original = !row.contains_key("tests");
        let language = if original {
            "python".to_owned()
        } else {
            match row.get("language").and_then(Value::as_str) {
                Some(name) => name.split('.').next().unwrap_or(name).to_owned(),
                None => language_of(&self.dataset, &self.config),
            }
        };
        let prompt = text(row, "prompt")?;
        let (extracted, mut program) = if self.config.flag("is_freeform") {
            let code = if original {
                self.extract(&self.completion, &language).await?
            } else {
                stop_at_tokens(&freeform(&self.completion, &language).0, row)
            };
            let program = format!("{code}\n{tests}");
            (code, program)
        } else {
            let completion = if original {
                before_next_statement(&self.completion).to_owned()
            } else {
                stop_at_tokens(&self.completion, row)
            };
            let program = format!("{prompt}\n{completion}\n{tests}");
            (completion, program)
        };
        let entry_point = row.get("entry_point").and_then(Value::as_str);
        let named = ["humaneval_python", "shadow_humaneval_python"];
        if original && (entry_point.is_some() || named.contains(&self.dataset.as_str())) {
            let entry_point = text(row, "entry_point")?;
            program = format!("{program}\ncheck({entry_point})");
        }
        program = format!("{}\n{program}", self.imports(&language).await?.join("\n"));
        if language == "java" {
            program = program.replace("class Problem", "class Main");
        }
        let run_timeout = match self.config.run_timeout {
            None if self.dataset == "bigcodebench" => 60.0,
            _ => self.timeout(),
        };
        let run_as = runner_of(&language)?;
        let compile_timeout = self.compile_timeout(20.0);
        self.once(Once {
            extracted,
            program,
            language: run_as,
            compile_timeout,
            run_timeout,
            files: Vec::new(),
        })
        .await
    }

    /// The lines that stand before every HumanEval program. An interpreter without numpy would fail
    /// each of them at its import, so there the two lines about numpy are left out.
    async fn imports(&self, language: &str) -> Result<Vec<&'static str>, Fault> {
        const PYTHON: [&str; 16] = [
            "import math",
            "import re",
            "import sys",
            "import copy",
            "import datetime",
            "import itertools",
            "import collections",
            "import heapq",
            "import statistics",
            "import functools",
            "import hashlib",
            "import numpy",
            "import numpy as np",
            "import string",
            "from typing import *",
            "from collections import *",
        ];
        match language {
            "python" => {
                let numpy = self.app.has_numpy(self.client).await?;
                let kept = |line: &&str| numpy || !line.contains("numpy");
                Ok(PYTHON.into_iter().filter(kept).collect())
            }
            "cpp" => Ok(vec!["#include <bits/stdc++.h>", "using namespace std;"]),
            _ => Ok(Vec::new()),
        }
    }

    async fn human_eval_old(self, class: Class) -> Result<EvalResult, Fault> {
        let row = &self.row;
        let (content, test) = (text(row, "content")?, text(row, "test")?);
        let labels = object(row, "labels", false)?;
        let (extracted, mut program) = if self.config.flag("is_freeform") {
            let code = by_priority(&self.completion, "python", Vec::new());
            let program = format!("{code}\n{test}");
            (code, program)
        } else if class == Class::EvoEval {
            let whole = format!("{content}\n{}", self.completion);
            let program = format!("{}\n{test}", freeform(&whole, "python").0);
            (self.completion.clone(), program)
        } else {
            let completion = stop_at_tokens(&self.completion, &labels);
            let program = format!("{content}\n{completion}\n{test}");
            (completion, program)
        };
        if class == Class::EvoEval || labels.contains_key("entry_point") {
            program = format!("{program}\ncheck({})", text(&labels, "entry_point")?);
        }
        let run_timeout = self.timeout();
        self.python_once(extracted, program, run_timeout).await
    }

    async fn python_once(
        self,
        extracted: String,
        program: String,
        run_timeout: f64,
    ) -> Result<EvalResult, Fault> {
        self.once(Once {
            extracted,
            program,
            language: Language::PYTHON,
            compile_timeout: 10.0,
            run_timeout,
            files: Vec::new(),
        })
        .await
    }

    async fn mbpp(self) -> Result<EvalResult, Fault> {
        let tests = texts(&self.row, "test_list")?;
        let labels = object(&self.row, "labels", false)?;
        let setup = labels
            .get("test_setup_code")
            .or_else(|| self.row.get("test_setup_code"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let before = |text: &str, stop: &str| text.split(stop).next().unwrap_or("").to_owned();
        let completion = before(&self.completion, "[DONE]");
        let code = freeform(&completion, "python").0;
        let code = before(&before(&code, "\nassert"), "\n\"\"\"");
        let code = before(&format!("{setup}\n{code}"), "if __name__ ==");
        let used = if self.config.is_fewshot {
            &tests[tests.len().saturating_sub(1)..]
        } else {
            &tests[..]
        };
        let mut program = code.clone();
        for test in used {
            program += &format!("\n{test}\n");
        }
        let run_timeout = self.timeout();
        self.python_once(code, program, run_timeout).await
    }

    async fn mhpp(self) -> Result<EvalResult, Fault> {
        let labels = object(&self.row, "labels", true)?;
        let test = text(&self.row, "test")?;
        let mut code = self.extract(&self.completion, "python").await?;
        if strip(&code).is_empty() {
            let whole = format!("{}\n{}", text(&self.row, "content")?, self.completion);
            code = self.extract(&whole, "python").await?;
        }
        let program = format!("{code}\n{test}");
        let run_timeout = self.timeout();
        let mut result = self.python_once(code, program, run_timeout).await?;
        result.tests[0].test_info = Some(Value::Object(labels));
        Ok(result)
    }

    async fn auto_eval(self) -> Result<EvalResult, Fault> {
        let labels = object(&self.row, "labels", true)?;
        let test = object(&self.row, "test", true)?;
        let language = text(&labels, "programming_language")?.to_owned();
        let run_as = match labels.get("execution_language") {
            Some(Value::String(name)) => name.clone(),
            _ => language.clone(),
        };
        let mut code = self.extract(&self.completion, &language).await?;
        let extracted = code.clone();
        if let Some(at) = code.find("if __name__ ==") {
            code.truncate(at);
        }
        if self.config.flag("repr_code") {
            code = python_repr(&code);
        }
        let test_code = text(&test, "code")?;
        let mut program = inserted(&code, test_code);
        let flag = (self.config.flag("append_flag") && run_as == "python").then(token);
        if let Some(flag) = &flag {
            program += &format!("\n\nprint(\"{}\")", &flag[..20]);
        }
        let compile_timeout = self.compile_timeout(40.0);
        let run_timeout = self.timeout();
        let once = Once {
            extracted,
            program,
            language: named(&run_as)?,
            compile_timeout,
            run_timeout,
            files: assets(&test)?,
        };
        let mut result = self.once(once).await?;
        if let Some(flag) = flag {
            let run = result.tests[0].exec_info.run_result.as_ref();
            let printed = run.is_some_and(|run| run.stdout.contains(&flag[..20]));
            if !printed {
                result.accepted = false;
                result.tests[0].passed = false;
            }
        }
        Ok(result)
    }

    async fn mbxp(self) -> Result<EvalResult, Fault> {
        let labels = object(&self.row, "labels", true)?;
        let test = object(&self.row, "test", true)?;
        let language = text(&labels, "programming_language")?;
        let run_as = match labels.get("execution_language") {
            Some(Value::String(name)) => name.as_str(),
            _ => language,
        };
        let test_code = text(&test, "code")?.to_owned();
        let (code, how) = freeform_v2(&self.completion, language);
        let exits = matches!(run_as, "python" | "cpp") && code.contains("exit(0)");
        let once = Once {
            program: inserted(&code, &test_code),
            extracted: code,
            language: named(run_as)?,
            compile_timeout: 30.0,
            run_timeout: 30.0,
            files: assets(&test)?,
        };
        let mut result = self.once(once).await?;
        if exits {
            result.accepted = false;
            result.tests[0].passed = false;
        }
        result.test_code = Some(test_code);
        result.extracted_type = Some(how);
        Ok(result)
    }

    async fn crux_eval(self) -> Result<EvalResult, Fault> {
        let row = &self.row;
        let plain = |name| -> Result<String, Fault> {
            Ok(match column(row, name)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        };
        let mode = match self.config.extra.get("mode") {
            Some(Value::String(mode)) => mode.as_str(),
            Some(other) => return Err(Fault::Exception(format!("Invalid code_mode: {other}"))),
            None => return Err(Fault::Exception("'mode'".to_owned())),
        };
        let mut answer = self.completion.as_str();
        for stop in ["# done", "[/ANSWER]"] {
            answer = answer.split(stop).next().unwrap_or("");
        }
        if let Some((_, after)) = answer.split_once("[ANSWER]") {
            answer = strip(after.split("[ANSWER]").next().unwrap_or(""));
        }
        let mut answer = answer.to_owned();
        if let Some((_, after)) = answer.split_once("assert f") {
            answer = format!("f{}", strip(after.split("assert f").next().unwrap_or("")));
        }
        let sides: Vec<&str> = answer.split("==").collect();
        let code = plain("code")?;
        let (answer, program) = match mode {
            "input" => {
                let side = if sides.len() > 1 {
                    strip(sides[0])
                } else {
                    &answer
                };
                let program = format!("{code}\nassert {side} == {}", plain("output")?);
                (side.to_owned(), program)
            }
            "output" => {
                let side = if sides.len() > 1 {
                    strip(sides[1])
                } else {
                    &answer
                };
                let program = format!("{code}\nassert {side} == f({})", plain("input")?);
                (side.to_owned(), program)
            }
            other => return Err(Fault::Exception(format!("Invalid code_mode: {other}"))),
        };
        self.python_once(answer, program, 30.0).await
    }

    async fn live_code_bench(self) -> Result<EvalResult, Fault> {
        let tests = live_code_bench::Tests::read(column(&self.row, "test")?)?;
        let code = self.extract(&self.completion, "python").await?;
        let each = self
            .config
            .run_timeout
            .filter(|t| *t != 0.0)
            .unwrap_or(6.0)
            .trunc();
        let request = tests.request(&code, each);
        let (answer, report) = run_reported(self.on(false), request, true).await?;
        if answer.status == RunStatus::SandboxError {
            return Err(sandbox_error(&answer));
        }
        let wrong = tests.first_wrong(&report);
        let success = answer.status == RunStatus::Success;
        let accepted = success && wrong.is_none();
        Ok(EvalResult {
            id: self.id,
            accepted,
            extracted_code: code,
            full_code: None,
            test_code: None,
            tests: vec![EvalTestCase {
                passed: accepted,
                exec_info: answer,
                test_info: None,
            }],
            extracted_type: None,
            extra: wrong.filter(|_| success).map(|why| reject(&why)),
        })
    }
}

fn reject(reason: &str) -> Map<String, Value> {
    Map::from_iter([("reject_reason".to_owned(), reason.into())])
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

/// What runs a language of MultiPL-E's rows, which have names of their own.
fn runner_of(language: &str) -> Result<Language, Fault> {
    named(match language {
        "py" => "python",
        "sh" => "bash",
        "js" | "javascript" => "nodejs",
        "ts" => "typescript",
        "go" | "go_test.go" => "go_test",
        "cs" => "csharp",
        "rs" => "rust",
        "pl" => "perl",
        "rb" => "ruby",
        "jl" => "julia",
        "r" => "R",
        "d" => "D_ut",
        "rkt" => "racket",
        other => other,
    })
}

/// Up to the first newline that a character other than white space follows: the body that continues
/// a prompt.
fn before_next_statement(text: &str) -> &str {
    let end = text.match_indices('\n').find(|(at, _)| {
        text[at + 1..]
            .chars()
            .next()
            .is_some_and(|c| !(c.is_whitespace() || matches!(c, '\x1c'..='\x1f')))
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// Up to the first of the row's stop tokens; a blank line does not count as one.
fn stop_at_tokens(text: &str, row: &Row) -> String {
    let mut kept = text;
    let tokens = row.get("stop_tokens").cloned().unwrap_or_default();
    let tokens = match tokens {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        other => other,
    };
    for token in tokens.as_array().into_iter().flatten() {
        let Some(token) = token.as_str().filter(|token| *token != "\n\n") else {
            continue;
        };
        let at = match token.strip_prefix("re:") {
            Some(pattern) if pattern.trim() == r"\n(?!\s|\n)(?=.|\n)" => {
                Some(before_next_statement(kept).len())
            }
            Some(pattern) => Regex::new(pattern.trim())
                .ok()
                .and_then(|pattern| pattern.find(kept).map(|found| found.start())),
            None => kept.find(token),
        };
        kept = &kept[..at.unwrap_or(kept.len())];
    }
    kept.to_owned()
}

/// Code put where the test wants it, else above the test.
fn inserted(code: &str, test: &str) -> String {
    match test.split_once("#<INSERT>") {
        Some((before, after)) => {
            // What follows a second mark is dropped, as in the original.
            let after = after.split("#<INSERT>").next().unwrap_or("");
            format!("{before}{code}{after}")
        }
        None => {
            let code = code.split("if __name__ ==").next().unwrap_or("");
            format!("{code}\n{test}")
        }
    }
}

/// `repr` of a text.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out += &format!("\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Files that a row brings along.
fn assets(test: &Row) -> Result<Vec<(String, String)>, Fault> {
    let assets = match test.get("asset") {
        Some(Value::Object(assets)) => assets.clone(),
        Some(Value::String(_)) => object(test, "asset", false)?,
        _ => return Ok(Vec::new()),
    };
    Ok(assets
        .into_iter()
        .filter_map(|(path, content)| Some((path, content.as_str()?.to_owned())))
        .collect())
}

/// A passing case, with long texts cut in their middle.
fn shortened(case: &Value) -> Value {
    match case {
        Value::String(text) if text.chars().count() > 1000 => {
            let characters: Vec<char> = text.chars().collect();
            let head: String = characters[..498].iter().collect();
            let tail: String = characters[characters.len() - 498..].iter().collect();
            Value::String(format!("{head}...{tail}"))
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shortened(value)))
            .collect(),
        other => other.clone(),
    }
}

/// Forty hex digits that no program can guess: a hash over the operating system's own randomness.
fn token() -> String {
    let mut random = [0_u8; 32];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(random);
    if read.is_err() {
        // Still different each time; what can be guessed of it helps no program of another run.
        hash.update(now.as_nanos().to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
    }
    hash.finalize()
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_ends_before_the_next_statement() {
        assert_eq!(
            before_next_statement("    return 1\n\n    x\nprint(2)"),
            "    return 1\n\n    x"
        );
        assert_eq!(before_next_statement("    return 1\n"), "    return 1\n");
        assert_eq!(before_next_statement("\ndef g(): pass"), "");
    }

    #[test]
    fn code_goes_where_the_test_wants_it() {
        assert_eq!(inserted("c", "a\n#<INSERT>\nb"), "a\nc\nb");
        assert_eq!(inserted("c\nif __name__ == 'x': y", "t"), "c\n\nt");
    }

    #[test]
    fn long_texts_of_a_case_are_cut_in_their_middle() {
        let long = "a".repeat(1001);
        let cut = shortened(&json!({ "input": { "stdin": long }, "n": 1 }));
        let text = cut["input"]["stdin"].as_str().unwrap();
        assert_eq!((text.len(), &text[497..502]), (999, "a...a"));
        let whole = "a".repeat(1000);
        assert_eq!(shortened(&json!(whole)), json!(whole));
    }

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        assert_eq!(python_repr("it's\n\\"), r#""it's\n\\""#);
        assert_eq!(python_repr("a'\"\x01"), r#"'a\'"\x01'"#);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 40);
    }
}
