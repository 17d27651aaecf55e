//! `codejury eval` and `codejury watch`: settings become a campaign, its progress becomes lines.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::eval::{
    Campaign, Done, EvalConfig, EvalError, Observer, Progress, Request, Stage, Start, Until,
};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use judge::ErrorType;
use serde_json::json;

use crate::args::SandboxArgs;
use crate::eval_args::{
    CampaignArgs, ConfigArgs, ConfigSource, EvalArgs, GeneratorChoice, GuardArgs, StageChoice,
    WatchArgs,
};
use crate::exit::{ExitCode, Failure};
use crate::interrupt;
use crate::output::{Palette, inline, print, say};
use crate::summary::Report;
use crate::units::show_duration;
use crate::{backend, config};

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let start = if args.fresh {
        Start::Fresh
    } else {
        Start::Resume
    };
    let (campaign, sandbox) = campaign(&args.common, &args.stages, start)?;
    let request = Request {
        checkpoint_dir: args.checkpoint_dir.clone(),
        step: args.step,
        model: args.model.clone(),
        is_final: args.is_final,
        tiers: args.tier.clone(),
        only: args.only.clone(),
    };
    let mut talk = Talk::new(args.common.json);
    let done = campaign.evaluate(&request, &mut talk);
    let done = match done {
        Err(EvalError::Interrupted) => {
            talk.clear();
            say("what is done is kept; the same command goes on from there\n");
            return Ok(ExitCode::Interrupted);
        }
        done => done?,
    };
    talk.finished(&done, &sandbox)?;
    match &done.evaluated.void {
        None => Ok(ExitCode::Done),
        Some(failures) => Err(Failure::new(ExitCode::OurFailure, failures.to_string())
            .hint("the same command tries these again, and keeps the others")
            .into()),
    }
}

pub(crate) fn watch(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let (campaign, sandbox) = campaign(&args.common, &[], Start::Resume)?;
    let mut talk = Talk::new(args.common.json);
    let reporter = Talk::new(args.common.json);
    let until = Until {
        once: args.once,
        step: args.until_step,
    };
    let watched = campaign.watch(&args.checkpoint_dir, until, &mut talk, &mut |done| {
        reporter
            .finished(done, &sandbox)
            .map_err(|error| EvalError::failed(error.to_string()))
    });
    match watched {
        Err(EvalError::Interrupted) => Ok(ExitCode::Interrupted),
        watched => watched.map(|()| ExitCode::Done).map_err(Into::into),
    }
}

pub(crate) fn config(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let effective = args.source.load()?;
    print(match args.effective {
        true => effective.to_toml(),
        false => ::eval::DEFAULT_CONFIG.to_owned(),
    })?;
    Ok(ExitCode::Done)
}

pub(crate) fn guard(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    // A batch system that ends a job signals every process of it; the server must not outlive its guard.
    let told = interrupt::switch()?;
    let status = ::eval::guard(&args.command, args.grace, &|| told.is_cancelled())?;
    // Its caller reads the status of the server, which is none of ours.
    std::process::exit(status)
}

impl ConfigSource {
    /// The settings: defaults, then the file, then flags.
    pub(crate) fn load(&self) -> anyhow::Result<EvalConfig> {
        let mut flags = self.settings.clone();
        let mut set = |key: String, value: toml::Value| flags.push((key, value));
        let text = |path: &PathBuf| -> anyhow::Result<toml::Value> {
            let text = path
                .to_str()
                .with_context(|| Failure::bad_input(format!("{} is no UTF-8", path.display())))?;
            Ok(text.into())
        };
        if let Some(out) = &self.out {
            set("out".into(), text(out)?);
        }
        if let Some(name) = &self.model_name {
            set("model_name".into(), name.clone().into());
        }
        let kind = match self.generator {
            Some(GeneratorChoice::Vllm) => Some("vllm"),
            Some(GeneratorChoice::Openai) => Some("openai"),
            Some(GeneratorChoice::Replay) => Some("replay"),
            Some(GeneratorChoice::Reference) => Some("reference"),
            None if self.base_url.is_some() => Some("openai"),
            None if self.completions.is_some() => Some("replay"),
            None => None,
        };
        if let Some(kind) = kind {
            set("generator.kind".into(), kind.into());
        }
        if let Some(url) = &self.base_url {
            set("generator.base_url".into(), url.clone().into());
        }
        if let Some(path) = &self.completions {
            set("generator.completions".into(), text(path)?);
        }
        let mut files: BTreeMap<&str, Vec<toml::Value>> = BTreeMap::new();
        for (name, file) in &self.dataset {
            files.entry(name).or_default().push(text(file)?);
        }
        for (name, files) in files {
            set(format!("datasets.{name}.files"), toml::Value::Array(files));
        }
        Ok(EvalConfig::load(self.config.as_deref(), &flags)?)
    }
}

