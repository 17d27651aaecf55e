//! HumanEval, HumanEval+ and other rows of their shape (`prompt`, `test`, `entry_point`).

use judge::{LimitOverrides, Problem, Suite};

use super::DatasetSpec;
use crate::fields::{FieldError, Fields};

/// What a bare number of an id stands under.
const PREFIX: &str = "HumanEval";

pub(super) const COLUMNS: &[&str] = &[
    "task_id",
    "prompt",
    "test",
    "entry_point",
    "base_input",
    "plus_input",
];

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    refuse_raw_inputs(row)?;
    let id = row
        .id("task_id")?
        .ok_or_else(|| row.error("task_id", "missing"))?;
    let prompt: String = row.required("prompt")?;
    let entry_point: String = row.required("entry_point")?;
    let test: String = row.required("test")?;
    for (field, text) in [("entry_point", &entry_point), ("test", &test)] {
        if text.trim().is_empty() {
            return Err(row.error(field, "blank"));
        }
    }
    let mut references = Vec::new();
    if spec.references
        && let Some(solution) = row.optional::<String>("canonical_solution")?
        && !solution.trim().is_empty()
    {
        references.push(format!("{prompt}{solution}"));
    }
    Ok(Problem {
        problem_id: id.under(PREFIX),
        dataset: String::new(),
        prompt,
        suite: Suite::Check {
            calls_check: calls_check(&test),
            entry_point,
            test,
        },
        compare: None,
        limits: LimitOverrides::default(),
        source_limits: LimitOverrides::default(),
        references,
    })
}

/// EvalPlus publishes rows with inputs only, whose expected results come from running the
/// reference. Rows with a ready `test` exist too; those are read.
pub(super) fn refuse_raw_inputs(row: &Fields<'_>) -> Result<(), FieldError> {
    for field in ["base_input", "plus_input"] {
        if row.has(field) && !row.has("test") {
            return Err(row.error(
                field,
                "an EvalPlus row with raw inputs and no `test` cannot be judged; \
                 take the release whose rows have `test` (humanevalplus, mbppplus)",
            ));
        }
    }
    Ok(())
}

/// Whether a test runs by itself: it calls `check` at module level, or defines none.
pub(super) fn calls_check(test: &str) -> bool {
    let mut defines = false;
    for line in test.lines() {
        defines |= line.starts_with("def check(");
        if line.starts_with("check(") {
            return true;
        }
    }
    !defines
}

#[cfg(test)]
mod tests {
    use super::calls_check;

    #[test]
    fn tells_a_test_that_runs_by_itself() {
        let cases = [
            (
                "def check(candidate):\n    assert candidate(1) == 2\n",
                false,
            ),
            ("\ndef check(f):\n    assert f(1) == 2\n\ncheck(f)", true),
            ("def check(f):\n    check(f)\n", false),
            ("for i in [1]:\n    assert f(i) == i\n", true),
        ];
        for (test, expected) in cases {
            assert_eq!(calls_check(test), expected, "case: {test}");
        }
    }
}
