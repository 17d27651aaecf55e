//! `codejury judge`: recorded completions in, a results folder and a table out.
//!
//! Everything that can be wrong with the input is found before the first program runs: both files
//! are read to their end, the sandbox is started once, every results folder is locked. Then the
//! datasets are judged one after another. A verdict is on disk before it is counted, so that
//! whatever ends this process costs at most the runs in flight.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use eval::{
    Answer, Completions, Dataset, DatasetSummary, EvalError, ExtractRule, Generation,
    MetricSettings, ResultsFolder, Scan, Session, Start, Tally, VerdictLog, scan,
};
use executor::{Cancel, Runner, Sandbox};
use judge::{ErrorType, Judge, Submission, Verdict};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::args::JudgeArgs;
use crate::exit::{ExitCode, Failure};
use crate::interrupt;
use crate::output::{inline, say};
use crate::progress::{self, Event, Reporter};
use crate::summary::{Report, Subtypes, counted};
use crate::{config, dataset};

/// Above this share of failures of ours, the numbers mean nothing.
const MAX_API_ERROR_RATE: f64 = 0.02;
/// The k of pass@k that are reported where every problem has as many samples.
const PASS_AT: [u32; 5] = [1, 5, 10, 50, 100];
/// Where results go without `--out`.
const DEFAULT_OUT: &str = "codejury-out";
/// How many ids a message names.
const NAMED_IDS: usize = 3;

pub(crate) fn run(args: &JudgeArgs) -> anyhow::Result<ExitCode> {
    let config = args.judging.judge_config();
    let sandbox_config = args.judging.sandbox_config()?;
    let datasets = open_datasets(args)?;
    let completions_name = completions_name(args)?;
    let sandbox = Arc::new(Sandbox::new(sandbox_config)?);
    let judge = Judge::new(config, sandbox.clone())?;
    let mut completions = open_completions(&completions_name)?;
    let mut jobs = Vec::new();
    for dataset in datasets {
        let scan = scan(&dataset, &mut completions, |problem| {
            anyhow::Ok(judge.check(problem)?)
        })?;
        jobs.push(Job { dataset, scan });
    }
    refuse_strangers(&completions, &completions_name, args.allow_unknown)?;
    refuse_missing(&jobs, &completions_name, args.allow_missing)?;
    let settings = Settings {
        args,
        sandbox: &sandbox,
        completions: sha256_of(&completions_name)?,
    };
    let folders = open_folders(args, jobs, &settings)?;

    let judgement = Judgement {
        judge: &judge,
        completions: &completions,
        extract: args.extract,
        sandbox: config::describe(&sandbox),
        cancel: &interrupt::switch()?,
    };
    let mut reporter = progress::reporter(args.json);
    let mut too_many_failures = None;
    for (folder, jobs) in folders {
        let mut summaries = BTreeMap::new();
        for job in jobs {
            match judgement.dataset(&folder, &job, &mut *reporter)? {
                Ended::Interrupted => return Ok(ExitCode::Interrupted),
                Ended::Done(summary, failure) => {
                    summaries.insert(job.dataset.slug().to_owned(), *summary);
                    folder.write_summary(&summaries)?;
                    too_many_failures = too_many_failures.or(failure);
                }
            }
        }
    }
    match too_many_failures {
        None => Ok(ExitCode::Done),
        Some(failure) => Err(failure.into()),
    }
}

/// One dataset to judge.
struct Job {
    dataset: Dataset,
    scan: Scan,
}

fn open_datasets(args: &JudgeArgs) -> anyhow::Result<Vec<Dataset>> {
    let mut datasets: Vec<Dataset> = Vec::new();
    for name in &args.dataset {
        let dataset = dataset::open(args.reading.spec(vec![name.clone()]))?;
        let slug = dataset.slug();
        if datasets.iter().any(|other| other.slug() == slug) {
            let message = format!(
                "two datasets are called {slug:?}; the second is {}",
                name.display()
            );
            return Err(Failure::bad_input(message)
                .hint("`codejury dataset import --name …` gives one of them another name")
                .into());
        }
        datasets.push(dataset);
    }
    Ok(datasets)
}

/// What to judge: the file named, or what comes with the bundled dataset.
fn completions_name(args: &JudgeArgs) -> Result<PathBuf, Failure> {
    match &args.completions {
        Some(name) => Ok(name.clone()),
        None if dataset::only_bundled(&args.dataset) => Ok("starter".into()),
        None => Err(Failure::bad_input("no completions to judge: --completions is missing").hint(
            "--completions FILE judges recorded ones, --completions reference the dataset's own \
             solutions",
        )),
    }
}