fn campaign(
    args: &CampaignArgs,
    stages: &[StageChoice],
    start: Start,
) -> anyhow::Result<(Campaign, String)> {
    let mut settings = args.source.load()?;
    let sandbox = executor::SandboxConfig {
        slots: args.workers.map(usize::from),
        ..args.sandbox.config()?
    };
    let fuel_per_second = &mut settings.judging.wasm_fuel_per_second;
    *fuel_per_second = args
        .sandbox
        .wasm_fuel_per_second
        .unwrap_or(*fuel_per_second);
    let with_fuel = SandboxArgs {
        wasm_fuel_per_second: Some(*fuel_per_second),
        ..args.sandbox.clone()
    };
    let sandbox = backend::runner(&with_fuel, sandbox)?;
    let description = config::describe(sandbox.as_ref());
    let program = std::env::current_exe().context("cannot tell where codejury is")?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let campaign = Campaign {
        config: settings,
        runner: sandbox,
        workers: args.workers.map_or(workers, usize::from),
        network: args.sandbox.network(),
        guard: vec![program.to_string_lossy().into_owned(), "guard".into()],
        stages: match stages {
            [] => Stage::ALL.to_vec(),
            stages => stages.iter().map(|&stage| stage.into()).collect(),
        },
        start,
        allow_missing: args.allow_missing,
        trainer_log: args.trainer_log.clone(),
        cancel: interrupt::switch()?,
    };
    Ok((campaign, description))
}

impl From<StageChoice> for Stage {
    fn from(choice: StageChoice) -> Self {
        match choice {
            StageChoice::Prompts => Self::Prompts,
            StageChoice::Completions => Self::Completions,
            StageChoice::Verdicts => Self::Verdicts,
            StageChoice::Metrics => Self::Metrics,
        }
    }
}

/// Tells people or programs what happens.
struct Talk {
    json: bool,
    bar: Option<ProgressBar>,
    /// Samples of all datasets, those with a completion, those with a verdict.
    samples: usize,
    generated: usize,
    judged: usize,
    /// Of this session, for rates.
    generated_now: usize,
    judged_now: usize,
    tokens_now: u64,
    counts: BTreeMap<ErrorType, u64>,
    begun: Instant,
    last_line: Instant,
}

impl Talk {
    fn new(json: bool) -> Self {
        let now = Instant::now();
        Self {
            json,
            bar: (!json && io::stderr().is_terminal()).then(ProgressBar::hidden),
            samples: 0,
            generated: 0,
            judged: 0,
            generated_now: 0,
            judged_now: 0,
            tokens_now: 0,
            counts: BTreeMap::new(),
            begun: now,
            last_line: now,
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// `generated 120 of 317 (14.2 a second), judged 80; success 50, timeout 2`.
    fn state(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(1.0);
        let rate = |n: usize| n as f64 / seconds;
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(kind, count)| format!("{} {count}", kind.as_str()))
            .collect();
        let left = self.samples.saturating_sub(self.judged);
        let eta = match self.judged_now {
            0 => String::new(),
            n => {
                let seconds = left as f64 / rate(n);
                format!(", ETA {}", show_duration(Duration::from_secs_f64(seconds)))
            }
        };
        let mut text = format!(
            "generated {} of {}, judged {} ({:.1} a second{eta})",
            self.generated,
            self.samples,
            self.judged,
            rate(self.judged_now),
        );
        if self.tokens_now > 0 {
            text += &format!(", {:.0} tokens a second", self.tokens_now as f64 / seconds);
        }
        if !counts.is_empty() {
            text += &format!("; {}", counts.join(", "));
        }
        text
    }

    /// Starts the clock for rates: what came before was a server that loads.
    fn work_begins(&mut self) {
        if self.generated_now == 0 && self.judged_now == 0 {
            self.begun = Instant::now();
            self.last_line = self.begun;
        }
    }

    fn show(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.judged as u64);
            bar.set_message(self.state());
        } else if !self.json && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            say(format!("{}\n", self.state()));
        }
    }

    fn line(&self, text: &str) {
        let text = inline_lines(text);
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.suspend(|| say(format!("{text}\n"))),
            _ => say(format!("{text}\n")),
        }
    }

    fn event(&self, object: &serde_json::Value) -> Result<(), EvalError> {
        print(object.to_string() + "\n").map_err(|error| EvalError::failed(error.to_string()))
    }

    /// The tables at the end.
    fn finished(&self, done: &Done, sandbox: &str) -> anyhow::Result<()> {
        self.clear();
        if self.json {
            let object = json!({
                "event": "evaluated",
                "folder": done.folder,
                "void": done.evaluated.void.is_some(),
                "best_step": done.best.as_ref().map(|best| best.best_step),
            });
            return print(object.to_string() + "\n");
        }
        let palette = Palette::of(&io::stdout());
        for (slug, judged) in &done.evaluated.judged {
            let report = Report {
                dataset: slug.clone(),
                summary: judged.summary.clone(),
                subtypes: judged.subtypes.clone(),
                sandbox: sandbox.to_owned(),
                folder: done.folder.clone(),
            };
            print(report.text(palette))?;
        }
        if let Some(best) = &done.best {
            print(best_line(best, palette))?;
        }
        Ok(())
    }
}

