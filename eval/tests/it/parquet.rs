//! Parquet with the columns that Hugging Face's files have.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    StructBuilder,
};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields};
use eval::{Dataset, DatasetSpec, Format, TestSelection};
use judge::{Compare, LimitOverrides, Suite};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::support::{folder, outcome, shared, stdio, test_cases};

/// One CodeContests row.
#[derive(Clone, Default)]
pub(crate) struct Contest {
    name: String,
    public: Vec<(String, String)>,
    private: Vec<(String, String)>,
    generated: Vec<(String, String)>,
    solutions: Vec<(i64, String)>,
    cf: Option<(i64, String)>,
    source: i64,
    time_limit: Option<(i64, i64)>,
    memory_limit_bytes: i64,
    input_file: String,
}

fn string_list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
}

type Test = (String, String);

fn input(test: &Test) -> String {
    test.0.clone()
}

fn output(test: &Test) -> String {
    test.1.clone()
}

fn tests_column(rows: &[Contest], part: impl Fn(&Contest) -> &[(String, String)]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("input", string_list(), true),
        Field::new("output", string_list(), true),
    ]);
    let lists: Vec<Box<dyn arrow_array::builder::ArrayBuilder>> = vec![
        Box::new(ListBuilder::new(StringBuilder::new())),
        Box::new(ListBuilder::new(StringBuilder::new())),
    ];
    let mut column = StructBuilder::new(fields, lists);
    for row in rows {
        for (index, side) in [input as fn(&Test) -> String, output].iter().enumerate() {
            let list: &mut ListBuilder<StringBuilder> =
                column.field_builder(index).expect("a list");
            for test in part(row) {
                list.values().append_value(side(test));
            }
            list.append(true);
        }
        column.append(true);
    }
    Arc::new(column.finish())
}

fn solutions_column(
    rows: &[Contest],
    solutions: impl Fn(&Contest) -> &[(i64, String)],
) -> ArrayRef {
    let integers = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let fields = Fields::from(vec![
        Field::new("language", integers, true),
        Field::new("solution", string_list(), true),
    ]);
    let lists: Vec<Box<dyn arrow_array::builder::ArrayBuilder>> = vec![
        Box::new(ListBuilder::new(Int64Builder::new())),
        Box::new(ListBuilder::new(StringBuilder::new())),
    ];
    let mut column = StructBuilder::new(fields, lists);
    for row in rows {
        let languages: &mut ListBuilder<Int64Builder> = column.field_builder(0).expect("a list");
        for (language, _) in solutions(row) {
            languages.values().append_value(*language);
        }
        languages.append(true);
        let sources: &mut ListBuilder<StringBuilder> = column.field_builder(1).expect("a list");
        for (_, source) in solutions(row) {
            sources.values().append_value(source);
        }
        sources.append(true);
        column.append(true);
    }
    Arc::new(column.finish())
}

