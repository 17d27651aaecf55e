//! One program: compiled first if its language is, run, and answered in the contract's words.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use executor::{
    InputFile, LimitKind, Limits, MIB, Outcome, Program, RunReport, RunRequest, Runner,
    SandboxError,
};

use super::languages::Language;
use super::paths::{input_files, resolve};
use super::wire::{CommandRunResult, CommandStatus, RunCodeRequest, RunCodeResponse};
use crate::LanguageConfig;
use crate::app::App;
use crate::dispatch::{Patience, Refused};
use crate::queue::Client;
use crate::text::{captured, to_base64};

/// Most entries of `fetch_files`.
const MOST_FETCHED: usize = 1024;

/// Whose turn a run waits for, and how long.
#[derive(Clone, Copy)]
pub(crate) struct For<'a> {
    pub(crate) app: &'a App,
    pub(crate) client: &'a Client,
    /// Whether the request as a whole was let in already.
    pub(crate) admitted: bool,
}

impl<'a> For<'a> {
    /// A request of its own.
    pub(crate) fn new(app: &'a App, client: &'a Client) -> Self {
        Self {
            app,
            client,
            admitted: false,
        }
    }

    /// How long a run may wait: the server's time, and as long again as the request allows for a
    /// compilation that is not needed, in seconds.
    pub(crate) fn patience(&self, spare_s: f64) -> Patience {
        if self.admitted {
            Patience::Admitted
        } else {
            Patience::AtMost(self.app.config.queue_wait() + seconds(self.app, spare_s))
        }
    }
}

/// Runs one program. Everything it does, and everything wrong with it, is an `Ok`.
///
/// # Errors
///
/// The queue has no place or no turn for it.
pub(crate) async fn run_code(
    on: For<'_>,
    request: RunCodeRequest,
) -> Result<RunCodeResponse, Refused> {
    let (response, _) = run_reported(on, request, false).await?;
    Ok(response)
}

/// [`run_code`], with what a Python program said through its report pipe.
pub(crate) async fn run_reported(
    on: For<'_>,
    request: RunCodeRequest,
    report_pipe: bool,
) -> Result<(RunCodeResponse, Vec<u8>), Refused> {
    let mut said = Vec::new();
    let pipe = report_pipe.then_some(&mut said);
    match try_run_code(on, &request, pipe).await {
        Ok(response) => Ok((response, said)),
        Err(Trouble::Refused(why)) => Err(why),
        Err(Trouble::Exception(text)) => {
            let code = String::from_utf8_lossy(&request.code);
            let message = format!("exception on running code {code}: {text} None");
            Ok((RunCodeResponse::sandbox_error(message), said))
        }
    }
}

/// Why there is no result.
enum Trouble {
    Refused(Refused),
    /// What the original would have raised: a request that cannot be carried out, or our failure.
    Exception(String),
}

impl From<Refused> for Trouble {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Exception(text)
    }
}

impl From<SandboxError> for Trouble {
    fn from(error: SandboxError) -> Self {
        Self::Exception(in_full(&error))
    }
}

async fn try_run_code(
    on: For<'_>,
    request: &RunCodeRequest,
    said: Option<&mut Vec<u8>>,
) -> Result<RunCodeResponse, Trouble> {
    let files = input_files(&request.files)?;
    let fetch = Fetch::new(&request.fetch_files, on.app)?;
    let language = request.language;
    if matches!(language.name(), "python" | "pytest") {
        return python(on, request, files, &fetch, said).await;
    }
    match (on.app.languages.get(language), &on.app.runners.others) {
        (Some(how), Some(runner)) => by_commands(on, runner, request, how, files, &fetch).await,
        (Some(_), None) => Ok(missing(
            language,
            "this server runs Python only: other languages need the native backend",
        )),
        // The contract's one language without a runner.
        (None, _) if language.name() == "sql" => Err("'sql'".to_owned().into()),
        // One that nobody has configured.
        (None, _) => {
            let name = language.name();
            let reason = format!(
                "no toolchain is configured for {name}; [languages.{name}] of the server's configuration says how"
            );
            Ok(missing(language, &reason))
        }
    }
}

