//! What training has changed: two evaluations side by side, problem by problem.
//!
//! Everything is paired on the problems that both sides have judged. A difference inside noise is
//! called that. Alarms say what is suspicious, what the likely cause is, and where to look; each
//! looks for itself, none silences another.

mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use judge::ErrorType;
use serde::{Deserialize, Serialize};

use crate::config::{CompareConfig, EvalConfig, SelectionConfig};
use crate::error::EvalError;
use crate::outcomes::{Outcomes, Paired, Sample, accepted, executed, paired, pass_ratio};
use crate::select::RunFolder;
use crate::stats::holm;

pub use tables::Table;

/// The level at which a difference counts as one.
const LEVEL: f64 = 0.05;

/// `compare --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Names the version of this layout.
    pub schema: String,
    /// The evaluation that is compared with.
    pub base: Side,
    /// The one that is judged.
    pub new: Side,
    /// How good they are.
    pub quality: Vec<QualityRow>,
    /// How they fail.
    pub errors: Vec<ErrorRow>,
    /// Which problems changed, by dataset.
    pub flips: BTreeMap<String, Flips>,
    /// What is suspicious.
    pub alarms: Vec<Alarm>,
    /// Signs that the numbers were gamed; they change nothing.
    pub warnings: Vec<String>,
    /// The trainer's validation loss beside exec_success_rate, by step.
    pub curves: Vec<CurvePoint>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Its folder.
    pub folder: String,
    /// Its step.
    pub step: Option<u64>,
    /// Its model.
    pub model: Option<String>,
}

/// One line of the quality table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityRow {
    /// The dataset.
    pub dataset: String,
    /// The metric.
    pub metric: String,
    /// The numbers.
    pub paired: Paired,
    /// Whether it belongs to the set that Holm's correction is made for.
    pub primary: bool,
    /// p after that correction; null outside the set.
    pub p_holm: Option<f64>,
    /// Whether the difference is more than noise.
    pub significant: bool,
    /// The change that training was expected to make, in percentage points; null: about none.
    pub expected_pp: Option<[f64; 2]>,
    /// `as expected`, `less than expected`, `more than expected`, `inside noise`.
    pub reading: String,
}

/// One line of the error table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// The dataset.
    pub dataset: String,
    /// The error type.
    pub error_type: ErrorType,
    /// Shares of samples, and the test.
    pub paired: Paired,
    /// Change relative to the base, in percent; null where the base has none.
    pub change_percent: Option<f64>,
    /// What was expected of it, in percent; null: about none, or more.
    pub expected_percent: Option<[f64; 2]>,
    /// The direction that was expected: `down`, or `same or up`.
    pub expected_direction: String,
    /// Whether it went there.
    pub as_expected: bool,
    /// Whether the difference is more than noise.
    pub significant: bool,
}

impl ErrorRow {
    /// The row in words: noise, against the expected direction, or along it, and how far.
    fn reading(&self) -> &'static str {
        match (self.change_percent, self.expected_percent) {
            _ if !self.significant => "inside noise",
            _ if !self.as_expected => "against expectation",
            (Some(change), Some([low, _])) if change < low => "more than expected",
            (Some(change), Some([_, high])) if change > high => "less than expected",
            _ => "as expected",
        }
    }
}

/// Problems that changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flips {
    /// Accepted now, not before.
    pub gained: Vec<String>,
    /// Accepted before, not now.
    pub lost: Vec<String>,
    /// Runs to its end now, not before.
    pub now_executes: Vec<String>,
    /// Ran to its end before, not now.
    pub no_longer_executes: Vec<String>,
    /// Problems on both sides.
    pub n: u64,
}

/// Something suspicious.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// `exec_gain_small`, `humaneval_loss`, `syntax_errors_rose`, `nothing_changed`.
    pub name: String,
    /// What was seen, with its p value.
    pub what: String,
    /// Why that usually happens.
    pub likely_cause: String,
    /// Where to look.
    pub look_at: String,
}

/// Loss and quality at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The step.
    pub step: u64,
    /// The trainer's validation loss.
    pub val_loss: Option<f64>,
    /// Over judged problems of the dataset that decides.
    pub exec_success_rate: Option<f64>,
}

impl Comparison {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.comparison/1";
}