fn strings(rows: &[Contest], value: impl Fn(&Contest) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn integers(rows: &[Contest], value: impl Fn(&Contest) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

/// All columns of `deepmind/code_contests`, in their order and with their types.
pub(crate) fn contest_batch(rows: &[Contest]) -> RecordBatch {
    let mut time_limit = StructBuilder::from_fields(
        vec![
            Field::new("seconds", DataType::Int64, true),
            Field::new("nanos", DataType::Int64, true),
        ],
        rows.len(),
    );
    let mut points = Float32Builder::new();
    let mut rating = Int32Builder::new();
    let mut tags = ListBuilder::new(StringBuilder::new());
    let mut translated = BooleanBuilder::new();
    for row in rows {
        let (seconds, nanos) = row.time_limit.unwrap_or_default();
        let parts = [seconds, nanos];
        for (index, value) in parts.into_iter().enumerate() {
            let column: &mut Int64Builder = time_limit.field_builder(index).expect("integers");
            column.append_value(value);
        }
        time_limit.append(row.time_limit.is_some());
        points.append_value(1000.0);
        rating.append_value(2100);
        tags.values().append_value("greedy");
        tags.append(true);
        translated.append_value(false);
    }
    let noise = |row: &Contest| vec![(2, format!("int main() {{}} // {}", row.name))];
    let incorrect: Vec<Contest> = rows
        .iter()
        .map(|row| Contest {
            solutions: noise(row),
            ..row.clone()
        })
        .collect();
    RecordBatch::try_from_iter(vec![
        ("name", strings(rows, |row| row.name.clone())),
        (
            "description",
            strings(rows, |row| format!("What is {}?", row.name)),
        ),
        ("public_tests", tests_column(rows, |row| &row.public)),
        ("private_tests", tests_column(rows, |row| &row.private)),
        ("generated_tests", tests_column(rows, |row| &row.generated)),
        ("source", integers(rows, |row| row.source)),
        ("difficulty", integers(rows, |_| 8)),
        ("solutions", solutions_column(rows, |row| &row.solutions)),
        (
            "incorrect_solutions",
            solutions_column(&incorrect, |row| &row.solutions),
        ),
        (
            "cf_contest_id",
            integers(rows, |row| row.cf.as_ref().map_or(0, |cf| cf.0)),
        ),
        (
            "cf_index",
            strings(rows, |row| {
                row.cf.as_ref().map_or(String::new(), |cf| cf.1.clone())
            }),
        ),
        ("cf_points", Arc::new(points.finish())),
        ("cf_rating", Arc::new(rating.finish())),
        ("cf_tags", Arc::new(tags.finish())),
        ("is_description_translated", Arc::new(translated.finish())),
        ("untranslated_description", strings(rows, |_| String::new())),
        ("time_limit", Arc::new(time_limit.finish())),
        (
            "memory_limit_bytes",
            integers(rows, |row| row.memory_limit_bytes),
        ),
        ("input_file", strings(rows, |row| row.input_file.clone())),
        ("output_file", strings(rows, |_| String::new())),
    ])
    .expect("a batch")
}

pub(crate) fn write(
    path: &Path,
    batches: &[RecordBatch],
    rows_per_group: usize,
    packing: Compression,
) {
    let properties = WriterProperties::builder()
        .set_compression(packing)
        .set_max_row_group_row_count(Some(rows_per_group))
        .build();
    let file = File::create(path).expect("a file");
    let mut writer =
        ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("writing");
    }
    writer.close().expect("closing");
}

fn pair(input: &str, output: &str) -> (String, String) {
    (input.into(), output.into())
}

fn sample_rows() -> Vec<Contest> {
    vec![
        Contest {
            name: "1575_G. GCD Festival".into(),
            public: vec![pair("1\n", "1\n"), pair("é\u{1}\"\\", "")],
            private: vec![pair("2\n", "2\n")],
            generated: vec![pair("3\n", "3\n"), pair("4\n", "4\n")],
            solutions: vec![
                (2, "c++".into()),
                (3, "print(1)".into()),
                (1, "print 1".into()),
            ],
            cf: Some((1575, "G".into())),
            source: 2,
            time_limit: Some((2, 500_000_001)),
            memory_limit_bytes: 256_000_000,
            input_file: "input.txt".into(),
        },
        Contest {
            name: "p00001 List of Top 3 Hills".into(),
            private: vec![pair("5\n", "5\n")],
            source: 6,
            ..Contest::default()
        },
    ]
}

#[test]
fn code_contests_columns() {
    let folder = folder();
    for packing in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
    ] {
        let path = folder.path().join("valid-00000-of-00001.parquet");
        write(&path, &[contest_batch(&sample_rows())], 100, packing);
        let dataset = Dataset::open(DatasetSpec::new(&path))
            .expect("opens")
            .with_references();
        assert_eq!(
            (dataset.format(), dataset.slug()),
            (Format::CodeContests, "valid")
        );
        let problems: Vec<_> = dataset
            .problems()
            .collect::<Result<_, _>>()
            .expect("good rows");
        assert_eq!(problems.len(), 2);
        let [first, second] = &problems[..] else {
            unreachable!()
        };
        assert_eq!(first.problem_id, "Codeforces/1575/G");
        assert_eq!(second.problem_id, "Aizu/p00001 List of Top 3 Hills");
        assert_eq!(first.prompt, "What is 1575_G. GCD Festival?");
        let inputs: Vec<String> = stdio(first).into_iter().map(|test| test.0).collect();
        assert_eq!(inputs, ["1\n", "é\u{1}\"\\", "2\n", "3\n", "4\n"]);
        assert_eq!(first.compare, Some(Compare::CodeContests));
        assert_eq!(first.references, ["print(1)"]);
        assert_eq!(first.limits, LimitOverrides::default());
        assert_eq!(first.source_limits.wall_time_ms, Some(2501));
        assert_eq!(first.source_limits.memory_bytes, Some(256_000_000));
        assert_eq!(second.source_limits, LimitOverrides::default());
        let Suite::Stdio {
            input_file,
            output_file,
            ..
        } = &first.suite
        else {
            unreachable!()
        };
        assert_eq!(
            (input_file.as_deref(), output_file.as_deref()),
            (Some("input.txt"), None)
        );
    }
}

