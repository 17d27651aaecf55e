//! What became of each problem of a dataset in one results folder, and how two of them differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use judge::ErrorType;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::stats::{Bootstrap, mcnemar_exact, mean};

/// The problems of one dataset, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes(pub BTreeMap<String, Vec<Sample>>);

/// What is kept of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Sample {
    /// How it ended.
    pub error_type: ErrorType,
    /// Whether every test case passed.
    pub accepted: bool,
    /// Passed test cases / all.
    pub pass_ratio: Option<f64>,
}

#[derive(Deserialize)]
struct Row {
    problem_id: String,
    #[serde(flatten)]
    sample: Sample,
}

/// Something that is measured for each sample.
pub type Measure = fn(&Sample) -> Option<f64>;

/// Whether a program ran to its end.
pub fn executed(sample: &Sample) -> Option<f64> {
    Some(f64::from(matches!(
        sample.error_type,
        ErrorType::Success | ErrorType::WrongAnswer
    )))
}

/// Whether it was accepted.
pub fn accepted(sample: &Sample) -> Option<f64> {
    Some(f64::from(sample.accepted))
}

/// Its share of passed test cases.
pub fn pass_ratio(sample: &Sample) -> Option<f64> {
    sample.pass_ratio
}

impl Outcomes {
    /// Reads `verdicts/<dataset>.jsonl` of a results folder; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds a line that is no verdict.
    pub fn read(folder: &Path, dataset: &str) -> Result<Option<Self>, EvalError> {
        let path = folder.join("verdicts").join(format!("{dataset}.jsonl"));
        if !path.is_file() {
            return Ok(None);
        }
        let file = File::open(&path).map_err(EvalError::read(&path))?;
        let mut problems: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(EvalError::read(&path))?;
            let row: Row = serde_json::from_str(&line).map_err(|error| {
                EvalError::invalid(format!("{}, line {number}: {error}", path.display()))
            })?;
            problems.entry(row.problem_id).or_default().push(row.sample);
        }
        Ok(Some(Self(problems)))
    }

    /// For each problem the mean of a measure over its judged samples; those that we failed on are
    /// left out.
    pub fn values(&self, measure: impl Fn(&Sample) -> Option<f64>) -> BTreeMap<&str, f64> {
        let values = self.0.iter().filter_map(|(id, samples)| {
            let judged = samples
                .iter()
                .filter(|s| s.error_type != ErrorType::ApiError);
            let known: Vec<f64> = judged.filter_map(&measure).collect();
            Some((id.as_str(), mean(&known)?))
        });
        values.collect()
    }
}

/// A measure on the problems that two results folders share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Problems judged on both sides.
    pub n: u64,
    /// The mean on either side.
    pub base: f64,
    /// The mean on either side.
    pub new: f64,
    /// new − base.
    pub delta: f64,
    /// 95 % interval of the difference, bootstrapped over problems.
    pub delta_ci95: Option<[f64; 2]>,
    /// Problems on which it went up.
    pub up: u64,
    /// Problems on which it went down.
    pub down: u64,
    /// Two-sided: the exact McNemar test where each problem is a yes or no, else bootstrapped.
    pub p: f64,
    /// Which test.
    pub test: String,
}

/// Compares a measure problem by problem; `None` if the two share none.
pub fn paired(
    base: &Outcomes,
    new: &Outcomes,
    measure: impl Fn(&Sample) -> Option<f64>,
) -> Option<Paired> {
    let (left, right) = (base.values(&measure), new.values(&measure));
    let pairs: Vec<(f64, f64)> = left
        .iter()
        .filter_map(|(id, a)| Some((*a, *right.get(id)?)))
        .collect();
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
    let bootstrap = Bootstrap::default();
    let up = differences.iter().filter(|d| **d > 0.0).count() as u64;
    let down = differences.iter().filter(|d| **d < 0.0).count() as u64;
    let binary = |value: f64| value == 0.0 || value == 1.0;
    let yes_or_no = pairs.iter().all(|(a, b)| binary(*a) && binary(*b));
    let one_each = base
        .0
        .values()
        .chain(new.0.values())
        .all(|samples| samples.len() == 1);
    let (p, test) = match yes_or_no && one_each {
        true => (mcnemar_exact(up, down), "mcnemar"),
        false => (bootstrap.p_of_no_difference(&differences)?, "bootstrap"),
    };
    Some(Paired {
        n: pairs.len() as u64,
        base: mean(&pairs.iter().map(|(a, _)| *a).collect::<Vec<_>>())?,
        new: mean(&pairs.iter().map(|(_, b)| *b).collect::<Vec<_>>())?,
        delta: mean(&differences)?,
        delta_ci95: bootstrap.mean95(&differences),
        up,
        down,
        p,
        test: test.to_owned(),
    })
}