/// Compares two results folders. `others` are evaluations of the same run, for the curves.
///
/// # Errors
///
/// A folder holds no finished evaluation, or the two have no dataset in common.
pub fn compare(
    base: &Path,
    new: &Path,
    settings: &EvalConfig,
    others: &[RunFolder],
    val_loss: &BTreeMap<u64, f64>,
) -> Result<Comparison, EvalError> {
    let config = &settings.compare;
    let (base, new) = (RunFolder::read(base)?, RunFolder::read(new)?);
    let mut notes = Vec::new();
    for run in [&base, &new] {
        if !run.usable() {
            notes.push(format!(
                "{} is void: too much failed for reasons of ours",
                run.name
            ));
        }
    }
    let mut pairs = BTreeMap::new();
    for slug in base.summary.datasets.keys() {
        if !new.summary.datasets.contains_key(slug) {
            continue;
        }
        let left = Outcomes::read(&base.path, slug)?;
        let right = Outcomes::read(&new.path, slug)?;
        if let (Some(left), Some(right)) = (left, right) {
            let only =
                |a: &Outcomes, b: &Outcomes| a.0.keys().filter(|id| !b.0.contains_key(*id)).count();
            let (before, after) = (only(&left, &right), only(&right, &left));
            if before + after > 0 {
                notes.push(format!(
                    "{slug}: {before} problems only in the base and {after} only in the new one are left out"
                ));
            }
            pairs.insert(slug.clone(), (left, right));
        }
    }
    if pairs.is_empty() {
        return Err(EvalError::invalid(format!(
            "{} and {} have no dataset in common",
            base.path.display(),
            new.path.display()
        )));
    }
    for slug in [&config.dataset, &config.humaneval, &config.mbpp] {
        if !pairs.contains_key(slug) {
            notes.push(format!("{slug} was not evaluated on both sides"));
        }
    }
    let quality = quality(&pairs, config);
    let errors = errors(&pairs, config);
    let flips = pairs
        .iter()
        .map(|(slug, (left, right))| (slug.clone(), flips(left, right)));
    let curves = curves(others, &config.dataset, val_loss);
    let warnings = warnings(&base, &new, config, &settings.selection, &curves);
    Ok(Comparison {
        schema: Comparison::SCHEMA.into(),
        alarms: alarms(&quality, &errors, config),
        flips: flips.collect(),
        base: side(&base),
        new: side(&new),
        quality,
        errors,
        warnings,
        curves,
        notes,
    })
}

fn side(run: &RunFolder) -> Side {
    Side {
        folder: run.path.display().to_string(),
        step: run.step(),
        model: run
            .summary
            .evaluation
            .as_ref()
            .map(|about| about.model.clone()),
    }
}

type Pairs = BTreeMap<String, (Outcomes, Outcomes)>;

fn quality(pairs: &Pairs, config: &CompareConfig) -> Vec<QualityRow> {
    type Line<'a> = (
        &'a str,
        &'a str,
        fn(&Sample) -> Option<f64>,
        bool,
        Option<[f64; 2]>,
    );
    let valid = config.dataset.as_str();
    let lines: [Line<'_>; 5] = [
        (
            valid,
            "exec_success_rate",
            executed,
            true,
            Some(config.exec_gain_pp),
        ),
        (
            valid,
            "accepted_at_1",
            accepted,
            true,
            Some(config.accepted_gain_pp),
        ),
        (valid, "pass_ratio_mean", pass_ratio, false, None),
        (&config.humaneval, "pass@1", accepted, true, None),
        (&config.mbpp, "pass@1", accepted, true, None),
    ];
    let known = |slug: &str| lines.iter().any(|(name, ..)| *name == slug);
    // Datasets beyond those are shown too; nobody expects anything of them.
    let more = pairs.keys().filter(|slug| !known(slug));
    let more: Vec<Line<'_>> = more
        .flat_map(|slug| {
            [
                (
                    slug.as_str(),
                    "exec_success_rate",
                    executed as fn(&Sample) -> Option<f64>,
                    false,
                    None,
                ),
                (slug.as_str(), "accepted_at_1", accepted, false, None),
            ]
        })
        .collect();
    let mut rows: Vec<QualityRow> = lines
        .into_iter()
        .chain(more)
        .filter_map(|(slug, metric, measure, primary, expected_pp)| {
            let (left, right) = pairs.get(slug)?;
            Some(QualityRow {
                dataset: slug.to_owned(),
                metric: metric.to_owned(),
                paired: paired(left, right, measure)?,
                primary,
                p_holm: None,
                significant: false,
                expected_pp,
                reading: String::new(),
            })
        })
        .collect();
    let primary: Vec<f64> = rows
        .iter()
        .filter(|row| row.primary)
        .map(|row| row.paired.p)
        .collect();
    let mut adjusted = holm(&primary).into_iter();
    for row in &mut rows {
        row.p_holm = row.primary.then(|| adjusted.next()).flatten();
        row.significant = row.p_holm.unwrap_or(row.paired.p) < LEVEL;
        row.reading = reading(row);
    }
    rows
}