fn is_reference(name: &Path) -> bool {
    name == Path::new("reference") && !name.exists()
}

fn open_completions(name: &Path) -> anyhow::Result<Completions> {
    if is_reference(name) {
        return Ok(Completions::reference());
    }
    Ok(Completions::open(name)?)
}

fn refuse_strangers(completions: &Completions, name: &Path, allowed: bool) -> Result<(), Failure> {
    let unknown = completions.unknown_ids();
    if unknown.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} has completions for {} that no dataset here has: {}",
        name.display(),
        counted(unknown.len() as u64, "problem"),
        some_of(&unknown),
    );
    if allowed {
        say(format!("note: {}; they are left out\n", inline(&message)));
        return Ok(());
    }
    Err(Failure::bad_input(message)
        .hint("is this the right --dataset? --allow-unknown leaves such completions out"))
}

fn refuse_missing(jobs: &[Job], name: &Path, allowed: bool) -> Result<(), Failure> {
    let (problems, missing): (usize, usize) = jobs.iter().fold((0, 0), |(all, without), job| {
        (
            all + job.scan.ids.len(),
            without + job.scan.without_completion.len(),
        )
    });
    if missing == 0 || allowed && missing < problems {
        return Ok(());
    }
    let ids: Vec<String> = jobs
        .iter()
        .flat_map(|job| job.scan.without_completion.iter().cloned())
        .collect();
    let what = if is_reference(name) {
        "solution"
    } else {
        "completion"
    };
    let message = format!(
        "{missing} of {problems} problems have no {what}: {}",
        some_of(&ids)
    );
    let hint = match missing < problems {
        true => "--allow-missing leaves them out",
        false => "is this the right file for the dataset? Ids must be spelled as the dataset's are",
    };
    Err(Failure::bad_input(message).hint(hint))
}

/// The first few ids of a list.
fn some_of(ids: &[String]) -> String {
    let named: Vec<String> = ids
        .iter()
        .take(NAMED_IDS)
        .map(|id| format!("{id:?}"))
        .collect();
    let dots = if ids.len() > NAMED_IDS { ", …" } else { "" };
    named.join(", ") + dots
}

/// The hash by which a resumed run knows its completions again.
fn sha256_of(name: &Path) -> anyhow::Result<String> {
    if !name.exists() {
        // What comes with the binary, or with the dataset, which has a hash of its own.
        return Ok(name.display().to_string());
    }
    let cannot = || Failure::bad_input(format!("cannot read {}", name.display()));
    let mut file = File::open(name).with_context(cannot)?;
    if !file.metadata().with_context(cannot)?.is_file() {
        let message = format!("{} is no regular file", name.display());
        return Err(Failure::bad_input(message)
            .hint("a run that goes on reads the completions again; save them in a file first")
            .into());
    }
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).with_context(cannot)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Everything that verdicts depend on, as `run.json` keeps it.
struct Settings<'a> {
    args: &'a JudgeArgs,
    sandbox: &'a Sandbox,
    completions: String,
}

impl Settings<'_> {
    fn of(&self, jobs: &[Job]) -> Result<Map<String, Value>, EvalError> {
        let mut datasets = Map::new();
        for Job { dataset, .. } in jobs {
            let spec = dataset.spec();
            let about = json!({
                "sha256": dataset.sha256()?,
                "format": dataset.format(),
                "tests": spec.tests,
                "numbers": spec.numbers.as_ref().map(|n| format!("{}..{}", n.start(), n.end())),
                "challenge_tests": spec.challenge_tests,
            });
            datasets.insert(dataset.slug().to_owned(), about);
        }
        let judging = &self.args.judging;
        let interpreter = self.sandbox.interpreter();
        let settings = json!({
            "codejury": env!("CARGO_PKG_VERSION"),
            "datasets": datasets,
            "completions": self.completions,
            "extract": self.args.extract,
            "compare": judging.compare.map(|mode| mode.to_string()),
            "limits": judging.limit.overrides(),
            "limits_of": judging.limits,
            "aggregate": judging.aggregate,
            "max_timeouts": judging.max_timeouts,
            "integrity": judging.integrity,
            "network": judging.sandbox.network,
            "isolation": self.sandbox.isolation(),
            "backend": Runner::backend(self.sandbox),
            "python": interpreter.version,
            "python_fingerprint": interpreter.fingerprint,
        });
        match settings {
            Value::Object(settings) => Ok(settings),
            _ => unreachable!("written as an object above"),
        }
    }
}

