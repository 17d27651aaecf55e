//! Cells that share a namespace. A driver of ours runs them inside the sandbox, with nothing but
//! the standard library; what they printed, showed and raised comes back through its report pipe.

use std::collections::BTreeMap;

use executor::{Program, RunRequest};
use serde_json::json;

use super::paths::input_files;
use super::run_code::{Fetch, For, command_result, in_full, limits};
use super::wire::{
    CellRunResult, CommandStatus, RunJupyterRequest, RunJupyterResponse, RunStatus, pod_name,
};
use crate::dispatch::Refused;

/// Runs the cells it reads from standard input.
const DRIVER: &str = include_str!("jupyter_driver.py");
/// The driver has this much longer than the cells, in seconds, as in the original.
const DRIVER_EXTRA_S: f64 = 10.0;

/// Runs all cells of one request, in order, in a process of their own.
///
/// # Errors
///
/// The queue has no place or no turn for it.
pub(crate) async fn run_jupyter(
    on: For<'_>,
    request: RunJupyterRequest,
) -> Result<RunJupyterResponse, Refused> {
    let mut answer = RunJupyterResponse {
        status: RunStatus::SandboxError,
        message: String::new(),
        driver: None,
        cells: Vec::new(),
        executor_pod_name: pod_name(),
        files: BTreeMap::new(),
    };
    let exception = |mut answer: RunJupyterResponse, text: String| {
        let code: String = request.cells.join("\n").chars().take(100).collect();
        answer.message = format!("exception on running jupyter {code}: {text} None");
        Ok(answer)
    };
    let files = match input_files(&request.files) {
        Ok(files) => files,
        Err(text) => return exception(answer, text),
    };
    let fetch = match Fetch::new(&request.fetch_files, on.app) {
        Ok(fetch) => fetch,
        Err(text) => return exception(answer, text),
    };
    let timeout = request.total_timeout.max(0.0) + DRIVER_EXTRA_S;
    let limits = limits(on.app, timeout, -1, 0).expect("ten seconds are some time");
    let run = RunRequest {
        program: Program::Python {
            source: DRIVER.as_bytes().into(),
            args: Vec::new(),
        },
        stdin: json!({ "cells": request.cells })
            .to_string()
            .into_bytes()
            .into(),
        files,
        limits: limits.clone(),
        network: on.app.config.run.network,
        report_pipe: true,
        collect: fetch.paths.clone(),
        ..RunRequest::python(&b""[..])
    };
    let patience = on.patience(0.0);
    let runner = &on.app.runners.python;
    let report = match on
        .app
        .dispatch
        .run(runner, on.client, run, patience)
        .await?
    {
        Ok(report) => report,
        Err(error) => return exception(answer, in_full(&error)),
    };
    let cells = cells(&report.report);
    let files = fetch.answer(&report);
    let driver = command_result(report, &limits);
    answer.status = RunStatus::Failed;
    if driver.status == CommandStatus::Finished
        && let Some(cells) = cells
    {
        answer.status = RunStatus::Success;
        answer.cells = cells;
        match files {
            Ok(files) => answer.files = files,
            Err(text) => return exception(answer, text),
        }
    }
    answer.driver = Some(driver);
    Ok(answer)
}

/// What the driver reported: one line for each cell, then a last line that says so. Without that one
/// the cells took the driver down, and nothing is known.
fn cells(report: &[u8]) -> Option<Vec<CellRunResult>> {
    let text = std::str::from_utf8(report).ok()?;
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.pop()? != "\"done\"" {
        return None;
    }
    lines
        .into_iter()
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}
