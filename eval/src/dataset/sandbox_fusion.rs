//! The rows that SandboxFusion's own samples have: `content`, `labels`, and `test` or `test_list`.

use judge::{Compare, LimitOverrides, Problem, StdioTest, Suite};
use serde_json::value::RawValue;

use super::cases::{object_or_json, stdio_test};
use super::live_code_bench::tests_as_json;
use super::{DatasetSpec, human_eval, mbpp};
use crate::fields::{FieldError, Fields, items};

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    let id = row.id("id")?.ok_or_else(|| row.error("id", "missing"))?;
    let prompt: String = row.required("content")?;
    let mut unquoted = String::new();
    let labels = object_or_json(row, "labels", &mut unquoted)?
        .ok_or_else(|| row.error("labels", "missing"))?;
    let reference: Option<String> = row.optional("canonical_solution")?;
    let reference = reference.filter(|source| !source.trim().is_empty());
    let (problem_id, suite, compare, references) = if row.has("test_list") {
        let mut tests = row.texts("test_list")?;
        if spec.challenge_tests {
            tests.extend(labels.texts("challenge_test_list")?);
        }
        let Some(first) = tests.first() else {
            return Err(row.error("test_list", "no test cases"));
        };
        let suite = Suite::Asserts {
            setup: labels.optional("test_setup_code")?.unwrap_or_default(),
            imports: Vec::new(),
            entry_point: reference
                .as_ref()
                .and_then(|code| mbpp::tested_function(code, first)),
            tests,
        };
        (
            id.under(mbpp::PREFIX),
            suite,
            None,
            reference.into_iter().collect(),
        )
    } else if let Some(entry_point) = labels.optional::<String>("entry_point")? {
        let test: String = row.required("test")?;
        let references = reference
            .into_iter()
            .map(|body| format!("{prompt}{body}"))
            .collect();
        let calls_check = human_eval::calls_check(&test);
        (
            id.plain(),
            Suite::Check {
                entry_point,
                test,
                calls_check,
            },
            None,
            references,
        )
    } else {
        let tests = stdio_tests(row)?;
        let suite = Suite::Stdio {
            tests,
            checker: None,
            input_file: None,
            output_file: None,
        };
        let references = reference.into_iter().collect();
        (id.plain(), suite, Some(Compare::CodeContests), references)
    };
    Ok(Problem {
        problem_id,
        dataset: String::new(),
        prompt,
        suite,
        compare,
        limits: LimitOverrides::default(),
        source_limits: LimitOverrides::default(),
        references,
    })
}

/// `[{"input": {"stdin": …}, "output": {"stdout": …}}]` as JSON in a string.
fn stdio_tests(row: &Fields<'_>) -> Result<Vec<StdioTest>, FieldError> {
    let text = tests_as_json(row, "test")?;
    let name = row.name("test");
    let list: &RawValue = serde_json::from_str(&text)
        .map_err(|error| FieldError::new(&name, format!("not valid JSON: {error}")))?;
    let mut tests = Vec::new();
    for (name, item) in items(list, &name)? {
        let test = Fields::parse_at(item.get(), name)?;
        let side = |field: &str, stream: &str| match test.object(field)? {
            Some(object) => object.required::<String>(stream),
            None => Err(test.error(field, "missing")),
        };
        tests.push(stdio_test(
            side("input", "stdin")?,
            side("output", "stdout")?,
        ));
    }
    if tests.is_empty() {
        return Err(row.error("test", "no test cases"));
    }
    Ok(tests)
}
