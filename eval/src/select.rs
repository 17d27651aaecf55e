//! All evaluations of a training run: `metrics.jsonl`, and which checkpoint is the best.
//!
//! Both files are made anew from the folders each time, so they are right whatever was evaluated in
//! which order, again, or by two processes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{EvalConfig, SelectionConfig};
use crate::error::EvalError;
use crate::outcomes::{Outcomes, Sample, accepted, executed, paired, pass_ratio};
use crate::results::{Summary, flat_metrics, write_atomically, write_json};

/// A finished evaluation.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The folder's name.
    pub name: String,
    /// Its numbers.
    pub summary: Summary,
}

impl RunFolder {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// It has no summary, or one that cannot be read.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let file = path.join("summary.json");
        if !file.is_file() {
            return Err(EvalError::invalid(format!(
                "{} holds no finished evaluation: there is no summary.json",
                path.display()
            )));
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            name,
            summary: Summary::read(&file)?,
            path: path.to_owned(),
        })
    }

    /// The training step, if it is of one.
    pub fn step(&self) -> Option<u64> {
        self.summary
            .evaluation
            .as_ref()
            .and_then(|about| about.step)
    }

    /// False if its numbers mean nothing.
    pub fn usable(&self) -> bool {
        self.summary
            .evaluation
            .as_ref()
            .is_none_or(|about| about.usable)
    }
}

/// The finished evaluations in a folder, by step; the baseline first.
///
/// # Errors
///
/// The folder or a summary cannot be read.
pub fn finished(out: &Path) -> Result<Vec<RunFolder>, EvalError> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(out).map_err(EvalError::read(out))? {
        let path = entry.map_err(EvalError::read(out))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("eval_") || !path.join("summary.json").is_file() {
            continue;
        }
        let run = RunFolder::read(&path)?;
        if run.summary.evaluation.is_some() {
            runs.push(run);
        }
    }
    let is_final = |run: &RunFolder| run.name == "eval_final";
    runs.sort_by_key(|run| (run.step(), is_final(run), run.name.clone()));
    Ok(runs)
}

/// `best_checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    /// Names the version of this layout.
    pub schema: String,
    /// The step of the best checkpoint.
    pub best_step: u64,
    /// Its share of programs that ran to their end, over judged problems.
    pub best_exec_success_rate: Option<f64>,
    /// Its share of accepted programs, over judged problems.
    pub best_accepted_at_1: Option<f64>,
    /// 95 % interval of what decided.
    pub best_ci95: Option<[f64; 2]>,
    /// Where it is.
    pub model_path: Option<String>,
    /// Where in a summary what decided stands.
    pub selection_metric: String,
    /// What decides between equals.
    pub tie_break: String,
    /// The other steps that are not significantly worse.
    pub not_significantly_worse: Vec<u64>,
    /// Reasons to look twice; they change nothing.
    pub warnings: Vec<String>,
    /// What each step came to.
    pub all_checkpoints: BTreeMap<u64, CheckpointEntry>,
}

/// One step of `best_checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointEntry {
    /// The folder of its evaluation.
    pub folder: String,
    /// Where the checkpoint was.
    pub model_path: Option<String>,
    /// Problems.
    pub n: u64,
    /// Problems with a verdict.
    pub n_judged: u64,
    /// Over judged problems.
    pub exec_success_rate: Option<f64>,
    /// 95 % interval.
    pub exec_success_rate_ci95: Option<[f64; 2]>,
    /// Over judged problems.
    pub accepted_at_1: Option<f64>,
    /// Of all problems.
    pub pass_ratio_mean: Option<f64>,
    /// Over judged problems.
    pub no_output_rate: Option<f64>,
    /// What decides, where it is another metric.
    pub selected_by: Option<f64>,
    /// p of the comparison with the best one; null for itself.
    pub p_against_best: Option<f64>,
    /// The trainer's loss at this step.
    pub val_loss: Option<f64>,
    /// False if the evaluation is void.
    pub usable: bool,
}

impl BestCheckpoint {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.best_checkpoint/1";

    /// Reads a `best_checkpoint.json`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = fs::read(path).map_err(EvalError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| EvalError::read(path)(error.into()))
    }
}

