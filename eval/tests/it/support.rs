//! Files for tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use eval::{Dataset, DatasetSpec, EvalError};
use judge::{Problem, Suite};

/// The shared dataset files; `None`, said aloud, where they are not at hand.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("CODEJURY_DATASETS") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets"),
    };
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIP datasets/{name}: not at {}", path.display());
    None
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes a file into a folder.
pub(crate) fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("writing a test file");
    path
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).expect("packing");
    out.finish().expect("packing")
}

pub(crate) fn zstd(content: &[u8]) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), 1).expect("packing");
    out.include_checksum(true).expect("packing");
    out.write_all(content).expect("packing");
    out.finish().expect("packing")
}

pub(crate) fn open(path: &Path) -> Result<Dataset, EvalError> {
    Dataset::open(DatasetSpec {
        references: true,
        ..DatasetSpec::new(path)
    })
}

pub(crate) fn problems(path: &Path) -> Vec<Problem> {
    open(path)
        .expect("opens")
        .problems()
        .collect::<Result<_, _>>()
        .expect("good rows")
}

/// What a whole dataset comes to: the error with its causes, or how many problems it has.
pub(crate) fn outcome(spec: DatasetSpec) -> Result<usize, String> {
    Dataset::open(spec)
        .and_then(|dataset| dataset.ids())
        .map(|ids| ids.len())
        .map_err(chain)
}

/// An error with its causes, as the command line prints them.
pub(crate) fn chain(error: EvalError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn test_cases(problems: &[Problem]) -> usize {
    problems
        .iter()
        .map(|problem| problem.suite.test_count())
        .sum()
}

pub(crate) fn stdio(problem: &Problem) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    match &problem.suite {
        Suite::Stdio { tests, .. } => tests
            .iter()
            .map(|test| (text(&test.stdin), text(&test.expected)))
            .collect(),
        other => panic!("no stdio problem: {other:?}"),
    }
}

/// A verdict row as the judge writes it.
pub(crate) fn verdict_row(id: &str, sample: u32, error_type: &str) -> String {
    let accepted = error_type == "success";
    let usage = serde_json::json!({
        "wall_time_ms": 0.0, "cpu_time_ms": 0.0, "setup_time_ms": 0.0, "memory_peak_bytes": 0,
    });
    serde_json::json!({
        "schema": judge::VERDICT_SCHEMA, "problem_id": id, "sample": sample, "dataset": "d",
        "kind": "stdio", "accepted": accepted, "n_tests": 1, "error_type": error_type,
        "pass_ratio": (error_type != "api_error").then_some(u8::from(accepted)),
        "error_subtype": null, "error_types": {}, "evidence": {}, "output_matched": accepted,
        "compare": "tokens", "extraction": null, "truncated": false, "integrity": "isolated",
        "isolation": "namespaces", "backend": "native", "wasm": null, "near_limit": false,
        "tests": [], "judge_time": 1.0, "path": "warm", "cached": false, "usage": usage,
    })
    .to_string()
}
