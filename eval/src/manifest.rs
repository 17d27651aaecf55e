//! Manifests: which problems a dataset holds, by id and content, so that two places can tell that
//! they evaluate on the same ones, and that none of them was trained on.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::dataset::{Dataset, hex};
use crate::error::EvalError;
use crate::results::{write_atomically, write_json};

/// One line of `<slug>_manifest.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRow {
    /// The dataset.
    pub dataset: String,
    /// The problem.
    pub problem_id: String,
    /// The file and the place in it.
    pub source: String,
    /// sha256 of the source row as canonical JSON.
    pub sha256: String,
    /// The problem's kind.
    pub kind: String,
    /// How many test cases it has.
    pub n_tests: usize,
}

/// `<slug>_manifest.meta.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestMeta {
    /// Names the version of both files.
    pub schema: String,
    /// The dataset.
    pub dataset: String,
    /// How many problems.
    pub count: u64,
    /// How the files were read.
    pub format: String,
    /// What a row's hash is taken over.
    pub row_hash_rule: String,
    /// Which problems of the files these are.
    pub selection_rule: String,
    /// The files and the sha256 of each.
    pub sources: Vec<ManifestSource>,
}

/// A file that a manifest was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSource {
    /// Its name, without folders.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
}

impl ManifestMeta {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.manifest/1";
}

/// Where the files of a manifest are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenManifest {
    /// The lines.
    pub rows: PathBuf,
    /// What they mean.
    pub meta: PathBuf,
    /// The ids alone, one a line, if they were asked for.
    pub exclude_list: Option<PathBuf>,
    /// How many problems.
    pub count: u64,
}