/// What a metric means for one sample; `None` for one that is not decided sample by sample.
fn measure_of(metric: &str) -> Option<fn(&Sample) -> Option<f64>> {
    match metric {
        "exec_success_rate" => Some(executed),
        "accepted_at_1" | "pass@1" => Some(accepted),
        "pass_ratio_mean" => Some(pass_ratio),
        _ => None,
    }
}

/// Writes `metrics.jsonl` and `best_checkpoint.json` anew from the folders in `out`. Returns the
/// best checkpoint, if any was evaluated on the dataset that decides.
///
/// # Errors
///
/// A folder cannot be read, or a file not written.
pub fn refresh(
    out: &Path,
    config: &EvalConfig,
    val_loss: &BTreeMap<u64, f64>,
) -> Result<Option<BestCheckpoint>, EvalError> {
    let lock_path = out.join(".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(EvalError::write(&lock_path))?;
    // Held for the moment that it takes; freed when the file is closed.
    lock.lock().map_err(EvalError::write(&lock_path))?;
    let runs = finished(out)?;
    write_metrics(out, &runs)?;
    let path = out.join("best_checkpoint.json");
    let mut val_loss = val_loss.clone();
    if val_loss.is_empty()
        && let Ok(before) = BestCheckpoint::read(&path)
    {
        // Known from a call that was given the trainer's log.
        let known = before.all_checkpoints.into_iter();
        val_loss.extend(known.filter_map(|(step, entry)| Some((step, entry.val_loss?))));
    }
    let best = choose(&runs, &config.selection, &val_loss)?;
    if let Some(best) = &best {
        write_json(&path, best)?;
    }
    Ok(best)
}

/// One flat line for each dataset of each evaluation.
fn write_metrics(out: &Path, runs: &[RunFolder]) -> Result<(), EvalError> {
    write_atomically(&out.join("metrics.jsonl"), |file| {
        for run in runs.iter().filter(|run| run.usable()) {
            for (slug, summary) in &run.summary.datasets {
                let mut line = Map::new();
                line.insert("schema".into(), "codejury.metrics_line/1".into());
                line.insert("step".into(), run.step().into());
                line.insert("folder".into(), run.name.clone().into());
                line.insert("dataset".into(), slug.clone().into());
                let one = BTreeMap::from([(slug.clone(), summary.clone())]);
                let flat = flat_metrics(&one);
                line.extend(flat.into_iter().filter(|(name, _)| name != "schema"));
                serde_json::to_writer(&mut *file, &Value::Object(line))?;
                file.write_all(b"\n")?;
            }
        }
        Ok(())
    })
}

struct Candidate<'a> {
    step: u64,
    run: &'a RunFolder,
    value: f64,
    tie_break: f64,
}