/// `best so far: step 2500, exec_success_rate 61.5 % (95 %: 52.5 to 69.8)`.
fn best_line(best: &::eval::select::BestCheckpoint, palette: Palette) -> String {
    let percent = |rate: Option<f64>| {
        rate.map_or_else(
            || "unknown".to_owned(),
            |rate| format!("{:.1} %", 100.0 * rate),
        )
    };
    let interval = best.best_ci95.map_or_else(String::new, |[low, high]| {
        format!(" (95 %: {:.1} to {:.1})", 100.0 * low, 100.0 * high)
    });
    let mut text = format!(
        "\n{} step {}: exec_success_rate {}{interval}, accepted_at_1 {}\n",
        palette.bold("best so far"),
        best.best_step,
        percent(best.best_exec_success_rate),
        percent(best.best_accepted_at_1),
    );
    if !best.not_significantly_worse.is_empty() {
        let steps: Vec<String> = best
            .not_significantly_worse
            .iter()
            .map(u64::to_string)
            .collect();
        text += &format!("  not significantly worse: {}\n", steps.join(", "));
    }
    for warning in &best.warnings {
        text += &format!("  {} {}\n", palette.yellow("warning:"), inline(warning));
    }
    text
}

fn inline_lines(text: &str) -> String {
    crate::output::multiline(text).into_owned()
}

impl Observer for Talk {
    fn on(&mut self, progress: Progress<'_>) -> Result<(), EvalError> {
        match progress {
            Progress::Note(text) => {
                if self.json {
                    self.event(&json!({"event": "note", "text": text}))?;
                } else {
                    self.line(&text);
                }
            }
            Progress::Prepared {
                dataset,
                problems,
                samples,
                generated,
                judged,
            } => {
                if self.judged == self.samples {
                    // The evaluation before this one is done.
                    *self = Self::new(self.json);
                }
                self.samples += samples;
                self.generated += generated;
                self.judged += judged;
                if self.json {
                    self.event(&json!({
                        "event": "prepared",
                        "dataset": dataset,
                        "problems": problems,
                        "samples": samples,
                        "generated": generated,
                        "judged": judged,
                    }))?;
                } else {
                    let before = match (generated, judged) {
                        (0, 0) => String::new(),
                        (g, j) => format!(", {g} generated and {j} judged before"),
                    };
                    self.line(&format!(
                        "{dataset}: {samples} samples of {problems} problems{before}"
                    ));
                    if let Some(bar) = &mut self.bar {
                        let style =
                            ProgressStyle::with_template("{bar:30} {pos}/{len}  {wide_msg}")
                                .expect("a template")
                                .progress_chars("=> ");
                        *bar = ProgressBar::new(self.samples as u64).with_style(style);
                    }
                }
            }
            Progress::Generated { dataset, row } => {
                self.work_begins();
                self.generated += 1;
                self.generated_now += 1;
                self.tokens_now += row.gen_tokens.unwrap_or(0);
                if self.json {
                    self.event(&json!({
                        "event": "generated",
                        "dataset": dataset,
                        "problem_id": row.problem_id,
                        "sample": row.sample,
                        "gen_tokens": row.gen_tokens,
                        "gen_time": row.gen_time,
                        "error": row.error,
                    }))?;
                }
                self.show();
            }
            Progress::Verdict(verdict) => {
                self.work_begins();
                self.judged += 1;
                self.judged_now += 1;
                *self.counts.entry(verdict.error_type).or_default() += 1;
                if self.json {
                    self.event(&json!({
                        "event": "verdict",
                        "dataset": verdict.dataset,
                        "problem_id": verdict.problem_id,
                        "sample": verdict.sample,
                        "accepted": verdict.accepted,
                        "pass_ratio": verdict.pass_ratio,
                        "error_type": verdict.error_type,
                        "error_subtype": verdict.error_subtype,
                        "judge_time": verdict.judge_time,
                    }))?;
                }
                self.show();
            }
            Progress::Finished { dataset, judged } => {
                if self.json {
                    self.event(&json!({
                        "event": "finished",
                        "dataset": dataset,
                        "summary": judged.summary,
                    }))?;
                }
            }
        }
        Ok(())
    }
}