/// Writes the manifest of a dataset into a folder; with `exclude_list` also its ids, which must
/// stay out of training.
///
/// # Errors
///
/// The first bad row, or a file that cannot be written.
pub fn write_manifest(
    dataset: &Dataset,
    folder: &Path,
    exclude_list: bool,
) -> Result<WrittenManifest, EvalError> {
    fs::create_dir_all(folder).map_err(EvalError::write(folder))?;
    let slug = dataset.slug();
    let mut rows = Vec::new();
    for hashed in dataset.hashed_problems() {
        let (problem, place, sha256) = hashed?;
        let file = place.file.file_name().unwrap_or_default().to_string_lossy();
        rows.push(ManifestRow {
            dataset: slug.to_owned(),
            source: format!("{file}, {}", place.at),
            sha256,
            kind: problem.suite.kind().to_owned(),
            n_tests: problem.suite.test_count(),
            problem_id: problem.problem_id,
        });
    }
    let mut sources = Vec::new();
    for path in &dataset.spec().files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sources.push(ManifestSource {
            file: name.into_owned(),
            sha256: dataset.only(path).sha256()?,
        });
    }
    let spec = dataset.spec();
    let mut selection = Vec::new();
    if let Some(range) = &spec.numbers {
        selection.push(format!(
            "ids that end in a number of {}..{}",
            range.start(),
            range.end()
        ));
    }
    if let Some(rule) = spec.select {
        selection.push(rule.rule());
    }
    let meta = ManifestMeta {
        schema: ManifestMeta::SCHEMA.into(),
        dataset: slug.to_owned(),
        count: rows.len() as u64,
        format: dataset.format().to_string(),
        row_hash_rule: "sha256 of the source row as canonical JSON: sorted keys, no spaces, UTF-8"
            .into(),
        selection_rule: match selection.is_empty() {
            true => "all problems".into(),
            false => selection.join("; of these, "),
        },
        sources,
    };
    let written = WrittenManifest {
        rows: folder.join(format!("{slug}_manifest.jsonl")),
        meta: folder.join(format!("{slug}_manifest.meta.json")),
        exclude_list: exclude_list.then(|| folder.join(format!("{slug}_exclude_ids.txt"))),
        count: meta.count,
    };
    write_atomically(&written.rows, |out| {
        for row in &rows {
            serde_json::to_writer(&mut *out, row)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    write_json(&written.meta, &meta)?;
    if let Some(path) = &written.exclude_list {
        write_atomically(path, |out| {
            rows.iter()
                .try_for_each(|row| writeln!(out, "{}", row.problem_id))
        })?;
    }
    Ok(written)
}

/// Reads a manifest's lines.
///
/// # Errors
///
/// The file cannot be read, or a line is no line of a manifest.
pub fn read_manifest(path: &Path) -> Result<Vec<ManifestRow>, EvalError> {
    let file = fs::File::open(path).map_err(EvalError::read(path))?;
    let lines = std::io::BufReader::new(file).lines();
    (1..)
        .zip(lines)
        .map(|(number, line)| {
            let line = line.map_err(EvalError::read(path))?;
            serde_json::from_str(&line).map_err(|error| {
                EvalError::invalid(format!("{}, line {number}: {error}", path.display()))
            })
        })
        .collect()
}

/// Refuses problems that are not those of a manifest.
pub(crate) fn check_ids(path: &Path, ids: &[String]) -> Result<(), EvalError> {
    let rows = read_manifest(path)?;
    let there: HashSet<&str> = rows.iter().map(|row| row.problem_id.as_str()).collect();
    let here: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let missing: Vec<&str> = rows
        .iter()
        .map(|row| row.problem_id.as_str())
        .filter(|id| !here.contains(id))
        .collect();
    let strange: Vec<&String> = ids
        .iter()
        .filter(|id| !there.contains(id.as_str()))
        .collect();
    if missing.is_empty() && strange.is_empty() {
        return Ok(());
    }
    Err(EvalError::invalid(format!(
        "these are not the problems of {}: {} are missing{}, {} are not in it{}",
        path.display(),
        missing.len(),
        first(missing.first()),
        strange.len(),
        first(strange.first()),
    )))
}

fn first(id: Option<impl std::fmt::Debug>) -> String {
    id.map_or_else(String::new, |id| format!(" (the first is {id:?})"))
}

/// Compares every row of a dataset with a manifest; returns what differs, in words.
///
/// # Errors
///
/// The manifest or a row cannot be read.
pub fn compare_manifest(dataset: &Dataset, path: &Path) -> Result<Vec<String>, EvalError> {
    let rows = read_manifest(path)?;
    let mut expected: BTreeMap<&str, &str> = rows
        .iter()
        .map(|row| (row.problem_id.as_str(), row.sha256.as_str()))
        .collect();
    let mut differences = Vec::new();
    for hashed in dataset.hashed_problems() {
        let (problem, place, sha256) = hashed?;
        let id = problem.problem_id;
        match expected.remove(id.as_str()) {
            None => differences.push(format!("{place}: {id:?} is not in the manifest")),
            Some(hash) if hash != sha256 => {
                differences.push(format!(
                    "{place}: {id:?} has changed since the manifest was made"
                ));
            }
            Some(_) => {}
        }
    }
    for id in expected.keys() {
        differences.push(format!("{id:?} is in the manifest and not in the dataset"));
    }
    Ok(differences)
}

/// sha256 of a JSON text with sorted keys and without blanks. Numbers stay as they are written.
pub(crate) fn canonical_sha256(row: &str) -> Result<String, serde_json::Error> {
    let mut text = String::with_capacity(row.len());
    canonical(serde_json::from_str(row)?, &mut text)?;
    Ok(hex(&Sha256::digest(text)))
}

fn canonical(value: &RawValue, out: &mut String) -> Result<(), serde_json::Error> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            out.push('{');
            for (i, (name, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                *out += &serde_json::to_string(&name)?;
                out.push(':');
                canonical(value, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for (i, item) in items.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out)?;
            }
            out.push(']');
        }
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(decoded) => *out += &serde_json::to_string(&decoded)?,
            // A lone surrogate, which has no UTF-8.
            Err(_) => *out += text,
        },
        _ => *out += text,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_is_what_other_languages_write() {
        // json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        let row = r#" { "b" : [1, 2.50, "\u00fc\n\/"], "a": {"z": null, "y": 123456789012345678901234567890} } "#;
        let mut text = String::new();
        canonical(serde_json::from_str(row).expect("JSON"), &mut text).expect("JSON");
        assert_eq!(
            text,
            "{\"a\":{\"y\":123456789012345678901234567890,\"z\":null},\"b\":[1,2.50,\"ü\\n/\"]}"
        );
    }
}