async fn python(
    on: For<'_>,
    request: &RunCodeRequest,
    mut files: Vec<InputFile>,
    fetch: &Fetch,
    said: Option<&mut Vec<u8>>,
) -> Result<RunCodeResponse, Trouble> {
    let Some(limits) = limits(on.app, request.run_timeout, request.memory_limit_mb, 0) else {
        let run_result = Some(CommandRunResult::no_time());
        return Ok(RunCodeResponse::of(None, run_result, BTreeMap::new()));
    };
    let runner = &on.app.runners.python;
    let pytest = request.language.name() == "pytest";
    let has_main = files.iter().any(|file| file.path.starts_with("main.py"));
    let program = if pytest || has_main {
        // Another `main.py` is the request's own file; the program gets a name of its own.
        let script = free_name(&files, if pytest { "test_main" } else { "program" });
        files.push(InputFile {
            path: script.clone().into(),
            content: request.code.as_slice().into(),
        });
        let mut argv: Vec<OsString> = vec![runner.interpreter().executable.clone().into()];
        if pytest {
            argv.extend(["-m".into(), "pytest".into()]);
        }
        argv.push(script.into());
        if pytest {
            argv.extend(request.args.iter().map(OsString::from));
        }
        Program::Command { argv }
    } else {
        Program::Python {
            source: request.code.as_slice().into(),
            args: Vec::new(),
        }
    };
    let run = RunRequest {
        program,
        stdin: request.stdin.as_slice().into(),
        files,
        limits: limits.clone(),
        network: on.app.config.run.network,
        report_pipe: said.is_some(),
        collect: fetch.paths.clone(),
        ..RunRequest::python(&b""[..])
    };
    let patience = on.patience(request.compile_timeout);
    let mut report = on
        .app
        .dispatch
        .run(runner, on.client, run, patience)
        .await??;
    if let Some(said) = said {
        *said = std::mem::take(&mut report.report);
    }
    let fetched = fetch.answer(&report)?;
    let run_result = Some(command_result(report, &limits));
    Ok(RunCodeResponse::of(None, run_result, fetched))
}

async fn by_commands(
    on: For<'_>,
    runner: &Arc<dyn Runner>,
    request: &RunCodeRequest,
    how: &LanguageConfig,
    mut files: Vec<InputFile>,
    fetch: &Fetch,
) -> Result<RunCodeResponse, Trouble> {
    files.retain(|file| file.path.as_os_str() != how.file.as_str());
    files.push(InputFile {
        path: how.file.clone().into(),
        content: request.code.as_slice().into(),
    });
    let command = |line: String, files: Vec<InputFile>, limits: &Limits| RunRequest {
        program: Program::Command {
            argv: vec!["/bin/bash".into(), "-c".into(), line.into()],
        },
        files,
        env: how.env.clone().into_iter().collect(),
        limits: limits.clone(),
        network: on.app.config.run.network,
        ..RunRequest::python(&b""[..])
    };
    let mut patience = on.patience(0.0);
    let mut line = how.run.clone();
    let mut compile_result = None;
    if let Some(compile) = &how.compile {
        let memory = how.more_memory_mib;
        let Some(limits) = limits(on.app, request.compile_timeout, -1, memory) else {
            let result = Some(CommandRunResult::no_time());
            return Ok(RunCodeResponse::of(result, None, BTreeMap::new()));
        };
        let artifacts: Vec<PathBuf> = how.artifacts.iter().map(PathBuf::from).collect();
        let run = RunRequest {
            collect: artifacts.clone(),
            ..command(compile.clone(), files.clone(), &limits)
        };
        let report = on
            .app
            .dispatch
            .run(runner, on.client, run, patience)
            .await??;
        let made = report.collected.clone();
        let result = command_result(report, &limits);
        if !result.succeeded() {
            return Ok(RunCodeResponse::of(Some(result), None, BTreeMap::new()));
        }
        compile_result = Some(result);
        files.retain(|file| !artifacts.contains(&file.path));
        files.extend(made.into_iter().map(|(path, content)| InputFile {
            path,
            content: content.into(),
        }));
        line = with_permission(&line, &how.artifacts);
        patience = Patience::Admitted;
    }
    let memory = how.more_memory_mib;
    let Some(limits) = limits(on.app, request.run_timeout, request.memory_limit_mb, memory) else {
        let run_result = Some(CommandRunResult::no_time());
        return Ok(RunCodeResponse::of(
            compile_result,
            run_result,
            BTreeMap::new(),
        ));
    };
    let run = RunRequest {
        stdin: request.stdin.as_slice().into(),
        collect: fetch.paths.clone(),
        ..command(line, files, &limits)
    };
    let report = on
        .app
        .dispatch
        .run(runner, on.client, run, patience)
        .await??;
    let fetched = fetch.answer(&report)?;
    let run_result = Some(command_result(report, &limits));
    Ok(RunCodeResponse::of(compile_result, run_result, fetched))
}

