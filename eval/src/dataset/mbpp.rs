//! MBPP (`text`), sanitized MBPP (`prompt`, `test_imports`) and MBPP+ (`test`).

use judge::{LimitOverrides, Problem, Suite};

use super::{DatasetSpec, human_eval};
use crate::fields::{FieldError, Fields};

/// What a bare number of an id stands under.
pub(super) const PREFIX: &str = "MBPP";

pub(super) const COLUMNS: &[&str] = &[
    "task_id",
    "text",
    "prompt",
    "code",
    "test_list",
    "test_setup_code",
    "test_imports",
    "challenge_test_list",
    "test",
    "entry_point",
    "base_input",
    "plus_input",
];

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    human_eval::refuse_raw_inputs(row)?;
    let id = row
        .id("task_id")?
        .ok_or_else(|| row.error("task_id", "missing"))?
        .under(PREFIX);
    let text: String = match row.optional("text")? {
        Some(text) => text,
        None => row.required("prompt")?,
    };
    let code: Option<String> = row.optional("code")?;
    let (prompt, suite) = match row.optional::<String>("test")? {
        Some(test) => plus_suite(row, &text, code.as_deref(), test)?,
        None => (text, asserts(row, spec, code.as_deref())?),
    };
    Ok(Problem {
        // EvalPlus writes `Mbpp/2`.
        problem_id: match id.strip_prefix("Mbpp/") {
            Some(number) => format!("{PREFIX}/{number}"),
            None => id,
        },
        dataset: String::new(),
        prompt,
        suite,
        compare: None,
        limits: LimitOverrides::default(),
        source_limits: LimitOverrides::default(),
        references: code
            .into_iter()
            .filter(|code| !code.trim().is_empty())
            .collect(),
    })
}

fn asserts(row: &Fields<'_>, spec: &DatasetSpec, code: Option<&str>) -> Result<Suite, FieldError> {
    let mut tests = row.texts("test_list")?;
    if spec.challenge_tests {
        tests.extend(row.texts("challenge_test_list")?);
    }
    let Some(first) = tests.first() else {
        return Err(row.error("test_list", "no test cases"));
    };
    Ok(Suite::Asserts {
        setup: row.optional("test_setup_code")?.unwrap_or_default(),
        imports: row.texts("test_imports")?,
        entry_point: code.and_then(|code| tested_function(code, first)),
        tests,
    })
}

/// An MBPP+ row: its `test` is a script of its own that loops over inputs and results.
fn plus_suite(
    row: &Fields<'_>,
    text: &str,
    code: Option<&str>,
    test: String,
) -> Result<(String, Suite), FieldError> {
    let tests = row.texts("test_list")?;
    let entry_point = match row.optional("entry_point")? {
        Some(name) => name,
        None => tests
            .first()
            .zip(code)
            .and_then(|(test, code)| tested_function(code, test))
            .ok_or_else(|| row.error("test_list", "does not show which function is tested"))?,
    };
    // The prompt of a `check` problem is the head of the program, so the words become a docstring.
    // EvalPlus shows models the same: the task and its first assert.
    let words = [text].into_iter().chain(tests.first().map(String::as_str));
    let words = words
        .collect::<Vec<_>>()
        .join("\n")
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let prompt = format!("\"\"\"\n{words}\n\"\"\"\n");
    Ok((
        prompt,
        Suite::Check {
            calls_check: human_eval::calls_check(&test),
            entry_point,
            test,
        },
    ))
}

/// The function that an assert calls first, among those that the reference defines.
pub(super) fn tested_function(code: &str, test: &str) -> Option<String> {
    let defined = code.lines().filter_map(|line| {
        let name = line.strip_prefix("def ")?.split('(').next()?.trim();
        (!name.is_empty()).then_some(name)
    });
    defined
        .filter_map(|name| Some((position_of_call(test, name)?, name)))
        .min()
        .map(|(_, name)| name.to_owned())
}

/// Where `name(` stands as a whole word.
fn position_of_call(text: &str, name: &str) -> Option<usize> {
    text.match_indices(name).map(|(at, _)| at).find(|&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].trim_start();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
            && after.starts_with('(')
    })
}

#[cfg(test)]
mod tests {
    use super::tested_function;

    #[test]
    fn finds_the_function_that_is_tested() {
        let code = "import re\ndef helper(x):\n    return x\ndef sum_list (a):\n    return a\r\n";
        let cases = [
            ("assert sum_list([1]) == [1]", Some("sum_list")),
            (
                "assert set(sum_list([1])) == set(helper(1))",
                Some("sum_list"),
            ),
            ("assert my_helper(1) == 1", None),
            ("assert other(1)", None),
        ];
        for (test, expected) in cases {
            assert_eq!(
                tested_function(code, test).as_deref(),
                expected,
                "case: {test}"
            );
        }
    }
}
