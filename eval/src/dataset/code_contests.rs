//! CodeContests, as Hugging Face's parquet or as JSON rows of the same fields.
//!
//! Tests are `{"input": […], "output": […]}` in `public_tests`, `private_tests` and
//! `generated_tests`; a plain `tests` of that shape is read too.

use judge::{Compare, LimitOverrides, Problem, StdioTest, Suite};

use super::cases::stdio_test;
use super::{DatasetSpec, TestSelection};
use crate::fields::{FieldError, Fields, Id, read};

/// All but `solutions`, which is only read for references; `incorrect_solutions` never is.
pub(super) const COLUMNS: &[&str] = &[
    "id",
    "problem_id",
    "name",
    "description",
    "source",
    "public_tests",
    "private_tests",
    "generated_tests",
    "tests",
    "cf_contest_id",
    "cf_index",
    "time_limit",
    "memory_limit_bytes",
    "input_file",
    "output_file",
];

/// `source` as the number that parquet holds.
const SOURCES: [&str; 7] = [
    "Unknown",
    "CodeChef",
    "Codeforces",
    "HackerEarth",
    "CodeJam",
    "AtCoder",
    "Aizu",
];

/// `language` as the number that parquet holds.
const PYTHON3: u64 = 3;

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    let tests = all_tests(row, spec.tests)?;
    Ok(Problem {
        problem_id: problem_id(row)?,
        dataset: String::new(),
        prompt: row.optional("description")?.unwrap_or_default(),
        suite: Suite::Stdio {
            tests,
            checker: None,
            input_file: file_name(row, "input_file")?,
            output_file: file_name(row, "output_file")?,
        },
        compare: Some(Compare::CodeContests),
        limits: LimitOverrides::default(),
        source_limits: source_limits(row)?,
        references: if spec.references {
            python3_solutions(row)?
        } else {
            Vec::new()
        },
    })
}

/// The row's own id; else `Codeforces/1575/G`; else `AtCoder/name`.
fn problem_id(row: &Fields<'_>) -> Result<String, FieldError> {
    for field in ["problem_id", "id"] {
        if let Some(id) = row.id(field)? {
            return Ok(id.plain());
        }
    }
    let contest: Option<u64> = row.optional("cf_contest_id")?;
    let index: Option<String> = row.optional("cf_index")?;
    if let (Some(contest @ 1..), Some(index)) = (contest, index.filter(|index| !index.is_empty())) {
        return Ok(format!("Codeforces/{contest}/{index}"));
    }
    let name: String = row.required("name")?;
    if name.trim().is_empty() {
        return Err(row.error("name", "blank"));
    }
    Ok(format!("{}/{}", source_name(row)?, name.trim()))
}

fn source_name(row: &Fields<'_>) -> Result<String, FieldError> {
    match row.id("source")? {
        None => Err(row.error("source", "missing")),
        Some(Id::Number(number)) => match usize::try_from(number).ok().and_then(|n| SOURCES.get(n))
        {
            Some(name) => Ok((*name).to_owned()),
            None => Err(row.error("source", format!("unknown source {number}; known: 0 to 6"))),
        },
        Some(Id::Text(text)) => Ok(SOURCES
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(text.trim()))
            .map_or_else(|| text.trim().to_owned(), str::to_owned)),
    }
}

fn all_tests(row: &Fields<'_>, selection: TestSelection) -> Result<Vec<StdioTest>, FieldError> {
    let mut tests = Vec::new();
    let parts = [
        TestSelection::Public,
        TestSelection::Private,
        TestSelection::Generated,
    ];
    for part in parts {
        if selection.includes(part) {
            read_tests(row, &format!("{}_tests", part.as_str()), &mut tests)?;
        }
    }
    if row.has("tests") {
        if selection != TestSelection::All {
            let reason = format!(
                "the row does not say which of its tests are {}",
                selection.as_str()
            );
            return Err(row.error("tests", reason));
        }
        read_tests(row, "tests", &mut tests)?;
    }
    if tests.is_empty() {
        let field = match selection {
            TestSelection::All => "tests".to_owned(),
            part => format!("{}_tests", part.as_str()),
        };
        return Err(row.error(&field, "no test cases"));
    }
    Ok(tests)
}

fn read_tests(row: &Fields<'_>, field: &str, tests: &mut Vec<StdioTest>) -> Result<(), FieldError> {
    let Some(pairs) = row.object(field)? else {
        return Ok(());
    };
    let (inputs, outputs) = (pairs.texts("input")?, pairs.texts("output")?);
    if inputs.len() != outputs.len() {
        let reason = format!("{} inputs but {} outputs", inputs.len(), outputs.len());
        return Err(row.error(field, reason));
    }
    tests.extend(
        inputs
            .into_iter()
            .zip(outputs)
            .map(|(input, output)| stdio_test(input, output)),
    );
    Ok(())
}

/// A file in the working directory; blank means standard input or output.
fn file_name(row: &Fields<'_>, field: &str) -> Result<Option<String>, FieldError> {
    let name: Option<String> = row.optional(field)?;
    match name.filter(|name| !name.is_empty()) {
        Some(name) if name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") => {
            Err(row.error(field, format!("{name:?} is no plain file name")))
        }
        Some(name) if name == "main.py" => Err(row.error(field, "main.py is the program itself")),
        name => Ok(name),
    }
}

fn source_limits(row: &Fields<'_>) -> Result<LimitOverrides, FieldError> {
    let mut wall_time_ms = None;
    if let Some(limit) = row.object("time_limit")? {
        let seconds: u64 = limit.optional("seconds")?.unwrap_or(0);
        let nanos: u64 = limit.optional("nanos")?.unwrap_or(0);
        wall_time_ms = Some(
            seconds
                .saturating_mul(1000)
                .saturating_add(nanos.div_ceil(1_000_000)),
        );
    }
    let memory_bytes: Option<u64> = row.optional("memory_limit_bytes")?;
    Ok(LimitOverrides {
        // Zero is how the data says "unknown".
        wall_time_ms: wall_time_ms.filter(|&limit| limit > 0),
        memory_bytes: memory_bytes.filter(|&limit| limit > 0),
        ..LimitOverrides::default()
    })
}

/// `solutions` as two parallel lists, as parquet has them, or as a list of objects.
fn python3_solutions(row: &Fields<'_>) -> Result<Vec<String>, FieldError> {
    let mut references = Vec::new();
    let Some(raw) = row.raw("solutions") else {
        return Ok(references);
    };
    if raw.get().starts_with('[') {
        for (name, item) in row.items("solutions")? {
            let solution = Fields::parse_at(item.get(), name)?;
            if is_python3(&solution.id("language")?) {
                references.push(solution.required("solution")?);
            }
        }
    } else if let Some(solutions) = row.object("solutions")? {
        let languages = solutions.items("language")?;
        let sources = solutions.items("solution")?;
        if languages.len() != sources.len() {
            let reason = format!(
                "{} languages but {} sources",
                languages.len(),
                sources.len()
            );
            return Err(row.error("solutions", reason));
        }
        for ((name, language), (source_name, source)) in languages.into_iter().zip(sources) {
            if is_python3(&Some(read(language, || name)?)) {
                references.push(read(source, || source_name)?);
            }
        }
    }
    Ok(references)
}

fn is_python3(language: &Option<Id>) -> bool {
    match language {
        Some(Id::Number(number)) => *number == PYTHON3,
        Some(Id::Text(name)) => name.eq_ignore_ascii_case("python3"),
        None => false,
    }
}
