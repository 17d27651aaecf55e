//! The classes of data sets: what each one's rows, programs and answers are.

use futures_util::{FutureExt as _, StreamExt as _};
use judge::{Compare, Compat};
use serde_json::Value;

use super::super::rows::{column, json as json_column, object, text, texts};
use super::super::{Class, Fault, live_code_bench};
use super::text::{
    assets, before_next_statement, inserted, python_repr, shortened, stop_at_tokens, token,
};
use super::{
    CASES_AT_ONCE, EvalResult, EvalTestCase, Once, RUN_TIMEOUT_S, Submission, language_of, named,
    sandbox_error,
};
use crate::fusion::extraction::{by_priority, freeform, freeform_v2, strip};
use crate::fusion::languages::Language;
use crate::fusion::run_code::run_reported;
use crate::fusion::wire::{RunCodeRequest, RunStatus};

impl Submission<'_> {
    pub(super) async fn common_oj(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn human_eval(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn human_eval_old(self, class: Class) -> Result<EvalResult, Fault> {
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

    pub(super) async fn mbpp(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn mhpp(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn auto_eval(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn mbxp(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn crux_eval(self) -> Result<EvalResult, Fault> {
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

    pub(super) async fn live_code_bench(self) -> Result<EvalResult, Fault> {
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
        Ok(EvalResult::of_one_run(
            self.id,
            code,
            answer,
            wrong.as_deref(),
        ))
    }
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