/// Chooses among the checkpoints that were evaluated on the dataset that decides.
fn choose(
    runs: &[RunFolder],
    selection: &SelectionConfig,
    val_loss: &BTreeMap<u64, f64>,
) -> Result<Option<BestCheckpoint>, EvalError> {
    let slug = &selection.dataset;
    // Judged problems only: what failed for reasons of ours says nothing about the model.
    let judged = |run: &RunFolder, metric: &str| -> Option<f64> {
        let summary = run.summary.datasets.get(slug)?;
        summary
            .metric(&format!("{metric}_judged"))
            .or_else(|| summary.metric(metric))
    };
    let mut by_step: BTreeMap<u64, &RunFolder> = BTreeMap::new();
    for run in runs {
        if let Some(step) = run.step()
            && run.summary.datasets.contains_key(slug)
        {
            // The first one is the step's own; the final evaluation counts where there is none.
            let entry = by_step.entry(step).or_insert(run);
            if !entry.usable() {
                *entry = run;
            }
        }
    }
    let mut candidates: Vec<Candidate<'_>> = by_step
        .iter()
        .filter(|(_, run)| run.usable())
        .filter_map(|(&step, run)| {
            Some(Candidate {
                step,
                run,
                value: judged(run, &selection.metric)?,
                tie_break: judged(run, &selection.tie_break).unwrap_or(0.0),
            })
        })
        .collect();
    candidates.sort_by(|a, b| {
        b.value
            .total_cmp(&a.value)
            .then(b.tie_break.total_cmp(&a.tie_break))
            .then(a.step.cmp(&b.step))
    });
    let Some(best) = candidates.first() else {
        return Ok(None);
    };
    let best_outcomes = Outcomes::read(&best.run.path, slug)?.unwrap_or_default();
    let mut p_values = BTreeMap::new();
    if let Some(measure) = measure_of(&selection.metric) {
        for other in &candidates[1..] {
            let outcomes = Outcomes::read(&other.run.path, slug)?.unwrap_or_default();
            if let Some(pair) = paired(&best_outcomes, &outcomes, measure) {
                p_values.insert(other.step, pair.p);
            }
        }
    }
    let ci = |run: &RunFolder, metric: &str| -> Option<[f64; 2]> {
        let summary = run.summary.datasets.get(slug)?;
        let name = format!("{metric}_judged");
        summary
            .ci95
            .get(&name)
            .or_else(|| summary.ci95.get(metric))
            .copied()
            .flatten()
    };
    let entries = by_step.iter().map(|(&step, run)| {
        let summary = &run.summary.datasets[slug];
        let about = run.summary.evaluation.as_ref();
        let entry = CheckpointEntry {
            folder: run.name.clone(),
            model_path: about.and_then(|about| about.model_path.clone()),
            n: summary.n,
            n_judged: summary.n_judged,
            exec_success_rate: judged(run, "exec_success_rate"),
            exec_success_rate_ci95: ci(run, "exec_success_rate"),
            accepted_at_1: judged(run, "accepted_at_1"),
            pass_ratio_mean: summary.metric("pass_ratio_mean"),
            no_output_rate: judged(run, "no_output_rate"),
            selected_by: (selection.metric != "exec_success_rate")
                .then(|| judged(run, &selection.metric))
                .flatten(),
            p_against_best: p_values.get(&step).copied(),
            val_loss: val_loss.get(&step).copied(),
            usable: run.usable(),
        };
        (step, entry)
    });
    let all_checkpoints: BTreeMap<u64, CheckpointEntry> = entries.collect();
    let not_worse = p_values.iter().filter(|(_, p)| **p >= 0.05);
    Ok(Some(BestCheckpoint {
        schema: BestCheckpoint::SCHEMA.into(),
        best_step: best.step,
        best_exec_success_rate: judged(best.run, "exec_success_rate"),
        best_accepted_at_1: judged(best.run, "accepted_at_1"),
        best_ci95: ci(best.run, &selection.metric),
        model_path: all_checkpoints[&best.step].model_path.clone(),
        selection_metric: format!("summary.datasets.{slug}.{}", selection.metric),
        tie_break: format!(
            "summary.datasets.{slug}.{}, then the smaller step",
            selection.tie_break
        ),
        not_significantly_worse: not_worse.map(|(step, _)| *step).collect(),
        warnings: guards(best.step, &all_checkpoints, selection),
        all_checkpoints,
    }))
}

/// Signs that the metric that decides was gamed: programs that run to their end and do nothing.
fn guards(
    best: u64,
    all: &BTreeMap<u64, CheckpointEntry>,
    selection: &SelectionConfig,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let chosen = &all[&best];
    let usable = || all.iter().filter(|(_, entry)| entry.usable);
    let lowest = usable()
        .filter_map(|(step, entry)| Some((entry.no_output_rate?, step)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    if let (Some(rate), Some((least, step))) = (chosen.no_output_rate, lowest)
        && 100.0 * (rate - least) > selection.guard_no_output_pp
    {
        warnings.push(format!(
            "no_output_rate of step {best} is {:.1} %, {:.1} pp above step {step}: programs that print \
             nothing count as executed",
            100.0 * rate,
            100.0 * (rate - least)
        ));
    }
    let highest = usable()
        .filter_map(|(step, entry)| Some((entry.accepted_at_1?, step)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let (Some(rate), Some((most, step))) = (chosen.accepted_at_1, highest)
        && 100.0 * (most - rate) > selection.guard_accepted_pp
    {
        warnings.push(format!(
            "accepted_at_1 of step {best} is {:.1} %, {:.1} pp below step {step}",
            100.0 * rate,
            100.0 * (most - rate)
        ));
    }
    warnings
}