fn reading(row: &QualityRow) -> String {
    let delta = 100.0 * row.paired.delta;
    let text = match (row.significant, row.expected_pp) {
        (_, Some([low, high])) if delta >= low && delta <= high && row.significant => "as expected",
        (true, Some([low, _])) if delta < low => "less than expected",
        (true, Some(_)) => "more than expected",
        (true, None) if delta > 0.0 => "better",
        (true, None) => "worse",
        (false, _) => "inside noise",
    };
    text.to_owned()
}

fn errors(pairs: &Pairs, config: &CompareConfig) -> Vec<ErrorRow> {
    let Some((left, right)) = pairs.get(&config.dataset) else {
        return Vec::new();
    };
    let kinds = [
        (
            ErrorType::SyntaxError,
            Some(config.syntax_error_change_percent),
        ),
        (
            ErrorType::RuntimeError,
            Some(config.runtime_error_change_percent),
        ),
        (ErrorType::Timeout, Some(config.timeout_change_percent)),
        // Programs that used to crash now run and are wrong.
        (ErrorType::WrongAnswer, None),
    ];
    kinds
        .into_iter()
        .filter_map(|(kind, expected_percent)| {
            let is = |sample: &Sample| Some(f64::from(sample.error_type == kind));
            let paired = paired(left, right, is)?;
            let change_percent = (paired.base > 0.0).then(|| 100.0 * paired.delta / paired.base);
            Some(ErrorRow {
                dataset: config.dataset.clone(),
                error_type: kind,
                change_percent,
                expected_percent,
                expected_direction: match expected_percent {
                    Some(_) => "down".into(),
                    None => "same or up".into(),
                },
                as_expected: match expected_percent {
                    Some(_) => paired.delta < 0.0 || paired.base == 0.0 && paired.new == 0.0,
                    None => paired.delta >= 0.0 || paired.p >= LEVEL,
                },
                significant: paired.p < LEVEL,
                paired,
            })
        })
        .collect()
}

fn flips(left: &Outcomes, right: &Outcomes) -> Flips {
    let changed = |measure: fn(&Sample) -> Option<f64>| {
        let (before, after) = (left.values(measure), right.values(measure));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (id, old) in &before {
            match after.get(id) {
                Some(new) if new > old => up.push((*id).to_owned()),
                Some(new) if new < old => down.push((*id).to_owned()),
                _ => {}
            }
        }
        (up, down)
    };
    let (gained, lost) = changed(accepted);
    let (now_executes, no_longer_executes) = changed(executed);
    let after = right.values(accepted);
    let n = left
        .values(accepted)
        .keys()
        .filter(|id| after.contains_key(*id))
        .count();
    Flips {
        gained,
        lost,
        now_executes,
        no_longer_executes,
        n: n as u64,
    }
}

fn alarms(quality: &[QualityRow], errors: &[ErrorRow], config: &CompareConfig) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut raise = |name: &str, what: String, likely_cause: &str, look_at: &str| {
        alarms.push(Alarm {
            name: name.into(),
            what,
            likely_cause: likely_cause.into(),
            look_at: look_at.into(),
        });
    };
    let find = |slug: &str, metric: &str| {
        let mut rows = quality.iter();
        rows.find(|row| row.dataset == slug && row.metric == metric)
    };
    let pp = |row: &QualityRow| 100.0 * row.paired.delta;
    if let Some(row) = find(&config.dataset, "exec_success_rate")
        && pp(row) < config.alarm_exec_gain_pp
    {
        raise(
            "exec_gain_small",
            format!(
                "exec_success_rate on {} changed by {:+.1} pp, less than +{} pp (p = {})",
                row.dataset,
                pp(row),
                config.alarm_exec_gain_pp,
                p_text(row.paired.p)
            ),
            "the answers' format was not learned: the training data ends differently from what the \
             evaluation extracts, the loss mask covers the answer, or training was too short",
            "qa_logs of syntax_error and runtime_error; `extraction` and `truncated` in verdicts; the chat \
             template in training and evaluation; truncation_rate",
        );
    }
    if let Some(row) = find(&config.humaneval, "pass@1")
        && -pp(row) > config.alarm_humaneval_loss_pp
    {
        let noise = if row.paired.p < LEVEL {
            ""
        } else {
            ": inside noise at this n"
        };
        raise(
            "humaneval_loss",
            format!(
                "{} pass@1 fell by {:.1} pp, more than {} pp (n = {}, p = {}{noise})",
                row.dataset,
                -pp(row),
                config.alarm_humaneval_loss_pp,
                row.paired.n,
                p_text(row.paired.p)
            ),
            "forgetting: the learning rate or the number of epochs is too high, or the data holds contest \
             programs only, so that functions are answered as programs",
            "qa_logs of humaneval: does the answer read stdin? Lower the learning rate, mix in other code, \
             or take an earlier checkpoint",
        );
    }
    let syntax = errors
        .iter()
        .find(|row| row.error_type == ErrorType::SyntaxError);
    if let Some(row) = syntax
        && row.paired.delta > 0.0
    {
        raise(
            "syntax_errors_rose",
            format!(
                "syntax errors on {} rose from {:.1} % to {:.1} % (p = {})",
                row.dataset,
                100.0 * row.paired.base,
                100.0 * row.paired.new,
                p_text(row.paired.p)
            ),
            "answers are cut at the token limit, the end-of-text token was not learned, or the training data \
             holds code that does not compile",
            "truncation_rate and finish_reason; `error_subtype` no_code against SyntaxError; `compile()` over \
             the training data",
        );
    }
    let still = |delta: f64| 100.0 * delta.abs() < config.alarm_nothing_changed_pp;
    let deltas = quality.iter().map(|row| row.paired.delta);
    if deltas
        .chain(errors.iter().map(|row| row.paired.delta))
        .all(still)
    {
        raise(
            "nothing_changed",
            format!(
                "every difference is below {} pp",
                config.alarm_nothing_changed_pp
            ),
            "the same weights were evaluated twice: the server loaded the base model, the checkpoint holds the \
             untrained weights (LoRA not merged), or the learning rate was 0",
            "model_fingerprint in both run.json files; `codejury handoff verify`; the trainer's grad_norm",
        );
    }
    alarms
}

