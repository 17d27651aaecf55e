//! Puts a verdict together from the facts of its test cases. Pure: facts in, row out.

use std::collections::BTreeMap;

use executor::Runner;

use crate::decide::{self, Budget, Decision};
use crate::run::{CaseFacts, RunTally};
use crate::settings::{JudgeConfig, Rules};
use crate::verdict::{TestVerdict, VERDICT_SCHEMA};
use crate::{Compare, ErrorType, Evidence, Submission, Suite, Verdict};

/// How far a submission came.
pub(crate) enum Judged {
    /// There was nothing to run.
    NotRun(Decision),
    /// It did not compile, or could not be run at all.
    NotCompiled(CaseFacts),
    /// Each test case in dataset order; `None` was not run.
    Cases(Vec<Option<CaseFacts>>),
}

/// Decides a submission.
pub(crate) fn verdict_of(
    submission: &Submission,
    rules: &Rules,
    config: &JudgeConfig,
    runner: &dyn Runner,
    judged: Judged,
    tally: &RunTally,
) -> Verdict {
    let problem = &submission.problem;
    let n_tests = problem.suite.test_count();
    let mut verdict = Verdict {
        schema: VERDICT_SCHEMA.into(),
        problem_id: problem.problem_id.clone(),
        sample: submission.sample,
        dataset: problem.dataset.clone(),
        kind: problem.suite.kind().into(),
        accepted: false,
        pass_ratio: None,
        n_tests,
        error_type: ErrorType::ApiError,
        error_subtype: None,
        error_types: BTreeMap::new(),
        evidence: None,
        output_matched: None,
        compare: compare_words(&problem.suite, rules.compare),
        extraction: match tally.continuation {
            true => Some("completion".into()),
            false => submission.extraction.map(str::to_owned),
        },
        truncated: submission.truncated,
        integrity: rules.integrity,
        isolation: tally.isolation.unwrap_or_else(|| runner.isolation()),
        backend: tally.backend().unwrap_or_else(|| runner.backend()).into(),
        wasm: tally.wasm.clone(),
        near_limit: tally.near_limit,
        tests: Vec::new(),
        judge_time: tally.wall_time.as_micros() as f64 / 1e6,
        path: path_words(tally),
        cached: false,
        usage: tally.usage,
    };
    let stdio = matches!(problem.suite, Suite::Stdio { .. });
    match judged {
        Judged::NotRun(decision) => verdict.all_alike(decision),
        Judged::NotCompiled(facts) => {
            verdict.evidence = Some(evidence(None, &facts));
            verdict.all_alike(facts.decision);
            verdict.output_matched = stdio.then_some(false);
        }
        Judged::Cases(cases) => {
            let budget = Budget {
                failures: config.stop_after_failures,
                timeouts: config.max_timeouts,
            };
            let run: Vec<&CaseFacts> = cases.iter().map_while(Option::as_ref).collect();
            let counted = budget.counted(run.iter().map(|case| case.decision.error_type));
            verdict.fill(&run[..counted], config, stdio);
        }
    }
    verdict
}

impl Verdict {
    /// No test case was run: each ends as the submission does.
    fn all_alike(&mut self, decision: Decision) {
        self.error_type = decision.error_type;
        self.error_subtype = decision.subtype;
        self.error_types
            .insert(self.error_type.as_str().into(), self.n_tests);
        self.pass_ratio = (self.error_type != ErrorType::ApiError).then_some(0.0);
    }

    /// From the test cases that count, the first of the suite; the rest is skipped.
    fn fill(&mut self, counted: &[&CaseFacts], config: &JudgeConfig, stdio: bool) {
        let types: Vec<ErrorType> = counted
            .iter()
            .map(|case| case.decision.error_type)
            .collect();
        let deciding = decide::deciding(config.aggregate, &types);
        // With nothing failing, the first test case stands for all of them.
        let shown = deciding.unwrap_or(0);
        match deciding {
            None => self.error_type = ErrorType::Success,
            Some(index) => {
                self.error_type = types[index];
                self.error_subtype = counted[index].decision.subtype.clone();
            }
        }
        self.accepted = deciding.is_none();
        let passed = types
            .iter()
            .filter(|kind| **kind == ErrorType::Success)
            .count();
        let judged = !types.contains(&ErrorType::ApiError);
        self.pass_ratio = judged.then(|| passed as f64 / self.n_tests as f64);
        for kind in &types {
            *self.error_types.entry(kind.as_str().into()).or_default() += 1;
        }
        if counted.len() < self.n_tests {
            self.error_types
                .insert("skipped".into(), self.n_tests - counted.len());
        }
        let mut evidence = evidence(Some(shown), counted[shown]);
        if stdio {
            let printed = || counted.iter().filter_map(|case| case.printed);
            self.output_matched =
                Some(counted.len() == self.n_tests && judged && printed().all(|p| p.matches));
            evidence.no_output = printed().count() > 0 && printed().all(|p| p.blank);
        }
        self.evidence = Some(evidence);
        self.tests = (0..self.n_tests)
            .map(|index| match counted.get(index) {
                Some(case) => TestVerdict {
                    index,
                    error_type: Some(case.decision.error_type),
                    error_subtype: case.decision.subtype.clone(),
                    first_difference: case.first_difference.clone(),
                    usage: case.usage,
                },
                None => TestVerdict {
                    index,
                    error_type: None,
                    error_subtype: None,
                    first_difference: None,
                    usage: None,
                },
            })
            .collect();
    }
}

fn evidence(test: Option<usize>, facts: &CaseFacts) -> Evidence {
    Evidence {
        test,
        outcome: facts.outcome.map(decide::outcome_words),
        exception: facts.decision.exception.clone(),
        stderr: facts.stderr.clone(),
        failure: facts.failure.clone(),
        no_output: false,
    }
}

fn compare_words(suite: &Suite, compare: Compare) -> Option<String> {
    match suite {
        Suite::Stdio {
            checker: Some(_), ..
        } => Some("checker".into()),
        Suite::Stdio { checker: None, .. } => Some(compare.to_string()),
        Suite::Call { .. } if matches!(compare, Compare::Float { .. }) => Some(compare.to_string()),
        Suite::Call { .. } | Suite::Check { .. } | Suite::Asserts { .. } => None,
    }
}

fn path_words(tally: &RunTally) -> Option<String> {
    let word = match (tally.cold, tally.warm) {
        (false, false) => return None,
        (true, false) => "cold",
        (false, true) => "warm",
        (true, true) => "mixed",
    };
    Some(word.into())
}
