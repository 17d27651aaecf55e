//! `codejury dataset`: look at datasets, convert them, judge their own solutions.

use std::io;
use std::path::{Path, PathBuf};

use eval::{Dataset, DatasetSpec, EvalError, Listing};
use judge::{Problem, Suite};

use crate::args::{DatasetCommand, ImportArgs, ListArgs, ReadingArgs, ShowArgs};
use crate::exit::{ExitCode, Failure};
use crate::output::{self, Align, Cell, Palette, Table, inline, multiline};

/// The datasets that come inside the binary.
pub(crate) const BUNDLED: [&str; 1] = ["starter"];

/// Whether all these names are bundled datasets.
pub(crate) fn only_bundled(names: &[PathBuf]) -> bool {
    let is_bundled =
        |name: &PathBuf| BUNDLED.iter().any(|bundled| name == Path::new(bundled)) && !name.exists();
    names.iter().all(is_bundled)
}

/// How much of a text or of a list `show` prints.
const SHOWN_LINES: usize = 60;
const SHOWN_TESTS: usize = 3;
const SHOWN_IDS: usize = 10;

pub(crate) fn run(command: &DatasetCommand) -> anyhow::Result<ExitCode> {
    match command {
        DatasetCommand::List(args) => list(args),
        DatasetCommand::Show(args) => show(args),
        DatasetCommand::Import(args) => import(args),
        DatasetCommand::Check(args) => crate::check::run(args),
        DatasetCommand::Manifest(args) => crate::manifest::run(args),
    }
}

impl ReadingArgs {
    /// What to open, read as these flags say.
    pub(crate) fn spec(&self, files: Vec<PathBuf>) -> DatasetSpec {
        DatasetSpec {
            files,
            slug: None,
            format: self.format.0,
            tests: self.tests,
            numbers: self.numbers.clone(),
            select: self.select,
            challenge_tests: self.challenge_tests,
            references: false,
        }
    }
}

/// Opens a dataset; a name that is none gets the nearest one as a hint.
pub(crate) fn open(spec: DatasetSpec) -> anyhow::Result<Dataset> {
    Dataset::open(spec).map_err(|error| match &error {
        EvalError::UnknownDataset { name } => match nearest(name) {
            Some(near) => Failure::bad_input(error.to_string())
                .hint(format!("did you mean {}?", near.display()))
                .into(),
            None => error.into(),
        },
        _ => error.into(),
    })
}

