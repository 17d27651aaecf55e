//! An evaluation from prompts to numbers.
//!
//! ```text
//!   datasets ─► prompts/ ─► generator ─► completions/ ─► judge ─► verdicts/ ─► summary, metrics,
//!                            (a thread)       │ keys of new rows      ▲         QA logs
//!                                             └── bounded channel ────┘
//! ```
//!
//! Each stage leaves files that the next one reads. Completions and verdicts are appended as they
//! come, so whatever ends the process costs at most what was in flight; the same evaluation started
//! again asks only for what is missing. Generation and judging go on at the same time: the
//! generator sends the key of each row once the row is on disk, and the judge reads it there. The
//! channel holds keys only, so it may be long: neither side waits for the other while there is work.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use executor::{Cancel, Runner};
use judge::{CacheConfig, Judge, JudgeConfig, LimitOverrides, Overrides, Verdict};
use serde_json::{Map, Value, json};

use crate::completions::{Answer, CompletionRow, Completions};
use crate::config::{DatasetConfig, EvalConfig, GeneratorKind, LimitsOf, Style};
use crate::dataset::Dataset;
use crate::error::EvalError;
use crate::extract::ExtractRule;
use crate::generate::{
    CompletionRecord, Fleet, FleetEvent, Job, Key, Launch, ServerHome, reference, replay,
};
use crate::judging::{Judged, Ledger, TooManyFailures, judge_answers};
use crate::prompt::{PromptRow, Prompter};
use crate::qa::{Candidate, QaRecord, choose};
use crate::results::{Evaluation, ResultsFolder, RowLog, Start, write_atomically, write_json};
use crate::store::ProblemStore;

/// How many keys of completions may wait for the judge.
const WAITING_KEYS: usize = 1 << 16;
/// How often a waiting thread looks whether it should end.
const POLL: Duration = Duration::from_millis(50);

/// What is evaluated.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What kind of evaluation this is.
    pub kind: SubjectKind,
    /// The training step, if it is of one.
    pub step: Option<u64>,
    /// The model's name in requests and results.
    pub name: String,
    /// The folder that the server loads.
    pub model: Option<PathBuf>,
    /// Where it was found, as results name it.
    pub model_path: Option<String>,
    /// What tells it from other checkpoints.
    pub fingerprint: Option<String>,
}

/// The kinds of evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A checkpoint of a training run.
    Step,
    /// The untrained model.
    Baseline,
    /// The end of training: all tiers.
    Final,
}

impl SubjectKind {
    /// The word in `summary.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Baseline => "baseline",
            Self::Final => "final",
        }
    }
}

/// A stage that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Writes `prompts/`.
    Prompts,
    /// Writes `completions/`.
    Completions,
    /// Writes `verdicts/`.
    Verdicts,
    /// Writes the summary, metrics and QA logs.
    Metrics,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::Prompts,
        Self::Completions,
        Self::Verdicts,
        Self::Metrics,
    ];

    /// The word that `--stages` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Completions => "completions",
            Self::Verdicts => "verdicts",
            Self::Metrics => "metrics",
        }
    }
}

/// One evaluation to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How.
    pub config: EvalConfig,
    /// Of what.
    pub subject: Subject,
    /// On which datasets, by slug.
    pub datasets: Vec<String>,
    /// Where to.
    pub folder: PathBuf,
    /// Which stages.
    pub stages: Vec<Stage>,
    /// Whether to go on from what the folder holds.
    pub start: Start,
    /// Leaves problems without a recorded completion or solution out, rather than refuse to start.
    pub allow_missing: bool,
    /// How many runs go on at once.
    pub workers: usize,
    /// What network programs see.
    pub network: executor::Network,
}

/// What happens in an evaluation.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Something a reader should know.
    Note(String),
    /// A dataset was read; what of it an earlier run has left.
    Prepared {
        /// The dataset.
        dataset: &'a str,
        /// Its problems.
        problems: usize,
        /// Samples of all of them.
        samples: usize,
        /// Samples that have a completion already.
        generated: usize,
        /// Samples that have a verdict already.
        judged: usize,
    },
    /// A completion is on disk, or the reason why there is none.
    Generated {
        /// The dataset.
        dataset: &'a str,
        /// The row.
        row: &'a CompletionRecord,
    },
    /// A verdict is on disk.
    Verdict(&'a Verdict),
    /// A dataset's numbers stand.
    Finished {
        /// The dataset.
        dataset: &'a str,
        /// Its numbers.
        judged: &'a Judged,
    },
}