#[test]
fn tests_can_be_narrowed() {
    let folder = folder();
    let path = folder.path().join("x.parquet");
    write(
        &path,
        &[contest_batch(&sample_rows()[..1])],
        100,
        Compression::SNAPPY,
    );
    let cases = [
        (TestSelection::All, 5),
        (TestSelection::Public, 2),
        (TestSelection::Private, 1),
        (TestSelection::Generated, 2),
    ];
    for (tests, count) in cases {
        let spec = DatasetSpec {
            tests,
            ..DatasetSpec::new(&path)
        };
        let problems: Vec<_> = Dataset::open(spec)
            .expect("opens")
            .problems()
            .collect::<Result<_, _>>()
            .expect("rows");
        assert_eq!(test_cases(&problems), count, "tests: {tests:?}");
    }
    write(
        &path,
        &[contest_batch(&sample_rows())],
        100,
        Compression::SNAPPY,
    );
    let spec = DatasetSpec {
        tests: TestSelection::Public,
        ..DatasetSpec::new(&path)
    };
    let error = outcome(spec).expect_err("the second has no public tests");
    assert!(
        error.ends_with("x.parquet, row 2, field `public_tests`: no test cases"),
        "{error}"
    );
}

#[test]
fn row_groups_of_any_size_give_the_same_problems() {
    let rows: Vec<Contest> = (0..300)
        .map(|i| Contest {
            cf: Some((i, "A".into())),
            source: 2,
            public: vec![pair(&"x".repeat(i as usize * 20), "y")],
            ..Contest::default()
        })
        .collect();
    let folder = folder();
    let mut seen = Vec::new();
    for (name, rows_per_group) in [("many", 1), ("few", 7), ("one", 1000)] {
        let path = folder.path().join(format!("{name}.parquet"));
        write(
            &path,
            &[contest_batch(&rows[1..])],
            rows_per_group,
            Compression::SNAPPY,
        );
        let spec = DatasetSpec {
            slug: Some("d".into()),
            ..DatasetSpec::new(&path)
        };
        let problems: Result<Vec<_>, _> = Dataset::open(spec).expect("opens").problems().collect();
        seen.push(problems.expect("good rows"));
    }
    assert_eq!(seen[0].len(), 299);
    assert!(seen[0] == seen[1] && seen[1] == seen[2]);
}

/// The real rows at hand, as parquet with the real columns, give what their JSON gives.
#[test]
fn real_rows_as_parquet() {
    let Some(path) = shared("codecontests/codecontests_python3.jsonl.gz") else {
        return;
    };
    let json = crate::support::problems(&path);
    let rows: Vec<Contest> = json
        .iter()
        .zip(1..)
        .map(|(problem, number)| Contest {
            cf: Some((number, "A".into())),
            generated: stdio(problem),
            solutions: problem
                .references
                .iter()
                .map(|source| (3, source.clone()))
                .collect(),
            source: 2,
            ..Contest::default()
        })
        .collect();
    let folder = folder();
    let path = folder.path().join("x.parquet");
    write(
        &path,
        &[contest_batch(&rows)],
        50,
        Compression::ZSTD(Default::default()),
    );
    let problems = crate::support::problems(&path);
    assert_eq!((problems.len(), test_cases(&problems)), (204, 10_478));
    for (problem, original) in problems.iter().zip(&json) {
        assert_eq!(problem.suite, original.suite, "{}", original.problem_id);
        assert_eq!(problem.references, original.references);
    }
}