/// Files arrive in a cell without execute permission. A plain command takes the shell's place, so
/// that the signal it dies of is the run's own.
fn with_permission(line: &str, artifacts: &[String]) -> String {
    if artifacts.is_empty() {
        return line.to_owned();
    }
    let plain = !line.contains(['&', '|', ';', '<', '>', '(', ')', '$', '`', '\n']);
    let exec = if plain { "exec " } else { "" };
    let names: Vec<String> = artifacts
        .iter()
        .map(|name| format!("'{}'", name.replace('\'', "'\\''")))
        .collect();
    format!("chmod +x {} && {exec}{line}", names.join(" "))
}

/// The answer where a language's toolchain is missing, with the reason.
fn missing(language: Language, reason: &str) -> RunCodeResponse {
    let name = language.name();
    let result = CommandRunResult {
        status: CommandStatus::Finished,
        execution_time: 0.0,
        return_code: Some(127),
        stdout: String::new(),
        stderr: format!("bash: line 1: {name}: command not found\ncodejury: {reason}\n"),
        cpu_time: 0.0,
    };
    RunCodeResponse::of(None, Some(result), BTreeMap::new())
}

/// What a run may use; `None` if that is no time at all.
pub(crate) fn limits(
    app: &App,
    timeout_s: f64,
    memory_limit_mb: i64,
    more_memory_mib: u64,
) -> Option<Limits> {
    let wall_time = seconds(app, timeout_s);
    if wall_time.is_zero() {
        return None;
    }
    let mut limits = Limits {
        wall_time,
        cpu_time: wall_time.mul_f64(app.config.run.cpus),
        ..app.config.limits()
    };
    if let Ok(mib @ 1..) = u64::try_from(memory_limit_mb) {
        // More than the largest sensible one means no less than that.
        limits.memory_bytes = mib.min(1 << 22) * MIB;
    }
    limits.memory_bytes += more_memory_mib * MIB;
    Some(limits)
}

/// A time limit of a request, at most the server's. Nothing, less and NaN are zero.
pub(crate) fn seconds(app: &App, timeout_s: f64) -> Duration {
    if timeout_s > 0.0 {
        Duration::from_secs_f64(timeout_s.min(app.config.run.max_timeout_s))
    } else {
        Duration::ZERO
    }
}

/// A run's facts in the contract's words.
pub(crate) fn command_result(report: RunReport, limits: &Limits) -> CommandRunResult {
    let note = note(&report, limits);
    let (status, return_code) = match report.outcome {
        Outcome::Exited { code } => (CommandStatus::Finished, Some(i32::from(code))),
        Outcome::Signaled { signal } => (CommandStatus::Finished, Some(-signal)),
        Outcome::LimitExceeded {
            limit: LimitKind::WallTime | LimitKind::CpuTime,
        } => (CommandStatus::TimeLimitExceeded, None),
        Outcome::LimitExceeded {
            limit: LimitKind::Memory | LimitKind::Output,
        }
        | Outcome::CellLost => (CommandStatus::Finished, Some(-9)),
    };
    let mut stderr = captured(report.stderr);
    if let Some(note) = note {
        if !stderr.is_empty() && !stderr.ends_with('\n') {
            stderr.push('\n');
        }
        stderr += &note;
    }
    CommandRunResult {
        status,
        execution_time: report.usage.wall_time.as_secs_f64(),
        return_code,
        stdout: captured(report.stdout),
        stderr,
        cpu_time: report.usage.cpu_time().as_secs_f64(),
    }
}

