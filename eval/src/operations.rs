//! What one does with a dataset besides judging completions for it: `codejury dataset …`, and the
//! look at everything that comes before the first run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use judge::{ErrorType, Problem, Submission, SubmissionSource, Verdict};
use serde::Serialize;

use crate::EvalError;
use crate::completions::Completions;
use crate::dataset::{Dataset, Format};
use crate::results::write_atomically;

/// What a dataset and its completions look like before anything runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The ids in dataset order.
    pub ids: Vec<String>,
    /// Those without a completion.
    pub without_completion: Vec<String>,
    /// How many submissions there will be.
    pub submissions: u64,
    /// How many test cases they will run against, each submission counted.
    pub test_cases: u64,
}

/// Reads the whole dataset once: finds every bad row before anything runs, and which problems have
/// no completion. Rows of `completions` for problems that none of the scanned datasets has are
/// then in [`Completions::unknown_ids`]. `accept` says whether a problem can be judged at all
/// ([`judge::Judge::check`]).
///
/// # Errors
///
/// The first bad row of the dataset, or the first problem that is not accepted.
pub fn scan<E: From<EvalError>>(
    dataset: &Dataset,
    completions: &mut Completions,
    mut accept: impl FnMut(&Problem) -> Result<(), E>,
) -> Result<Scan, E> {
    let mut scan = Scan::default();
    let dataset = if completions.is_reference() {
        dataset.with_references()
    } else {
        dataset.clone()
    };
    for problem in dataset.problems() {
        let problem = problem?;
        accept(&problem)?;
        let count = completions.count_for(&problem) as u64;
        if count == 0 {
            scan.without_completion.push(problem.problem_id.clone());
        }
        scan.submissions += count;
        scan.test_cases += count * problem.suite.test_count() as u64;
        scan.ids.push(problem.problem_id);
    }
    Ok(scan)
}

/// One line of `dataset list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The dataset's name.
    pub slug: String,
    /// Its format.
    pub format: Format,
    /// How many problems it has.
    pub problems: u64,
    /// Test cases of all problems together.
    pub test_cases: u64,
    /// How many problems have a solution of the dataset's own.
    pub with_reference: u64,
    /// How many problems there are of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
}

impl Dataset {
    /// Reads the whole dataset and counts.
    ///
    /// # Errors
    ///
    /// The first bad row.
    pub fn listing(&self) -> Result<Listing, EvalError> {
        let mut listing = Listing {
            slug: self.slug().to_owned(),
            format: self.format(),
            problems: 0,
            test_cases: 0,
            with_reference: 0,
            kinds: BTreeMap::new(),
        };
        for problem in self.with_references().problems() {
            let problem = problem?;
            listing.problems += 1;
            listing.test_cases += problem.suite.test_count() as u64;
            listing.with_reference += u64::from(!problem.references.is_empty());
            *listing.kinds.entry(problem.suite.kind()).or_default() += 1;
        }
        Ok(listing)
    }

    /// Writes the dataset as native rows, references included, and returns how many. The file
    /// appears only when it is complete.
    ///
    /// # Errors
    ///
    /// The first bad row, or the file cannot be written.
    pub fn import(&self, path: &Path) -> Result<u64, EvalError> {
        let mut written = 0;
        let mut bad_row = None;
        let outcome = write_atomically(path, |out| {
            for problem in self.with_references().problems() {
                match problem {
                    Ok(problem) => writeln!(out, "{}", problem.to_row())?,
                    Err(error) => {
                        bad_row = Some(error);
                        return Err(std::io::ErrorKind::InvalidData.into());
                    }
                }
                written += 1;
            }
            Ok(())
        });
        match bad_row {
            Some(error) => Err(error),
            None => outcome.map(|()| written),
        }
    }

    /// Every solution of the dataset's own as a submission, problem by problem; the samples of a
    /// problem are its solutions, best first. Problems without any are passed to `without`.
    pub fn reference_submissions(
        &self,
        mut without: impl FnMut(Problem),
    ) -> impl Iterator<Item = Result<Submission, EvalError>> {
        self.with_references()
            .problems()
            .flat_map(move |problem| match problem {
                Err(error) => vec![Err(error)],
                Ok(problem) if problem.references.is_empty() => {
                    without(problem);
                    Vec::new()
                }
                Ok(mut problem) => {
                    let references = std::mem::take(&mut problem.references);
                    let problem = Arc::new(problem);
                    (0..)
                        .zip(references)
                        .map(|(sample, source)| {
                            Ok(Submission {
                                problem: Arc::clone(&problem),
                                sample,
                                source: SubmissionSource::Program(source.into_bytes().into()),
                                extraction: None,
                                truncated: false,
                            })
                        })
                        .collect()
                }
            })
    }
}

/// What `dataset check` found: which of a dataset's own solutions fail under the current limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// Solutions judged.
    pub checked: u64,
    /// Those that were not accepted, in the order of their verdicts.
    pub failing: Vec<FailingReference>,
    /// Problems without any solution.
    pub without_reference: Vec<String>,
}

/// A solution of the dataset's own that fails.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailingReference {
    /// Its problem.
    pub problem_id: String,
    /// Which solution, from 0.
    pub sample: u32,
    /// Why.
    pub error_type: ErrorType,
    /// Why, more closely.
    pub error_subtype: Option<String>,
}

impl CheckReport {
    /// Takes one verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        self.checked += 1;
        if !verdict.accepted {
            self.failing.push(FailingReference {
                problem_id: verdict.problem_id.clone(),
                sample: verdict.sample,
                error_type: verdict.error_type,
                error_subtype: verdict.error_subtype.clone(),
            });
        }
    }

    /// Whether every problem has a solution and all of them pass.
    pub fn holds(&self) -> bool {
        self.failing.is_empty() && self.without_reference.is_empty()
    }
}