#[test]
fn mbpp_columns() {
    let mut tests = ListBuilder::new(StringBuilder::new());
    let mut imports = ListBuilder::new(StringBuilder::new());
    for _ in 0..2 {
        tests.values().append_value("assert f(1) == 1");
        tests.append(true);
        imports.append(true);
    }
    let tests: ArrayRef = Arc::new(tests.finish());
    let code: ArrayRef = Arc::new(StringArray::from(vec!["def f(x):\n    return x"; 2]));
    let ids: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![11, 12]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["say \"f\" \\ twice"; 2]));
    let folder = folder();

    let path = folder.path().join("full.parquet");
    let setup: ArrayRef = Arc::new(StringArray::from(vec!["", "x = 1"]));
    let columns = vec![
        ("task_id", Arc::clone(&ids)),
        ("text", Arc::clone(&text)),
        ("code", Arc::clone(&code)),
        ("test_list", Arc::clone(&tests)),
        ("test_setup_code", setup),
        (
            "challenge_test_list",
            Arc::new(imports.finish()) as ArrayRef,
        ),
    ];
    write(
        &path,
        &[RecordBatch::try_from_iter(columns).expect("a batch")],
        10,
        Compression::SNAPPY,
    );
    let problems = crate::support::problems(&path);
    assert_eq!(problems[0].problem_id, "MBPP/11");
    let Suite::Asserts {
        setup,
        entry_point,
        tests: asserts,
        ..
    } = &problems[1].suite
    else {
        panic!("{:?}", problems[1].suite)
    };
    assert_eq!(
        (setup.as_str(), entry_point.as_deref()),
        ("x = 1", Some("f"))
    );
    assert_eq!(asserts, &["assert f(1) == 1"]);

    // MBPP+ has a script in `test`.
    let path = folder.path().join("plus.parquet");
    let script: ArrayRef = Arc::new(StringArray::from(vec![
        "for i in [1]:\n    assert f(i) == i";
        2
    ]));
    let columns = vec![
        ("task_id", ids),
        ("code", code),
        ("prompt", text),
        ("test_list", tests),
        ("test", script),
    ];
    write(
        &path,
        &[RecordBatch::try_from_iter(columns).expect("a batch")],
        10,
        Compression::SNAPPY,
    );
    let problems = crate::support::problems(&path);
    let Suite::Check {
        entry_point,
        calls_check,
        ..
    } = &problems[0].suite
    else {
        panic!("{:?}", problems[0].suite)
    };
    assert_eq!((entry_point.as_str(), *calls_check), ("f", true));
    // The words become a docstring, so that the prompt is the head of a program.
    assert_eq!(
        problems[0].prompt,
        "\"\"\"\nsay \\\"f\\\" \\\\ twice\nassert f(1) == 1\n\"\"\"\n"
    );
}

#[test]
fn broken_parquet() {
    let folder = folder();
    let path = folder.path().join("x.parquet");
    write(
        &path,
        &[contest_batch(&sample_rows())],
        100,
        Compression::SNAPPY,
    );
    let bytes = std::fs::read(&path).expect("reading");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writing");
    let error = outcome(DatasetSpec::new(&path)).expect_err("cut");
    assert!(
        error.starts_with(&format!("cannot read {} as parquet: ", path.display())),
        "{error}"
    );

    // Corrupt pages: the footer is fine, so only reading the rows shows it.
    let mut corrupt = bytes.clone();
    corrupt[4..400].fill(0xa5);
    std::fs::write(&path, &corrupt).expect("writing");
    let error = outcome(DatasetSpec::new(&path)).expect_err("corrupt");
    assert!(
        error.starts_with(&format!("cannot read {} as parquet: ", path.display())),
        "{error}"
    );

    // A missing column, and one of a type that no row has.
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let columns = vec![("name", Arc::clone(&names)), ("public_tests", names)];
    write(
        &path,
        &[RecordBatch::try_from_iter(columns).expect("a batch")],
        10,
        Compression::SNAPPY,
    );
    let error = outcome(DatasetSpec::new(&path)).expect_err("a string");
    assert!(
        error.ends_with(
            "x.parquet, row 1, field `public_tests`: expected an object, found a string"
        ),
        "{error}"
    );
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\xff\xfe"[..]]));
    let one: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let columns = vec![("name", bytes), ("public_tests", one)];
    write(
        &path,
        &[RecordBatch::try_from_iter(columns).expect("a batch")],
        10,
        Compression::SNAPPY,
    );
    let error = outcome(DatasetSpec::new(&path)).expect_err("no text");
    assert!(
        error.ends_with("x.parquet, row 1, field `name`: not UTF-8"),
        "{error}"
    );
}

/// Bytes changed anywhere: an error or rows, but no panic, and no allocation of what a length says.
#[test]
fn mangled_parquet_is_at_worst_an_error() {
    const ROUNDS: u32 = 1000;
    let folder = folder();
    let path = folder.path().join("x.parquet");
    write(
        &path,
        &[contest_batch(&sample_rows())],
        100,
        Compression::SNAPPY,
    );
    let bytes = std::fs::read(&path).expect("reading");
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let mut mangled = bytes.clone();
        for _ in 0..=random() % 3 {
            let at = random() % mangled.len();
            mangled[at] = random() as u8;
        }
        std::fs::write(&path, &mangled).expect("writing");
        let format = Some(Format::CodeContests);
        let spec = DatasetSpec {
            format,
            references: true,
            ..DatasetSpec::new(&path)
        };
        refused += u32::from(outcome(spec).is_err());
    }
    assert!(refused > ROUNDS / 2, "{refused} of {ROUNDS}");
}