/// What the program cannot say of itself.
fn note(report: &RunReport, limits: &Limits) -> Option<String> {
    let mut notes = Vec::new();
    if report.stderr.truncated {
        let (kept, all) = (report.stderr.bytes.len(), report.stderr.bytes_total);
        notes.push(format!(
            "stderr was cut: its first and last {} of {all} bytes are kept",
            kept / 2
        ));
    }
    match report.outcome {
        Outcome::LimitExceeded {
            limit: LimitKind::Memory,
        } => notes.push(format!(
            "killed at its memory limit of {} MiB",
            limits.memory_bytes / MIB
        )),
        Outcome::LimitExceeded {
            limit: LimitKind::Output,
        } => notes.push(format!(
            "killed at its stdout limit; the first {} MiB are kept",
            limits.stdout_bytes / MIB
        )),
        Outcome::LimitExceeded {
            limit: LimitKind::CpuTime,
        } if report.usage.wall_time < limits.wall_time => notes.push(format!(
            "killed at its CPU time limit of {:.1} s",
            limits.cpu_time.as_secs_f64()
        )),
        Outcome::CellLost => notes.push("killed: it took its sandbox down, twice".to_owned()),
        _ => {}
    }
    (!notes.is_empty()).then(|| format!("codejury: {}\n", notes.join("; ")))
}

/// The files that a request wants back.
pub(crate) struct Fetch {
    /// Each asked-for spelling, and where it leads.
    wanted: Vec<(String, PathBuf)>,
    /// Each place once.
    pub(crate) paths: Vec<PathBuf>,
    most_bytes: u64,
}

impl Fetch {
    /// A path that leads nowhere a run can write names no file of it, and is left out.
    pub(crate) fn new(names: &[String], app: &App) -> Result<Self, String> {
        if names.len() > MOST_FETCHED {
            return Err(format!("fetch_files has more than {MOST_FETCHED} entries"));
        }
        let wanted: Vec<(String, PathBuf)> = names
            .iter()
            .filter_map(|name| Some((name.clone(), resolve(name).ok()?)))
            .collect();
        let mut paths: Vec<PathBuf> = wanted.iter().map(|(_, path)| path.clone()).collect();
        paths.sort();
        paths.dedup();
        Ok(Self {
            wanted,
            paths,
            most_bytes: app.config.run.fetch_mib * MIB,
        })
    }

    /// The files of a run by the names they were asked for.
    pub(crate) fn answer(&self, report: &RunReport) -> Result<BTreeMap<String, String>, String> {
        let mut files = BTreeMap::new();
        let mut total = 0;
        for (name, path) in &self.wanted {
            let Some((_, content)) = report.collected.iter().find(|(found, _)| found == path)
            else {
                continue;
            };
            total += content.len() as u64;
            if total > self.most_bytes {
                return Err(format!(
                    "fetch_files hold more than {} MiB",
                    self.most_bytes / MIB
                ));
            }
            files.insert(name.clone(), to_base64(content));
        }
        Ok(files)
    }
}

/// A name that none of the files has.
fn free_name(files: &[InputFile], stem: &str) -> String {
    (0..)
        .map(|number| match number {
            0 => format!("{stem}.py"),
            number => format!("{stem}_{number}.py"),
        })
        .find(|name| !files.iter().any(|file| file.path.starts_with(name)))
        .expect("one of so many names is free")
}

/// An error with its causes on one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link {
        text += &format!(": {cause}");
        link = cause.source();
    }
    text
}