/// Opens and locks every results folder: one for all datasets if one was named, else one each.
fn open_folders(
    args: &JudgeArgs,
    jobs: Vec<Job>,
    settings: &Settings<'_>,
) -> anyhow::Result<Vec<(ResultsFolder, Vec<Job>)>> {
    let start = if args.fresh {
        Start::Fresh
    } else {
        Start::Resume
    };
    let groups: Vec<(PathBuf, Vec<Job>)> = match &args.out {
        Some(out) => vec![(out.clone(), jobs)],
        None => jobs
            .into_iter()
            .map(|job| (Path::new(DEFAULT_OUT).join(job.dataset.slug()), vec![job]))
            .collect(),
    };
    let mut folders = Vec::new();
    for (path, jobs) in groups {
        let folder = ResultsFolder::open(&path, settings.of(&jobs)?, start)?;
        folders.push((folder, jobs));
    }
    Ok(folders)
}

/// What stays the same from dataset to dataset.
struct Judgement<'a> {
    judge: &'a Judge,
    completions: &'a Completions,
    extract: ExtractRule,
    sandbox: String,
    cancel: &'a Cancel,
}

/// What the judge's threads share while a dataset is judged.
struct Work {
    log: VerdictLog,
    counts: Counts,
    /// What is known about the completions that are being judged.
    in_flight: HashMap<(String, u32), Generation>,
    /// Problems of which something is judged now.
    problems: u64,
    /// The fewest samples that a problem has.
    fewest_samples: usize,
    /// Why judging must end: the dataset changed under us, the disk is full.
    error: Option<anyhow::Error>,
}

/// What the summary is made of.
struct Counts {
    tally: Tally,
    subtypes: Subtypes,
    /// The reason of the first failure of ours.
    failure: Option<String>,
}

/// How a dataset's judgement ended.
enum Ended {
    Interrupted,
    /// With this, if too much failed for reasons of ours.
    Done(Box<DatasetSummary>, Option<Failure>),
}

impl Judgement<'_> {
    /// Judges what the folder does not have yet of one dataset, and completes its verdict file.
    fn dataset(
        &self,
        folder: &ResultsFolder,
        job: &Job,
        reporter: &mut (dyn Reporter + Send),
    ) -> anyhow::Result<Ended> {
        let slug = job.dataset.slug();
        let dataset = match self.completions.is_reference() {
            true => job.dataset.with_references(),
            false => job.dataset.clone(),
        };
        let log = folder.verdicts(slug, &job.scan.ids)?;
        let mut counts = Counts::new(slug);
        let recorded = self.take_over(&dataset, &log, &mut counts)?;
        reporter.on(&Event::Started {
            dataset: slug,
            problems: job.scan.ids.len() as u64,
            submissions: job.scan.submissions,
            recorded,
        })?;
        let begun = Instant::now();
        let work = Mutex::new(Work::new(log, counts));
        let submissions = self
            .answers(&dataset)
            .map_while(|answers| {
                let mut work = lock(&work);
                let new = answers.and_then(|answers| work.admit(answers));
                new.map_err(|error| work.error = Some(error.into())).ok()
            })
            .flatten();
        let mut sink = |event: judge::Event<'_>| {
            let judge::Event::SubmissionFinished { verdict, .. } = event else {
                return;
            };
            let mut work = lock(&work);
            let taken = work
                .take(verdict)
                .and_then(|()| reporter.on(&Event::Verdict(verdict)));
            if let Err(error) = taken {
                // The first error says why; nothing is worth judging that cannot be kept.
                work.error.get_or_insert(error);
                self.cancel.cancel();
            }
        };
        let judged = self.judge.judge(submissions, &mut sink, Some(self.cancel));
        let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = work.error {
            return Err(error);
        }
        judged?;
        if self.cancel.is_cancelled() {
            say(format!(
                "{} of {} verdicts are kept in {}; the same command goes on from there\n",
                work.log.len(),
                job.scan.submissions,
                inline(&folder.path().display().to_string())
            ));
            return Ok(Ended::Interrupted);
        }
        let session = (work.problems > 0).then(|| Session {
            wall_clock: begun.elapsed(),
            problems: work.problems,
        });
        let ks = PASS_AT
            .into_iter()
            .filter(|&k| k == 1 || k as usize <= work.fewest_samples);
        let settings = MetricSettings {
            ks: ks.collect(),
            ..MetricSettings::default()
        };
        let summary = work.counts.tally.summary(&settings, session);
        work.log.finish()?;
        reporter.on(&Event::Finished(&Report {
            dataset: slug.to_owned(),
            summary: summary.clone(),
            subtypes: work.counts.subtypes.clone(),
            sandbox: self.sandbox.clone(),
            folder: folder.path().to_owned(),
        }))?;
        Ok(Ended::Done(
            Box::new(summary),
            work.counts.too_many_failures(),
        ))
    }

    /// The answers for each problem, in dataset order.
    fn answers(
        &self,
        dataset: &Dataset,
    ) -> impl Iterator<Item = Result<Vec<Answer>, EvalError>> + use<'_> {
        dataset
            .problems()
            .map(|problem| self.completions.answers(&Arc::new(problem?), self.extract))
    }

    /// Counts the verdicts that an earlier run has left, and returns how many there are.
    fn take_over(
        &self,
        dataset: &Dataset,
        log: &VerdictLog,
        counts: &mut Counts,
    ) -> anyhow::Result<u64> {
        if log.is_empty() {
            return Ok(0);
        }
        let mut recorded = 0;
        for answers in self.answers(dataset) {
            for Answer {
                submission,
                generation,
            } in answers?
            {
                let id = &submission.problem.problem_id;
                if let Some(row) = log.recorded(id, submission.sample)? {
                    let verdict = Verdict::from_row(&row).map_err(|reason| {
                        Failure::bad_input(format!("the verdict recorded for {id:?}: {reason}"))
                            .hint("--fresh discards the results in the folder")
                    })?;
                    counts.add(&verdict, generation)?;
                    recorded += 1;
                }
            }
        }
        Ok(recorded)
    }
}