/// The bundled dataset, or the file in the same folder, whose name is most like a mistyped one.
fn nearest(typed: &str) -> Option<PathBuf> {
    let path = Path::new(typed);
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let files = std::fs::read_dir(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .map(|entry| folder.map_or_else(|| entry.file_name().into(), |_| entry.path()));
    let bundled = BUNDLED
        .into_iter()
        .map(PathBuf::from)
        .filter(|_| folder.is_none());
    let mut near: Vec<(f64, PathBuf)> = bundled
        .chain(files)
        .filter_map(|candidate| {
            let other = candidate.file_name()?.to_string_lossy().to_lowercase();
            Some((strsim::jaro_winkler(&name, &other), candidate))
        })
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.into_iter().next().map(|(_, candidate)| candidate)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let names = BUNDLED
        .iter()
        .map(PathBuf::from)
        .chain(args.files.iter().cloned());
    let mut table = Table::new([
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
        Align::Left,
    ]);
    let heads = [
        "dataset",
        "problems",
        "test cases",
        "with solution",
        "kinds",
        "format",
        "from",
    ];
    table.row(heads.map(|head| Cell::painted(head, Palette::dim)));
    let mut rows = String::new();
    for (position, name) in names.enumerate() {
        // Flags about the files given say nothing about the bundled ones.
        let spec = match position < BUNDLED.len() {
            true => DatasetSpec::new(&name),
            false => args.reading.spec(vec![name.clone()]),
        };
        let listing = open(spec)?.listing()?;
        table.row([
            Cell::painted(&listing.slug, Palette::bold),
            listing.problems.to_string().into(),
            listing.test_cases.to_string().into(),
            listing.with_reference.to_string().into(),
            kinds(&listing).into(),
            listing.format.as_str().into(),
            if position < BUNDLED.len() {
                "bundled".into()
            } else {
                name.display().to_string().into()
            },
        ]);
        rows += &serde_json::to_string(&listing)?;
        rows.push('\n');
    }
    output::print(if args.json {
        rows
    } else {
        table.render(Palette::of(&io::stdout()))
    })?;
    Ok(ExitCode::Done)
}

fn kinds(listing: &Listing) -> String {
    let kinds: Vec<String> = listing
        .kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    kinds.join(", ")
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let dataset = open(args.reading.spec(vec![args.dataset.clone()]))?.with_references();
    let palette = Palette::of(&io::stdout());
    let text = match (&args.problem, args.json) {
        (Some(id), true) => dataset.find(id)?.to_row() + "\n",
        (Some(id), false) => describe_problem(&dataset.find(id)?, palette),
        (None, true) => {
            for problem in dataset.problems() {
                output::print(problem?.to_row() + "\n")?;
            }
            return Ok(ExitCode::Done);
        }
        (None, false) => describe_dataset(&dataset, palette)?,
    };
    output::print(text)?;
    Ok(ExitCode::Done)
}

fn describe_dataset(dataset: &Dataset, palette: Palette) -> anyhow::Result<String> {
    let listing = dataset.listing()?;
    let mut facts = Table::new([Align::Left; 2]);
    let mut fact = |name: &str, value: &str| {
        facts.row([Cell::painted(name, Palette::dim), value.into()]);
    };
    fact("problems", &listing.problems.to_string());
    fact("kinds", &kinds(&listing));
    fact("test cases", &listing.test_cases.to_string());
    fact("with solution", &listing.with_reference.to_string());
    fact("format", listing.format.as_str());
    fact("sha256", &dataset.sha256()?);
    let mut text = format!(
        "{}\n{}",
        palette.bold(dataset.slug()),
        facts.render(palette)
    );
    let mut ids = dataset
        .problems()
        .map(|problem| problem.map(|problem| problem.problem_id));
    let shown = ids
        .by_ref()
        .take(SHOWN_IDS)
        .collect::<Result<Vec<_>, _>>()?;
    text += &format!("\n{}\n", palette.bold("problems"));
    for id in &shown {
        text += &format!("  {}\n", inline(id));
    }
    if let Some(more) = listing
        .problems
        .checked_sub(shown.len() as u64)
        .filter(|more| *more > 0)
    {
        text += &format!("  … and {more} more\n");
    }
    Ok(text)
}

fn describe_problem(problem: &Problem, palette: Palette) -> String {
    let count = problem.suite.test_count();
    let cases = if count == 1 {
        "test case"
    } else {
        "test cases"
    };
    let mut text = format!(
        "{}  {}, {count} {cases}\n",
        palette.bold(&inline(&problem.problem_id)),
        problem.suite.kind()
    );
    let mut section = |name: String, body: &str| {
        let body = body.trim_end();
        if !body.is_empty() {
            text += &format!("\n{}\n{}", palette.bold(&name), indented(body));
        }
    };
    if let Some(compare) = problem.compare {
        section("compare".into(), &compare.to_string());
    }
    for (name, limits) in [
        ("limits", problem.limits),
        ("source limits", problem.source_limits),
    ] {
        if limits != judge::LimitOverrides::default() {
            section(
                name.into(),
                &serde_json::to_string(&limits).expect("plain numbers"),
            );
        }
    }
    section("prompt".into(), &problem.prompt);
    match &problem.suite {
        Suite::Stdio { tests, checker, .. } => {
            for (index, test) in tests.iter().take(SHOWN_TESTS).enumerate() {
                section(
                    format!("test case {index}: stdin"),
                    &String::from_utf8_lossy(&test.stdin),
                );
                let expected = String::from_utf8_lossy(&test.expected);
                section(format!("test case {index}: expected"), &expected);
            }
            if let Some(checker) = checker {
                section("checker".into(), &checker.source);
            }
        }
        Suite::Check {
            entry_point, test, ..
        } => {
            section("entry point".into(), entry_point);
            section("test".into(), test);
        }
        Suite::Asserts {
            setup,
            imports,
            tests,
            ..
        } => {
            section("imports".into(), &imports.join("\n"));
            section("setup".into(), setup);
            section("asserts".into(), &tests.join("\n"));
        }
        Suite::Call {
            entry_point,
            setup,
            tests,
        } => {
            section("entry point".into(), entry_point);
            section("setup".into(), setup);
            for (index, test) in tests.iter().take(SHOWN_TESTS).enumerate() {
                let args: Vec<String> = test.args.iter().map(judge::Value::to_json).collect();
                let call = format!("({}) → {}", args.join(", "), test.expected.to_json());
                section(format!("test case {index}"), &call);
            }
        }
    }
    if matches!(problem.suite, Suite::Stdio { .. } | Suite::Call { .. }) && count > SHOWN_TESTS {
        section(
            "more".into(),
            &format!("{} more test cases", count - SHOWN_TESTS),
        );
    }
    if let Some(reference) = problem.references.first() {
        section("solution".into(), reference);
    }
    text
}

/// The first lines of a text, each after two blanks, with nothing in it that a terminal obeys.
fn indented(text: &str) -> String {
    let mut lines = text.lines();
    let mut out = String::new();
    for line in lines.by_ref().take(SHOWN_LINES) {
        let line: String = line.chars().take(500).collect();
        out += &format!("  {}\n", multiline(&line));
    }
    match lines.count() {
        0 => {}
        more => out += &format!("  … and {more} more lines\n"),
    }
    out
}

fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let spec = DatasetSpec {
        slug: args.name.clone(),
        ..args.reading.spec(args.files.clone())
    };
    let dataset = open(spec)?;
    let written = dataset.import(&args.out)?;
    let problems = if written == 1 { "problem" } else { "problems" };
    output::say(format!(
        "{written} {problems} of {} ({}) written to {}\n",
        dataset.slug(),
        dataset.format(),
        inline(&args.out.display().to_string())
    ));
    Ok(ExitCode::Done)
}
