//! Memory stays flat whatever the size of a file. One test in a process of its own, because peak
//! memory is counted by process.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use eval::{Completions, Dataset, DatasetSpec, ExtractRule};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

const ROWS: i64 = 40;
const ROW_BYTES: usize = 1024 * 1024;
/// For the whole process. Holding one file would take 40 MiB on top of some 30 for the test itself.
const ALLOWED_BYTES: u64 = 56 * 1024 * 1024;

/// A test input of one MiB that packs well.
fn big_input(row: i64) -> String {
    format!("{row} ").repeat(ROW_BYTES / (row.to_string().len() + 1))
}

/// One CodeContests row: an id, and one big public test.
fn contest(row: i64) -> RecordBatch {
    let strings = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let fields = vec![
        Field::new("input", strings.clone(), true),
        Field::new("output", strings, true),
    ];
    let lists: Vec<Box<dyn arrow_array::builder::ArrayBuilder>> = vec![
        Box::new(ListBuilder::new(StringBuilder::new())),
        Box::new(ListBuilder::new(StringBuilder::new())),
    ];
    let mut tests = StructBuilder::new(fields, lists);
    for (index, text) in [big_input(row), row.to_string()].into_iter().enumerate() {
        let list: &mut ListBuilder<StringBuilder> = tests.field_builder(index).expect("a list");
        list.values().append_value(text);
        list.append(true);
    }
    tests.append(true);
    RecordBatch::try_from_iter(vec![
        ("name", Arc::new(StringArray::from(vec!["n"])) as ArrayRef),
        ("source", Arc::new(Int64Array::from(vec![2]))),
        ("cf_contest_id", Arc::new(Int64Array::from(vec![row]))),
        ("cf_index", Arc::new(StringArray::from(vec!["A"]))),
        ("public_tests", Arc::new(tests.finish())),
        // Never read: not even its pages.
        (
            "incorrect_solutions",
            Arc::new(StringArray::from(vec![big_input(row)])),
        ),
    ])
    .expect("a batch")
}

fn write_parquet(path: &Path, rows_per_group: usize) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_max_row_group_row_count(Some(rows_per_group))
        .build();
    let file = File::create(path).expect("a file");
    let mut writer =
        ArrowWriter::try_new(file, contest(0).schema(), Some(properties)).expect("a writer");
    for row in 1..=ROWS {
        writer.write(&contest(row)).expect("writing");
    }
    writer.close().expect("closing");
}

fn write_jsonl(path: &Path, row: impl Fn(i64) -> String, array: bool) {
    let file = BufWriter::new(File::create(path).expect("a file"));
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    for number in 1..=ROWS {
        let before = match (array, number) {
            (false, _) => "",
            (true, 1) => "[",
            (true, _) => ",",
        };
        writeln!(out, "{before}{}", row(number)).expect("writing");
    }
    if array {
        writeln!(out, "]").expect("writing");
    }
    out.finish().expect("packing");
}

fn assert_flat(name: &str, work: impl FnOnce()) {
    work();
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let kib: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    assert!(
        kib * 1024 < ALLOWED_BYTES,
        "{name}: the process has taken {} MiB",
        kib / 1024
    );
}

fn read_all(path: &Path) {
    let dataset = Dataset::open(DatasetSpec::new(path)).expect("opens");
    let tests: usize = dataset
        .problems()
        .map(|problem| problem.expect("a row").suite.test_count())
        .sum();
    assert_eq!(tests as i64, ROWS);
}

#[test]
fn files_are_streamed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, rows_per_group) in [("one row group", 1_000_000), ("many row groups", 10)] {
        let path = folder.path().join("x.parquet");
        write_parquet(&path, rows_per_group);
        assert_flat(name, || read_all(&path));
    }

    let native = |row: i64| {
        let input = big_input(row);
        format!(
            r#"{{"problem_id":"{row}","kind":"stdio","tests":[{{"stdin":"{input}","expected":""}}]}}"#
        )
    };
    for (name, array) in [("lines", false), ("array", true)] {
        let path = folder.path().join("x.jsonl.gz");
        write_jsonl(&path, native, array);
        assert_flat(name, || read_all(&path));
    }

    // Completions in another order than the problems, and packed.
    let problem = |row: i64| {
        let row = format!(
            r#"{{"problem_id":"{row}","kind":"stdio","tests":[{{"stdin":"","expected":""}}]}}"#
        );
        Arc::new(judge::Problem::from_row(&row).expect("a row"))
    };
    let completion = |row: i64| {
        format!(
            r#"{{"problem_id":"{}","completion":"{}"}}"#,
            ROWS + 1 - row,
            big_input(row)
        )
    };
    let path = folder.path().join("c.jsonl.gz");
    write_jsonl(&path, completion, false);
    assert_flat("completions", || {
        let completions = Completions::open(&path).expect("opens");
        for row in 1..=ROWS {
            let answers = completions
                .answers(&problem(row), ExtractRule::Auto)
                .expect("a completion");
            assert_eq!(answers.len(), 1);
        }
    });

    // An import holds one problem at a time too.
    let path = folder.path().join("x.parquet");
    assert_flat("import", || {
        let dataset = Dataset::open(DatasetSpec::new(&path)).expect("opens");
        let written = dataset
            .import(&folder.path().join("out.jsonl"))
            .expect("imports");
        assert_eq!(written as i64, ROWS);
    });
}
