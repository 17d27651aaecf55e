//! Whether results were made with the settings of now.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::EvalError;
use crate::dataset::hex;

/// What of `run.json` a run that goes on may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datasets {
    /// Nothing.
    Fixed,
    /// Datasets may be added.
    MayGrow,
}

/// Takes over the datasets that only the folder has, in its order.
pub(super) fn adopt_datasets(settings: &mut Map<String, Value>, there: &Map<String, Value>) {
    let Some(Value::Object(old)) = there.get("datasets") else {
        return;
    };
    if let Some(Value::Object(new)) = settings.get_mut("datasets") {
        let mut all = old.clone();
        for (slug, about) in std::mem::take(new) {
            all.insert(slug, about);
        }
        *new = all;
    }
}

/// Refuses results that were made with other settings.
pub(super) fn check_settings(
    folder: &Path,
    there: &Map<String, Value>,
    settings: &Map<String, Value>,
    datasets: Datasets,
) -> Result<(), EvalError> {
    let (there, here) = (leaves(there), leaves(settings));
    // A dataset that the folder does not have yet differs from nothing.
    let slug_of = |name: &str| -> Option<String> {
        let (slug, _) = name.strip_prefix("datasets.")?.split_once('.')?;
        Some(format!("datasets.{slug}."))
    };
    let added = |name: &String| {
        datasets == Datasets::MayGrow
            && slug_of(name).is_some_and(|slug| !there.keys().any(|old| old.starts_with(&slug)))
    };
    let names: Vec<&String> = there
        .keys()
        .chain(here.keys().filter(|name| !there.contains_key(*name)))
        .filter(|name| there.get(*name) != here.get(*name) && !added(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    const SHOWN: usize = 5;
    let shown = |value: Option<&Value>| value.map_or("unset".to_owned(), Value::to_string);
    let mut differences: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|&name| {
            format!(
                "{name}: {} there, {} now",
                shown(there.get(name)),
                shown(here.get(name))
            )
        })
        .collect();
    if names.len() > SHOWN {
        differences.push(format!("and {} more", names.len() - SHOWN));
    }
    Err(EvalError::OtherSettings {
        path: folder.to_owned(),
        differences: differences.join("; "),
    })
}

/// Settings by dotted name; lists are compared as a whole.
pub(super) fn leaves(settings: &Map<String, Value>) -> BTreeMap<String, Value> {
    fn walk(name: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (field, value) in fields {
                    walk(&format!("{name}.{field}"), value, out);
                }
            }
            // Unset and null mean the same.
            Value::Null => {}
            value => {
                out.insert(name.to_owned(), value.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    for (name, value) in settings {
        walk(name, value, &mut out);
    }
    out
}

/// What tells settings from others.
pub(super) fn fingerprint(settings: &Map<String, Value>) -> String {
    let sorted = serde_json::to_vec(&leaves(settings)).expect("JSON values always serialise");
    hex(&Sha256::digest(sorted))
}
