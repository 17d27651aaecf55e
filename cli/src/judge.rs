//! `codejury judge`: recorded completions in, a results folder and a table out.
//!
//! Everything that can be wrong with the input is found before the first program runs: both files
//! are read to their end, the sandbox is started once, every results folder is locked. Then the
//! datasets are judged one after another. A verdict is on disk before it is counted, so that
//! whatever ends this process costs at most the runs in flight.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use eval::{
    Answer, Completions, Dataset, DatasetSummary, EvalError, ExtractRule, Ledger, Mode,
    ResultsFolder, Scan, Start, Target, extract, judge_answers, scan,
};
use executor::{Cancel, Runner};
use judge::{Judge, SubmissionSource};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::args::JudgeArgs;
use crate::exit::{ExitCode, Failure};
use crate::interrupt;
use crate::output::{inline, say};
use crate::progress::{self, Event, Reporter};
use crate::summary::{Report, counted};
use crate::{backend, config, dataset};

/// Above this share of failures of ours, the numbers mean nothing.
const MAX_API_ERROR_RATE: f64 = 0.02;
/// Where results go without `--out`.
const DEFAULT_OUT: &str = "codejury-out";
/// How many ids a message names.
const NAMED_IDS: usize = 3;

pub(crate) fn run(args: &JudgeArgs) -> anyhow::Result<ExitCode> {
    let config = args.judging.judge_config();
    let sandbox_config = args.judging.sandbox_config()?;
    let datasets = open_datasets(args)?;
    let completions_name = completions_name(args)?;
    let sandbox = backend::runner(&args.judging.sandbox, sandbox_config)?;
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
        sandbox: sandbox.as_ref(),
        completions: sha256_of(&completions_name)?,
    };
    let folders = open_folders(args, jobs, &settings)?;

    let judgement = Judgement {
        judge: &judge,
        completions: &completions,
        extract: args.extract,
        sandbox: config::describe(sandbox.as_ref()),
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

/// Whether an answer that is taken for the rest of its prompt has its code in a fence.
fn continues_with_a_fence(answer: &Answer) -> bool {
    let SubmissionSource::Continuation(text) = &answer.submission.source else {
        return false;
    };
    let text = String::from_utf8_lossy(text);
    let (mode, _) = extract(&text, Target::Function, ExtractRule::Chat, true);
    mode == Mode::Fenced
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
    sandbox: &'a dyn Runner,
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
            "backend": self.sandbox.backend(),
            "python": interpreter.version,
            "python_fingerprint": interpreter.fingerprint,
        });
        match settings {
            Value::Object(mut settings) => {
                if let Some(fuel) = self.sandbox.fuel_per_second() {
                    settings.insert("fuel_per_second".into(), fuel.into());
                }
                Ok(settings)
            }
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
        let mut ledger = Ledger::new(slug, folder.verdicts(slug, &job.scan.ids)?);
        let recorded = self.take_over(&dataset, &mut ledger)?;
        reporter.on(&Event::Started {
            dataset: slug,
            problems: job.scan.ids.len() as u64,
            submissions: job.scan.submissions,
            recorded,
        })?;
        let mut ledgers = BTreeMap::from([(slug.to_owned(), ledger)]);
        let mut fenced = 0;
        let answers = self.answers(&dataset).map(|answers| {
            let answers = answers.map_err(anyhow::Error::from)?;
            if self.extract == ExtractRule::Auto {
                let fences = answers
                    .iter()
                    .filter(|answer| continues_with_a_fence(answer));
                fenced += fences.count() as u64;
            }
            Ok(answers)
        });
        judge_answers(
            self.judge,
            self.cancel,
            &mut ledgers,
            answers,
            &mut |verdict| reporter.on(&Event::Verdict(verdict)),
        )?;
        let ledger = ledgers.remove(slug).expect("put there above");
        if self.cancel.is_cancelled() {
            say(format!(
                "{} of {} verdicts are kept in {}; the same command goes on from there\n",
                ledger.len(),
                job.scan.submissions,
                inline(&folder.path().display().to_string())
            ));
            return Ok(Ended::Interrupted);
        }
        let judged = ledger.finish(MAX_API_ERROR_RATE)?;
        reporter.on(&Event::Finished(&Report {
            dataset: slug.to_owned(),
            summary: judged.summary.clone(),
            subtypes: judged.subtypes,
            sandbox: self.sandbox.clone(),
            folder: folder.path().to_owned(),
        }))?;
        if fenced > 0 {
            say(format!(
                "note: {slug}: code in a Markdown fence was judged as text that continues its prompt, fence and \
                 all, which is the rule for rows of task_id and completion ({}); --extract chat takes it out\n",
                counted(fenced, "such completion")
            ));
        }
        let failure = judged.too_many_failures.map(|failures| {
            Failure::new(ExitCode::OurFailure, failures.to_string())
                .hint("the same command judges these again, and keeps the other verdicts")
        });
        Ok(Ended::Done(Box::new(judged.summary), failure))
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
    fn take_over(&self, dataset: &Dataset, ledger: &mut Ledger) -> Result<u64, EvalError> {
        if ledger.is_empty() {
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
                recorded += u64::from(ledger.take_over(id, submission.sample, generation)?);
            }
        }
        Ok(recorded)
    }
}