impl Work {
    fn new(log: VerdictLog, counts: Counts) -> Self {
        Self {
            log,
            counts,
            in_flight: HashMap::new(),
            problems: 0,
            fewest_samples: usize::MAX,
            error: None,
        }
    }

    /// Which of a problem's answers are to be judged.
    fn admit(&mut self, answers: Vec<Answer>) -> Result<Vec<Submission>, EvalError> {
        if !answers.is_empty() {
            self.fewest_samples = self.fewest_samples.min(answers.len());
        }
        let mut new = Vec::new();
        for Answer {
            submission,
            generation,
        } in answers
        {
            let id = &submission.problem.problem_id;
            if self.log.recorded(id, submission.sample)?.is_none() {
                self.in_flight
                    .insert((id.clone(), submission.sample), generation);
                new.push(submission);
            }
        }
        self.problems += u64::from(!new.is_empty());
        Ok(new)
    }

    /// Keeps a verdict, then counts it.
    fn take(&mut self, verdict: &Verdict) -> anyhow::Result<()> {
        self.log.append(&verdict.to_row())?;
        let key = (verdict.problem_id.clone(), verdict.sample);
        let generation = self.in_flight.remove(&key).unwrap_or_default();
        self.counts.add(verdict, generation)?;
        if verdict.error_type == ErrorType::ApiError && self.counts.failure.is_none() {
            let evidence = verdict.evidence.as_ref();
            let failure = evidence.and_then(|evidence| evidence.failure.clone());
            self.counts.failure = failure.or_else(|| verdict.error_subtype.clone());
        }
        Ok(())
    }
}

impl Counts {
    fn new(slug: &str) -> Self {
        Self {
            tally: Tally::new(slug),
            subtypes: Subtypes::default(),
            failure: None,
        }
    }

    fn add(&mut self, verdict: &Verdict, generation: Generation) -> Result<(), EvalError> {
        self.subtypes
            .add(verdict.error_type, verdict.error_subtype.as_deref());
        self.tally.add(verdict, generation)
    }

    fn too_many_failures(&self) -> Option<Failure> {
        let rate = self.tally.api_error_rate();
        if rate <= MAX_API_ERROR_RATE {
            return None;
        }
        let reason = self
            .failure
            .as_ref()
            .map_or_else(String::new, |text| format!("; one of them: {text}"));
        let message = format!(
            "{:.1} % of the submissions failed for reasons of ours, more than {:.0} %{reason}",
            100.0 * rate,
            100.0 * MAX_API_ERROR_RATE,
        );
        Some(
            Failure::new(ExitCode::OurFailure, message)
                .hint("the same command judges these again, and keeps the other verdicts"),
        )
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}