/// Hears of progress, one thing at a time, from several threads.
pub trait Observer: Send {
    /// Takes one.
    ///
    /// # Errors
    ///
    /// Ends the evaluation.
    fn on(&mut self, progress: Progress<'_>) -> Result<(), EvalError>;
}

/// How an evaluation came out.
#[derive(Debug)]
pub struct Evaluated {
    /// The numbers by dataset; empty if the last stage was not run.
    pub judged: BTreeMap<String, Judged>,
    /// Set if the numbers mean nothing.
    pub void: Option<TooManyFailures>,
}

/// One dataset of an evaluation.
struct DatasetRun {
    slug: String,
    rule: ExtractRule,
    stop: Arc<[String]>,
    style: Style,
    store: ProblemStore,
    /// Which samples each problem has.
    samples: Vec<Vec<u32>>,
    prompts: Vec<PromptRow>,
    /// Where each problem stands.
    places: HashMap<String, u32>,
    completions: Mutex<RowLog>,
    recorded: Option<Completions>,
}

/// Runs an evaluation, or what is left of it.
///
/// # Errors
///
/// Bad data or settings (before anything runs), a lost server, a full disk, a host that cannot run
/// programs; [`EvalError::Interrupted`] when `cancel` was thrown. What was done is kept.
pub fn evaluate(
    plan: &Plan,
    runner: Arc<dyn Runner>,
    home: &ServerHome,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Evaluated, EvalError> {
    let observer = Mutex::new(observer);
    let tell = |progress: Progress<'_>| lock(&observer).on(progress);
    fs::create_dir_all(&plan.folder).map_err(EvalError::write(&plan.folder))?;
    let mut prepared = Vec::new();
    for slug in &plan.datasets {
        prepared.push(prepare(plan, slug)?);
    }
    let settings = settings_of(plan, &prepared, &*runner);
    let folder =
        ResultsFolder::open_evaluation(&plan.folder, settings, environment(plan), plan.start)?;
    let mut runs = Vec::new();
    for prepared in prepared {
        runs.push(prepared.open(plan, &folder)?);
    }
    let mut ledgers = open_ledgers(&runs, &folder)?;
    let backlog = backlog_of(&runs, &mut ledgers)?;
    for run in &runs {
        let completions = lock(&run.completions);
        tell(Progress::Prepared {
            dataset: &run.slug,
            problems: run.store.len(),
            samples: run.keys(0).count(),
            generated: run
                .ids()
                .filter(|(id, n)| completions.is_settled(id, *n))
                .count(),
            judged: ledgers[&run.slug].distribution().values().sum::<u64>() as usize,
        })?;
    }
    let evaluation = Session {
        plan,
        home,
        cancel,
        runs: &runs,
        stop: AtomicBool::new(false),
        tell: &tell,
    };
    evaluation.generate_and_judge(&mut ledgers, backlog, runner)?;
    if cancel.is_cancelled() {
        return Err(EvalError::Interrupted);
    }
    evaluation.complete(&folder, ledgers)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A dataset that was read, before the results folder is open.
struct Prepared {
    slug: String,
    config: DatasetConfig,
    store: ProblemStore,
    prompts: Vec<PromptRow>,
    prompt_sha256: String,
    rule: ExtractRule,
    samples: Vec<Vec<u32>>,
    recorded: Option<Completions>,
}

fn prepare(plan: &Plan, slug: &str) -> Result<Prepared, EvalError> {
    let config = plan.config.datasets.get(slug).ok_or_else(|| {
        let known = plan.config.datasets.keys().map(String::as_str);
        let near = crate::config::nearest(slug, known);
        EvalError::invalid(format!("there is no dataset {slug:?}{near}"))
    })?;
    let bad = |reason: String| EvalError::invalid(format!("datasets.{slug}.{reason}"));
    if config.files.is_empty() {
        return Err(
            EvalError::invalid(format!("dataset {slug:?} has no file")).hint(format!(
                "set `files` in [datasets.{slug}], or give --dataset {slug}=FILE"
            )),
        );
    }
    let kind = plan.config.generator.kind;
    let dataset = Dataset::open(config.spec(slug).map_err(bad)?)?;
    let dataset = match kind {
        GeneratorKind::Reference => dataset.with_references(),
        _ => dataset,
    };
    let prompter = Prompter::new(config, &dataset)?;
    let recorded = match kind {
        GeneratorKind::Replay => Some(open_recorded(&plan.config.generator.completions, slug)?),
        _ => None,
    };
    let count = plan.config.sampling.samples;
    let (mut prompts, mut samples) = (Vec::new(), Vec::new());
    let store = ProblemStore::build(&dataset, &plan.folder, |problem| {
        prompts.push(prompter.row(problem)?);
        samples.push(match (&recorded, kind) {
            (Some(recorded), _) => recorded.samples(&problem.problem_id),
            (None, GeneratorKind::Reference) => {
                (0..u32::from(!problem.references.is_empty())).collect()
            }
            (None, _) => (0..count).collect(),
        });
        Ok(())
    })?;
    let problems = store.len() as u64;
    if config.count != 0 && config.count != problems {
        return Err(EvalError::invalid(format!(
            "dataset {slug:?} has {problems} problems, not {}",
            config.count
        ))
        .hint(format!(
            "are these the right files? `count = 0` in [datasets.{slug}] takes any number"
        )));
    }
    if !config.manifest.as_os_str().is_empty() {
        crate::manifest::check_ids(&config.manifest, &store.ids)?;
    }
    refuse_missing(plan, slug, &store.ids, &samples)?;
    Ok(Prepared {
        slug: slug.to_owned(),
        rule: config.extract_rule().map_err(bad)?,
        config: config.clone(),
        store,
        prompts,
        prompt_sha256: prompter.sha256().to_owned(),
        samples,
        recorded,
    })
}

/// The recorded completions of a dataset: the file, or the one of the folder that has its name.
fn open_recorded(path: &Path, slug: &str) -> Result<Completions, EvalError> {
    if path.as_os_str().is_empty() {
        return Err(EvalError::invalid("there are no completions to replay")
            .hint("set generator.completions, or give --completions FILE|DIR"));
    }
    if !path.is_dir() {
        return Completions::open(path);
    }
    let names = ["jsonl", "jsonl.gz", "jsonl.zst"].map(|kind| path.join(format!("{slug}.{kind}")));
    match names.iter().find(|name| name.is_file()) {
        Some(name) => Completions::open(name),
        None => Err(EvalError::invalid(format!(
            "{} holds no {slug}.jsonl to replay",
            path.display()
        ))),
    }
}

fn refuse_missing(
    plan: &Plan,
    slug: &str,
    ids: &[String],
    samples: &[Vec<u32>],
) -> Result<(), EvalError> {
    let missing: Vec<&String> = ids
        .iter()
        .zip(samples)
        .filter(|(_, samples)| samples.is_empty())
        .map(|(id, _)| id)
        .collect();
    if missing.is_empty() || plan.allow_missing && missing.len() < ids.len() {
        return Ok(());
    }
    let what = match plan.config.generator.kind {
        GeneratorKind::Reference => "solution of their own",
        _ => "recorded completion",
    };
    let named: Vec<String> = missing.iter().take(3).map(|id| format!("{id:?}")).collect();
    let dots = if missing.len() > 3 { ", …" } else { "" };
    Err(EvalError::invalid(format!(
        "{} of {} problems of {slug} have no {what}: {}{dots}",
        missing.len(),
        ids.len(),
        named.join(", ")
    ))
    .hint("--allow-missing leaves them out"))
}

impl Prepared {
    fn open(self, plan: &Plan, folder: &ResultsFolder) -> Result<DatasetRun, EvalError> {
        let path = folder
            .path()
            .join("prompts")
            .join(format!("{}.jsonl", self.slug));
        let prompts = if plan.stages.contains(&Stage::Prompts) {
            let parent = path.parent().expect("joined above");
            fs::create_dir_all(parent).map_err(EvalError::write(parent))?;
            write_atomically(&path, |out| {
                for row in &self.prompts {
                    serde_json::to_writer(&mut *out, row)?;
                    out.write_all(b"\n")?;
                }
                Ok(())
            })?;
            self.prompts
        } else {
            read_prompts(&path, &self.prompts)?
        };
        let completions = folder.completions(&self.slug, &self.store.ids)?;
        let places = (0..).zip(&self.store.ids);
        Ok(DatasetRun {
            rule: self.rule,
            stop: match self.config.style {
                Style::Completion => self.config.stop.clone().into(),
                Style::Chat => Arc::new([]),
            },
            style: self.config.style,
            samples: self.samples,
            prompts,
            places: places.map(|(place, id)| (id.clone(), place)).collect(),
            completions: Mutex::new(completions),
            recorded: self.recorded,
            slug: self.slug,
            store: self.store,
        })
    }
}

/// The prompts that an earlier run has written, for an evaluation that begins after that stage.
fn read_prompts(path: &Path, expected: &[PromptRow]) -> Result<Vec<PromptRow>, EvalError> {
    let file = fs::File::open(path).map_err(|error| {
        EvalError::invalid(format!("cannot read {}: {error}", path.display()))
            .hint("run the stage `prompts` first")
    })?;
    let rows: Vec<PromptRow> = io::BufReader::new(file)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<io::Result<_>>()
        .map_err(EvalError::read(path))?;
    // They are part of the settings by their template, so they may not be edited by hand.
    match rows == expected {
        true => Ok(rows),
        false => Err(EvalError::invalid(format!(
            "{} holds other prompts than the dataset and its template make",
            path.display()
        ))
        .hint("edit the template, and run the stage `prompts` again")),
    }
}

impl DatasetRun {
    /// Every sample as a key.
    fn keys(&self, dataset: u32) -> impl Iterator<Item = Key> + '_ {
        let problems = (0..).zip(&self.samples);
        problems.flat_map(move |(problem, samples)| {
            samples.iter().map(move |&sample| Key {
                dataset,
                problem,
                sample,
            })
        })
    }

    fn ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.keys(0).map(|key| (self.id(key), key.sample))
    }

    fn id(&self, key: Key) -> &str {
        &self.store.ids[key.problem as usize]
    }

    /// The answer in the completion row of a key.
    fn answer(&self, key: Key) -> Result<Answer, EvalError> {
        let id = self.id(key);
        let row = lock(&self.completions).row(id, key.sample)?;
        let row = row.expect("a key is sent once its row is there");
        let problem = self.store.problem(key.problem as usize)?;
        CompletionRow::parse(&row)
            .and_then(|row| row.answer(&problem, key.sample, self.rule))
            .map_err(|error| self.bad_row(id, error.to_string()))
    }

    fn bad_row(&self, id: &str, reason: String) -> EvalError {
        EvalError::BadRecord {
            path: lock(&self.completions).path().to_owned(),
            id: id.to_owned(),
            reason,
        }
    }
}

/// Opens the verdict files. A verdict whose completion is not there is forgotten.
fn open_ledgers(
    runs: &[DatasetRun],
    folder: &ResultsFolder,
) -> Result<BTreeMap<String, Ledger>, EvalError> {
    let mut ledgers = BTreeMap::new();
    for run in runs {
        let mut log = folder.verdicts(&run.slug, &run.store.ids)?;
        let completions = lock(&run.completions);
        let stale: Vec<(&str, u32)> = run
            .ids()
            .filter(|(id, sample)| {
                log.is_settled(id, *sample) && !completions.is_settled(id, *sample)
            })
            .collect();
        if !stale.is_empty() {
            for (id, sample) in stale {
                log.forget(id, sample);
            }
            log.finish()?;
            log = folder.verdicts(&run.slug, &run.store.ids)?;
        }
        ledgers.insert(run.slug.clone(), Ledger::new(&run.slug, log));
    }
    Ok(ledgers)
}

/// Counts the verdicts that are there, and lists the completions that have none.
fn backlog_of(
    runs: &[DatasetRun],
    ledgers: &mut BTreeMap<String, Ledger>,
) -> Result<Vec<Key>, EvalError> {
    let mut backlog = Vec::new();
    for (dataset, run) in (0..).zip(runs) {
        let ledger = ledgers.get_mut(&run.slug).expect("opened for each");
        for key in run.keys(dataset) {
            let id = run.id(key);
            let Some(row) = lock(&run.completions).recorded(id, key.sample)? else {
                continue;
            };
            let generation = CompletionRow::parse(&row)
                .map_err(|error| run.bad_row(id, error.to_string()))?
                .generation();
            if !ledger.take_over(id, key.sample, generation)? {
                backlog.push(key);
            }
        }
    }
    Ok(backlog)
}

/// Everything that the results depend on.
fn settings_of(plan: &Plan, prepared: &[Prepared], runner: &dyn Runner) -> Map<String, Value> {
    let config = &plan.config;
    let mut datasets = Map::new();
    for run in prepared {
        let about = json!({
            "sha256": run.store.sha256,
            "problems": run.store.len(),
            "prompt_sha256": run.prompt_sha256,
            "style": run.config.style,
            "stop": run.config.stop,
            "extract": run.rule,
            "compare": run.config.compare,
            "limits": run.config.limits,
            "tests": run.config.tests,
        });
        datasets.insert(run.slug.clone(), about);
    }
    let generator = match config.generator.kind {
        GeneratorKind::Vllm => json!({
            "kind": "vllm",
            "command": config.server.command,
            "max_model_len": config.server.max_model_len,
        }),
        GeneratorKind::Openai => json!({"kind": "openai"}),
        GeneratorKind::Replay => json!({"kind": "replay"}),
        GeneratorKind::Reference => json!({"kind": "reference"}),
    };
    let sampling = match config.generator.kind {
        GeneratorKind::Vllm | GeneratorKind::Openai => json!(config.sampling),
        // Whoever recorded them has chosen it.
        _ => Value::Null,
    };
    let judging = &config.judging;
    let interpreter = runner.interpreter();
    let settings = json!({
        "codejury": env!("CARGO_PKG_VERSION"),
        "model": plan.subject.name,
        "model_fingerprint": plan.subject.fingerprint,
        "datasets": datasets,
        "generator": generator,
        "sampling": sampling,
        "run_timeout_s": judging.run_timeout_s,
        "memory_limit_mb": judging.memory_limit_mb,
        "aggregate": judging.aggregate,
        "max_timeouts": judging.max_timeouts,
        "integrity": judging.integrity,
        "limits_of": judging.limits,
        "isolation": runner.isolation(),
        "backend": runner.backend(),
        "python": interpreter.version,
        "python_fingerprint": interpreter.fingerprint,
    });
    match settings {
        Value::Object(settings) => settings,
        _ => unreachable!("written as an object above"),
    }
}

/// What may differ when an evaluation goes on elsewhere.
fn environment(plan: &Plan) -> Map<String, Value> {
    let host = nix::unistd::gethostname().ok();
    let uname = nix::sys::utsname::uname().ok();
    let kernel = uname.map(|uname| uname.release().to_string_lossy().into_owned());
    let environment = json!({
        "host": host.map(|name| name.to_string_lossy().into_owned()),
        "kernel": kernel,
        "cores": thread::available_parallelism().map(usize::from).ok(),
        "workers": plan.workers,
        "model_path": plan.subject.model_path,
        "config": plan.config,
    });
    match environment {
        Value::Object(environment) => environment,
        _ => unreachable!("written as an object above"),
    }
}

impl EvalConfig {
    /// How submissions are judged.
    pub(crate) fn judge_config(&self, workers: usize, network: executor::Network) -> JudgeConfig {
        let judging = &self.judging;
        // A row's own limits win over what everybody has anyway, not over what was asked for.
        let differs = |asked: u64, built_in: u64| (asked != built_in).then_some(asked);
        let built_in = executor::Limits::default();
        let limits = LimitOverrides {
            wall_time_ms: differs(
                (judging.run_timeout_s * 1000.0).round() as u64,
                built_in.wall_time.as_millis() as u64,
            ),
            memory_bytes: differs(judging.memory_limit_mb << 20, built_in.memory_bytes),
            ..LimitOverrides::default()
        };
        let datasets = self.datasets.iter().map(|(slug, dataset)| {
            let overrides = Overrides {
                compare: dataset.comparison().expect("checked when loaded"),
                limits: dataset.limits,
            };
            (slug.clone(), overrides)
        });
        JudgeConfig {
            workers,
            flags: Overrides {
                compare: None,
                limits,
            },
            datasets: datasets.collect(),
            source_limits: judging.limits == LimitsOf::Source,
            aggregate: judging.aggregate,
            max_timeouts: (judging.max_timeouts > 0).then_some(judging.max_timeouts),
            integrity: judging.integrity,
            network,
            cache: match judging.cache.as_os_str().is_empty() {
                true => CacheConfig::Memory,
                false => CacheConfig::Folder(judging.cache.clone()),
            },
            ..JudgeConfig::default()
        }
    }
}

/// What the two sides of an evaluation share.
struct Session<'a> {
    plan: &'a Plan,
    home: &'a ServerHome,
    cancel: &'a Cancel,
    runs: &'a [DatasetRun],
    /// Thrown when judging cannot go on.
    stop: AtomicBool,
    tell: &'a (dyn Fn(Progress<'_>) -> Result<(), EvalError> + Sync),
}