fn warnings(
    base: &RunFolder,
    new: &RunFolder,
    config: &CompareConfig,
    selection: &SelectionConfig,
    curves: &[CurvePoint],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let rates = |metric: &str| {
        let rate = |run: &RunFolder| {
            let summary = run.summary.datasets.get(&config.dataset)?;
            summary.metric(metric)
        };
        Some((rate(base)?, rate(new)?))
    };
    if let Some((before, after)) = rates("accepted_at_1_judged")
        && 100.0 * (before - after) > selection.guard_accepted_pp
    {
        warnings.push(format!(
            "accepted_at_1 on {} fell from {:.1} % to {:.1} %",
            config.dataset,
            100.0 * before,
            100.0 * after
        ));
    }
    if let Some((before, after)) = rates("no_output_rate_judged")
        && 100.0 * (after - before) > selection.guard_no_output_pp
    {
        warnings.push(format!(
            "no_output_rate on {} rose from {:.1} % to {:.1} %: programs that print nothing count as executed",
            config.dataset,
            100.0 * before,
            100.0 * after
        ));
    }
    for pair in curves.windows(2) {
        if let [
            CurvePoint {
                step: from,
                val_loss: Some(loss),
                exec_success_rate: Some(exec),
            },
            CurvePoint {
                step: to,
                val_loss: Some(next_loss),
                exec_success_rate: Some(next_exec),
            },
        ] = pair
            && next_loss < loss
            && next_exec < exec
        {
            warnings.push(format!(
                "from step {from} to {to} the validation loss falls ({loss:.4} to {next_loss:.4}) while \
                 exec_success_rate falls too ({:.1} % to {:.1} %): the loss no longer says which checkpoint is better",
                100.0 * exec,
                100.0 * next_exec
            ));
        }
    }
    warnings
}

fn curves(runs: &[RunFolder], slug: &str, val_loss: &BTreeMap<u64, f64>) -> Vec<CurvePoint> {
    if val_loss.is_empty() {
        return Vec::new();
    }
    let mut points: BTreeMap<u64, CurvePoint> = BTreeMap::new();
    let point = |step| CurvePoint {
        step,
        val_loss: val_loss.get(&step).copied(),
        exec_success_rate: None,
    };
    for run in runs.iter().filter(|run| run.usable()) {
        if let Some(step) = run.step()
            && let Some(summary) = run.summary.datasets.get(slug)
        {
            let entry = points.entry(step).or_insert_with(|| point(step));
            entry.exec_success_rate = summary.metric("exec_success_rate_judged");
        }
    }
    // Losses are logged far more often than checkpoints are evaluated; those between say nothing here.
    if points.is_empty() {
        points = val_loss.keys().map(|&step| (step, point(step))).collect();
    }
    points.into_values().collect()
}

/// `0.012`, `< 0.0001`.
pub fn p_text(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".into()
    } else if p < 0.1 {
        format!("{p:.4}")
    } else {
        format!("{p:.2}")
    }
}
