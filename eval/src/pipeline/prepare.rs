//! What is read before anything runs: datasets, their prompts, and what an earlier run has left.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Plan, Stage, lock};
use crate::completions::{Answer, CompletionRow, Completions};
use crate::config::{DatasetConfig, GeneratorKind, Style};
use crate::dataset::Dataset;
use crate::error::EvalError;
use crate::extract::ExtractRule;
use crate::generate::Key;
use crate::judging::Ledger;
use crate::prompt::{PromptRow, Prompter};
use crate::results::{ResultsFolder, RowLog, write_atomically};
use crate::store::ProblemStore;

/// One dataset of an evaluation.
pub(super) struct DatasetRun {
    pub(super) slug: String,
    pub(super) rule: ExtractRule,
    pub(super) stop: Arc<[String]>,
    pub(super) style: Style,
    pub(super) store: ProblemStore,
    /// Which samples each problem has.
    pub(super) samples: Vec<Vec<u32>>,
    pub(super) prompts: Vec<PromptRow>,
    /// Where each problem stands.
    pub(super) places: HashMap<String, u32>,
    pub(super) completions: Mutex<RowLog>,
    pub(super) recorded: Option<Completions>,
}

/// A dataset that was read, before the results folder is open.
pub(super) struct Prepared {
    pub(super) slug: String,
    pub(super) config: DatasetConfig,
    pub(super) store: ProblemStore,
    pub(super) prompts: Vec<PromptRow>,
    pub(super) prompt_sha256: String,
    pub(super) rule: ExtractRule,
    pub(super) samples: Vec<Vec<u32>>,
    pub(super) recorded: Option<Completions>,
}

pub(super) fn prepare(plan: &Plan, slug: &str) -> Result<Prepared, EvalError> {
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
    pub(super) fn open(self, plan: &Plan, folder: &ResultsFolder) -> Result<DatasetRun, EvalError> {
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
    pub(super) fn keys(&self, dataset: u32) -> impl Iterator<Item = Key> + '_ {
        let problems = (0..).zip(&self.samples);
        problems.flat_map(move |(problem, samples)| {
            samples.iter().map(move |&sample| Key {
                dataset,
                problem,
                sample,
            })
        })
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.keys(0).map(|key| (self.id(key), key.sample))
    }

    pub(super) fn id(&self, key: Key) -> &str {
        &self.store.ids[key.problem as usize]
    }

    /// The answer in the completion row of a key.
    pub(super) fn answer(&self, key: Key) -> Result<Answer, EvalError> {
        let id = self.id(key);
        let row = lock(&self.completions).row(id, key.sample)?;
        let row = row.expect("a key is sent once its row is there");
        let problem = self.store.problem(key.problem as usize)?;
        CompletionRow::parse(&row)
            .and_then(|row| row.answer(&problem, key.sample, self.rule))
            .map_err(|error| self.bad_row(id, error.to_string()))
    }

    pub(super) fn bad_row(&self, id: &str, reason: String) -> EvalError {
        EvalError::BadRecord {
            path: lock(&self.completions).path().to_owned(),
            id: id.to_owned(),
            reason,
        }
    }
}

/// Opens the verdict files. A verdict whose completion is not there is forgotten.
pub(super) fn open_ledgers(
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
pub(super) fn backlog_of(
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