impl Session<'_> {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    fn has(&self, stage: Stage) -> bool {
        self.plan.stages.contains(&stage)
    }

    fn generate_and_judge(
        &self,
        ledgers: &mut BTreeMap<String, Ledger>,
        backlog: Vec<Key>,
        runner: Arc<dyn Runner>,
    ) -> Result<(), EvalError> {
        let todo: Vec<Key> = (0..)
            .zip(self.runs)
            .flat_map(|(dataset, run)| {
                let completions = lock(&run.completions);
                let missing = run
                    .keys(dataset)
                    .filter(|key| !completions.is_settled(run.id(*key), key.sample));
                missing.collect::<Vec<_>>()
            })
            .collect();
        if !self.has(Stage::Completions) && self.has(Stage::Verdicts) && !todo.is_empty() {
            return Err(EvalError::invalid(format!(
                "{} samples have no completion yet",
                todo.len()
            ))
            .hint("run the stage `completions` first"));
        }
        let (sender, receiver) = sync_channel(WAITING_KEYS);
        thread::scope(|scope| {
            let generator = scope.spawn(|| match self.has(Stage::Completions) {
                true => self.generate(todo, sender),
                false => {
                    drop(sender);
                    Ok(())
                }
            });
            let judged = match self.has(Stage::Verdicts) {
                true => self.judge(ledgers, backlog, receiver, runner),
                false => {
                    receiver.iter().for_each(drop);
                    Ok(())
                }
            };
            if judged.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let generated = generator.join().expect("the generator does not panic");
            // The judge stops the generator, never the other way round: its error is the cause.
            judged.and(generated)
        })
    }

    fn judge(
        &self,
        ledgers: &mut BTreeMap<String, Ledger>,
        backlog: Vec<Key>,
        receiver: Receiver<Key>,
        runner: Arc<dyn Runner>,
    ) -> Result<(), EvalError> {
        let config = self
            .plan
            .config
            .judge_config(self.plan.workers, self.plan.network);
        let judge = Judge::new(config, runner)?;
        let live = std::iter::from_fn(move || {
            loop {
                match receiver.recv_timeout(POLL) {
                    Ok(key) => return Some(key),
                    Err(RecvTimeoutError::Timeout) if self.cancel.is_cancelled() => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        });
        let answers = backlog.into_iter().chain(live).map(|key| {
            let run = &self.runs[key.dataset as usize];
            run.answer(key).map(|answer| vec![answer])
        });
        judge_answers(
            &judge,
            self.cancel,
            ledgers,
            answers,
            &mut |verdict: &Verdict| (self.tell)(Progress::Verdict(verdict)),
        )
    }

    /// Makes every completion that is missing; the key of each is sent once its row is on disk.
    fn generate(&self, todo: Vec<Key>, sender: SyncSender<Key>) -> Result<(), EvalError> {
        if todo.is_empty() {
            return Ok(());
        }
        let mut deliver = |key: Key, row: CompletionRecord| -> Result<(), EvalError> {
            let run = &self.runs[key.dataset as usize];
            lock(&run.completions).append(&row.to_line())?;
            (self.tell)(Progress::Generated {
                dataset: &run.slug,
                row: &row,
            })?;
            // Nobody listens any more only when judging has failed, which says why itself.
            let _ = sender.send(key);
            Ok(())
        };
        match self.plan.config.generator.kind {
            GeneratorKind::Reference | GeneratorKind::Replay => {
                for key in todo {
                    if self.stopping() {
                        break;
                    }
                    let run = &self.runs[key.dataset as usize];
                    let row = match &run.recorded {
                        Some(recorded) => replay(recorded, run.id(key), key.sample)?,
                        None => reference(&run.store, key.problem as usize)?,
                    };
                    let row = row.expect("only what is there was asked for");
                    deliver(key, row)?;
                }
                Ok(())
            }
            GeneratorKind::Vllm | GeneratorKind::Openai => self.ask_servers(todo, &mut deliver),
        }
    }

    fn ask_servers(
        &self,
        todo: Vec<Key>,
        deliver: &mut dyn FnMut(Key, CompletionRecord) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| EvalError::failed(format!("cannot start threads: {error}")))?;
        let mut styles: Vec<Style> = Vec::new();
        for key in &todo {
            let style = self.runs[key.dataset as usize].style;
            if !styles.contains(&style) {
                styles.push(style);
            }
        }
        let jobs = todo.into_iter().map(|key| {
            let run = &self.runs[key.dataset as usize];
            let prompt = &run.prompts[key.problem as usize];
            Job {
                key,
                problem_id: prompt.problem_id.clone(),
                style: run.style,
                prompt: prompt.prompt.clone(),
                stop: run.stop.clone(),
            }
        });
        let (events, heard) = std::sync::mpsc::channel();
        let tell_events = || -> Result<(), EvalError> {
            while let Ok(event) = heard.try_recv() {
                (self.tell)(Progress::Note(words_of(&event)))?;
            }
            Ok(())
        };
        let stop = || self.stopping();
        let config = &self.plan.config;
        let outcome = runtime.block_on(async {
            let launches = self.launches()?;
            let name = match config.generator.kind {
                // A server that runs has names of its own.
                GeneratorKind::Openai => config.model_name.clone(),
                _ => self.plan.subject.name.clone(),
            };
            let fleet = Fleet::open(config, launches, &name, &styles, &stop, move |event| {
                let _ = events.send(event);
            });
            let fleet = {
                tokio::pin!(fleet);
                loop {
                    tokio::select! {
                        fleet = &mut fleet => break fleet?,
                        () = tokio::time::sleep(Duration::from_millis(200)) => tell_events()?,
                    }
                }
            };
            tell_events()?;
            self.check_context(fleet.offer().max_model_len)?;
            let mut deliver = |key, row| {
                tell_events()?;
                deliver(key, row)
            };
            let generated = fleet.generate(jobs, &stop, &mut deliver).await;
            // Requests in flight are cancelled by now, as a stopping server wants it.
            fleet.close().await;
            generated
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        let _ = tell_events();
        outcome
    }

    /// The servers to start.
    fn launches(&self) -> Result<Vec<Launch>, EvalError> {
        let config = &self.plan.config;
        if config.generator.kind == GeneratorKind::Openai {
            return Ok(Vec::new());
        }
        let model = self.plan.subject.model.clone().ok_or_else(|| {
            EvalError::invalid("there is no model to serve")
                .hint("--checkpoint-dir DIR --step N, or --model PATH")
        })?;
        // A relative name might be taken for one of a model hub.
        let model = fs::canonicalize(&model).map_err(EvalError::read(&model))?;
        let launch = |replica| Launch {
            guard: self.home.guard.clone(),
            model: model.clone(),
            name: self.plan.subject.name.clone(),
            replica,
            log: self.home.logs.join(format!("server_{replica}.log")),
        };
        Ok((0..config.server.replicas).map(launch).collect())
    }

    fn check_context(&self, max_model_len: Option<u64>) -> Result<(), EvalError> {
        let wanted = self.plan.config.sampling.max_new_tokens;
        if let Some(length) = max_model_len
            && length <= wanted
        {
            return Err(EvalError::invalid(format!(
                "the model takes {length} tokens in all, which leaves none for a prompt beside \
                 sampling.max_new_tokens = {wanted}"
            ))
            .hint("raise server.max_model_len, or lower sampling.max_new_tokens"));
        }
        Ok(())
    }

    /// Completes the files of the stages that were run.
    fn complete(
        &self,
        folder: &ResultsFolder,
        ledgers: BTreeMap<String, Ledger>,
    ) -> Result<Evaluated, EvalError> {
        let plan = self.plan;
        let mut evaluated = Evaluated {
            judged: BTreeMap::new(),
            void: None,
        };
        if self.has(Stage::Metrics) {
            for run in self.runs {
                let ledger = &ledgers[&run.slug];
                let missing = run.ids().filter(|(id, n)| !ledger.has_any(id, *n)).count();
                if missing > 0 {
                    return Err(EvalError::invalid(format!(
                        "{missing} samples of {} have no verdict yet",
                        run.slug
                    ))
                    .hint("run the stages `completions` and `verdicts` first"));
                }
                self.write_qa(folder, run, ledger)?;
            }
        }
        for (slug, ledger) in ledgers {
            let judged = ledger.finish(plan.config.max_api_error_rate)?;
            if self.has(Stage::Metrics) {
                evaluated.void = evaluated.void.or(judged.too_many_failures.clone());
                evaluated.judged.insert(slug, judged);
            }
        }
        for run in self.runs {
            lock(&run.completions).rewrite()?;
        }
        if self.has(Stage::Metrics) {
            let summaries = evaluated.judged.iter();
            let summaries = summaries.map(|(slug, judged)| (slug.clone(), judged.summary.clone()));
            folder.write_evaluation(
                Evaluation {
                    kind: plan.subject.kind.as_str().into(),
                    step: plan.subject.step,
                    model: plan.subject.name.clone(),
                    model_path: plan.subject.model_path.clone(),
                    model_fingerprint: plan.subject.fingerprint.clone(),
                    generator: plan.config.generator.kind.as_str().into(),
                    usable: evaluated.void.is_none(),
                    reason: evaluated.void.as_ref().map(ToString::to_string),
                },
                summaries.collect(),
            )?;
            for (slug, judged) in &evaluated.judged {
                (self.tell)(Progress::Finished {
                    dataset: slug,
                    judged,
                })?;
            }
        }
        Ok(evaluated)
    }

    /// Writes the QA log of one dataset.
    fn write_qa(
        &self,
        folder: &ResultsFolder,
        run: &DatasetRun,
        ledger: &Ledger,
    ) -> Result<(), EvalError> {
        let subject = &self.plan.subject;
        let config = &self.plan.config.datasets[&run.slug];
        let mut candidates = Vec::new();
        for (id, sample) in run.ids() {
            if let Some(error_type) = ledger.error_type(id, sample) {
                candidates.push(Candidate {
                    problem_id: id.to_owned(),
                    sample,
                    error_type,
                });
            }
        }
        let chosen = choose(&candidates, config.qa_total, config.qa_per_type);
        let mut records = Vec::new();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for choice in &chosen {
            let Candidate {
                problem_id: id,
                sample,
                ..
            } = &candidates[choice.index];
            let place = run.places[id];
            let verdict = ledger.verdict(id, *sample)?.expect("a candidate has one");
            let row = lock(&run.completions).row(id, *sample)?;
            let row = row.expect("a verdict has a completion");
            let row: CompletionRecord =
                serde_json::from_str(&row).map_err(|error| run.bad_row(id, error.to_string()))?;
            *counts.entry(choice.sampled_as).or_default() += 1;
            let extra = json!({
                "step": subject.step,
                "checkpoint": subject.model_path,
                "model": subject.name,
                "sample": sample,
                "sampled_as": choice.sampled_as,
                "error_subtype": verdict.error_subtype,
                "evidence": verdict.evidence,
                "first_difference": verdict.tests.iter().find_map(|test| test.first_difference.as_ref()),
                "extraction": verdict.extraction,
                "finish_reason": row.finish_reason,
                "truncated": row.truncated,
            });
            let Value::Object(extra) = extra else {
                unreachable!("written as an object above")
            };
            let answers = [row.completion, row.source, row.source_b64];
            records.push(QaRecord {
                schema: QaRecord::SCHEMA.into(),
                dataset: run.slug.clone(),
                problem_id: id.clone(),
                prompt: run.prompts[place as usize].prompt.clone(),
                response: answers.into_iter().flatten().next().unwrap_or_default(),
                accepted: verdict.accepted,
                pass_ratio: verdict.pass_ratio,
                error_type: verdict.error_type,
                judge_time: verdict.judge_time,
                gen_time: row.gen_time,
                gen_tokens: row.gen_tokens,
                extra,
            });
        }
        let logs = folder.path().join("qa_logs");
        fs::create_dir_all(&logs).map_err(EvalError::write(&logs))?;
        write_atomically(&logs.join(format!("{}_qa.jsonl", run.slug)), |out| {
            for record in &records {
                serde_json::to_writer(&mut *out, record)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
        let path = logs.join("qa_summary.json");
        let mut summary: Value = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if !summary["datasets"].is_object() {
            summary = json!({"schema": "codejury.qa_summary/1", "datasets": {}});
        }
        let mut by_type: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &records {
            *by_type.entry(record.error_type.as_str()).or_default() += 1;
        }
        summary["datasets"][&run.slug] = json!({
            "n": records.len(),
            "of": candidates.len(),
            "sampled_as": counts,
            "error_types": by_type,
        });
        sort_keys(&mut summary["datasets"]);
        write_json(&path, &summary)
    }
}

/// So that the order in which datasets came does not show.
fn sort_keys(object: &mut Value) {
    if let Value::Object(fields) = object {
        fields.sort_keys();
    }
}

fn words_of(event: &FleetEvent) -> String {
    match event {
        FleetEvent::Starting {
            replica,
            command,
            log,
        } => format!(
            "starting server {replica}: {} (log: {})",
            command.join(" "),
            log.display()
        ),
        FleetEvent::Ready { replica, seconds } => {
            format!("server {replica} is ready after {seconds:.1} s")
        }
        FleetEvent::Restarting { replica, reason } => {
            format!("server {replica} died ({reason}); starting it again")
        }
    }
}
