//! A sample of prompts, answers and verdicts for people to read: `qa_logs/<dataset>_qa.jsonl`.
//!
//! Which problems are sampled depends on their ids alone, so the same ones can be compared across
//! checkpoints as far as their error types allow: for each type so many in the order of a hash of
//! the id, then whatever comes next in that order until the sample is full.

use std::collections::{BTreeMap, HashSet};

use judge::ErrorType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The types that get a share each. What failed for reasons of ours says nothing about the model.
const SHARED: [ErrorType; 5] = [
    ErrorType::Success,
    ErrorType::WrongAnswer,
    ErrorType::SyntaxError,
    ErrorType::RuntimeError,
    ErrorType::Timeout,
];

/// One line of a QA log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QaRecord {
    /// Names the version of the row.
    pub schema: String,
    /// The dataset.
    pub dataset: String,
    /// The problem.
    pub problem_id: String,
    /// What the model was asked.
    pub prompt: String,
    /// What it answered, raw.
    pub response: String,
    /// Whether every test case passed.
    pub accepted: bool,
    /// Passed test cases / all.
    pub pass_ratio: Option<f64>,
    /// How it ended.
    pub error_type: ErrorType,
    /// Seconds of all runs.
    pub judge_time: f64,
    /// Seconds of generation.
    pub gen_time: Option<f64>,
    /// Tokens of the answer.
    pub gen_tokens: Option<u64>,
    /// step, checkpoint, model, sample, sampled_as, error_subtype, evidence, …
    pub extra: Map<String, Value>,
}

impl QaRecord {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.qa/1";
}

/// What the choice is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The problem.
    pub problem_id: String,
    /// Which of its samples.
    pub sample: u32,
    /// How it ended.
    pub error_type: ErrorType,
}

/// A candidate that was chosen, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its place among the candidates.
    pub index: usize,
    /// The share it fills: an error type, or `random`.
    pub sampled_as: &'static str,
}

/// Chooses `total` candidates, `per_type` of each error type first. In the order of the hash.
pub fn choose(candidates: &[Candidate], total: usize, per_type: usize) -> Vec<Chosen> {
    let mut order: Vec<(String, u32, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| (hash(&candidate.problem_id), candidate.sample, index))
        .collect();
    order.sort();
    let mut taken: HashSet<usize> = HashSet::new();
    let mut counts: BTreeMap<ErrorType, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for (rank, &(_, _, index)) in order.iter().enumerate() {
        let kind = candidates[index].error_type;
        let count = counts.entry(kind).or_default();
        if SHARED.contains(&kind) && *count < per_type && chosen.len() < total {
            *count += 1;
            taken.insert(index);
            chosen.push((rank, index, kind.as_str()));
        }
    }
    for (rank, &(_, _, index)) in order.iter().enumerate() {
        if chosen.len() >= total {
            break;
        }
        if candidates[index].error_type != ErrorType::ApiError && taken.insert(index) {
            chosen.push((rank, index, "random"));
        }
    }
    chosen.sort_unstable();
    chosen
        .into_iter()
        .map(|(_, index, sampled_as)| Chosen { index, sampled_as })
        .collect()
}

fn hash(id: &str) -> String {
    crate::dataset::hex(&Sha256::digest(format!("codejury:qa:{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(kinds: &[(ErrorType, usize)]) -> Vec<Candidate> {
        let kinds = kinds.iter().flat_map(|&(kind, n)| vec![kind; n]);
        kinds
            .enumerate()
            .map(|(i, error_type)| Candidate {
                problem_id: format!("p/{i}"),
                sample: 0,
                error_type,
            })
            .collect()
    }

    #[test]
    fn each_type_has_its_share_and_the_rest_is_filled_up() {
        use ErrorType::*;
        let all = candidates(&[
            (Success, 40),
            (WrongAnswer, 40),
            (SyntaxError, 2),
            (RuntimeError, 30),
            (ApiError, 5),
        ]);
        let chosen = choose(&all, 30, 5);
        assert_eq!(chosen.len(), 30);
        let count = |name| chosen.iter().filter(|c| c.sampled_as == name).count();
        assert_eq!(count("success"), 5);
        assert_eq!(count("syntax_error"), 2);
        assert_eq!(count("timeout"), 0);
        assert_eq!(count("random"), 30 - 5 - 5 - 2 - 5);
        assert!(chosen.iter().all(|c| all[c.index].error_type != ApiError));
        let again = choose(&all, 30, 5);
        assert_eq!(again, chosen);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_and_few_are_all_taken() {
        use ErrorType::*;
        let all = candidates(&[(Success, 20), (Timeout, 20)]);
        let mut turned = all.clone();
        turned.reverse();
        let ids = |of: &[Candidate]| -> Vec<String> {
            let chosen = choose(of, 10, 2);
            chosen
                .iter()
                .map(|c| of[c.index].problem_id.clone())
                .collect()
        };
        assert_eq!(ids(&all), ids(&turned));
        assert_eq!(choose(&all[..3], 30, 5).len(), 3);
        assert!(choose(&[], 30, 5).is_empty());
    }
}
