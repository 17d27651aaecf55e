//! Where rows come from, and how their columns are read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Fault, TestConfig, bad_request};
use crate::ServeError;
use crate::app::App;

/// One row. Columns may be JSON values, or texts that hold JSON.
pub(crate) type Row = Map<String, Value>;

/// The tables of the server's own folder, in memory.
#[derive(Default)]
pub(crate) struct Tables(HashMap<String, Arc<Vec<Row>>>);

impl Tables {
    /// Reads every `*.jsonl` of the folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, ServeError> {
        let bad = |path: &Path, reason: String| ServeError::Dataset {
            path: path.to_owned(),
            reason,
        };
        let entries = std::fs::read_dir(folder).map_err(|e| bad(folder, e.to_string()))?;
        let mut tables = HashMap::new();
        for entry in entries {
            let path = entry.map_err(|e| bad(folder, e.to_string()))?.path();
            if path.extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|e| bad(&path, e.to_string()))?;
            let rows = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty())
                .map(|(index, line)| {
                    serde_json::from_str(line)
                        .map_err(|e| bad(&path, format!("line {}: {e}", index + 1)))
                })
                .collect::<Result<Vec<Row>, _>>()?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            tables.insert(name.into_owned(), Arc::new(rows));
        }
        Ok(Self(tables))
    }

    fn of(&self, dataset: &str) -> Option<Arc<Vec<Row>>> {
        let name = match dataset {
            "evoeval" => "code_eval_EvoEval".to_owned(),
            other => format!("code_eval_{other}"),
        };
        self.0.get(&name).or_else(|| self.0.get(dataset)).cloned()
    }
}

/// The one row that a request is about.
pub(super) fn one(app: &App, dataset: &str, config: &TestConfig, id: &Value) -> Result<Row, Fault> {
    match &config.provided_data {
        Some(Value::Object(row)) => Ok(row.clone()),
        Some(_) => Err(bad_request(
            "provided_data must be a single row for this request".to_owned(),
        )),
        None => {
            let rows = table(app, dataset)?;
            // Ids are compared by what they say: 11 and "11" are one.
            let says = |value: &Value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let wanted = says(id);
            rows.iter()
                .find(|row| says(&id_of(row)) == wanted)
                .cloned()
                .ok_or_else(|| Fault::Exception("'NoneType' object is not iterable".to_owned()))
        }
    }
}

/// All rows that a request is about.
pub(super) fn all(app: &App, dataset: &str, config: &TestConfig) -> Result<Arc<Vec<Row>>, Fault> {
    match &config.provided_data {
        Some(Value::Array(rows)) => rows
            .iter()
            .map(|row| match row {
                Value::Object(row) => Ok(row.clone()),
                _ => Err(bad_request(
                    "provided_data must be a list of rows".to_owned(),
                )),
            })
            .collect::<Result<Vec<Row>, _>>()
            .map(Arc::new),
        Some(_) => Err(bad_request(
            "provided_data must be a list of rows for this request".to_owned(),
        )),
        None => table(app, dataset),
    }
}

fn table(app: &App, dataset: &str) -> Result<Arc<Vec<Row>>, Fault> {
    app.tables
        .of(dataset)
        .ok_or_else(|| Fault::Exception(format!("no such table: code_eval_{dataset}")))
}

/// A row's id, by whichever name it has.
pub(super) fn id_of(row: &Row) -> Value {
    ["id", "task_id", "name"]
        .iter()
        .find_map(|name| row.get(*name))
        .cloned()
        .unwrap_or(Value::Null)
}

/// A column that must be there; the error is what Python says of a missing key.
pub(super) fn column<'r>(row: &'r Row, name: &str) -> Result<&'r Value, Fault> {
    row.get(name)
        .ok_or_else(|| Fault::Exception(format!("'{name}'")))
}

pub(super) fn text<'r>(row: &'r Row, name: &str) -> Result<&'r str, Fault> {
    column(row, name)?
        .as_str()
        .ok_or_else(|| Fault::Exception(format!("column '{name}' is no text")))
}

/// A column as a value, also where it is a text that holds one.
pub(super) fn json(row: &Row, name: &str) -> Result<Value, Fault> {
    match column(row, name)? {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| Fault::Exception(format!("column '{name}' is no JSON: {error}"))),
        other => Ok(other.clone()),
    }
}

/// A column that is an object; a missing one is empty where `needed` is false.
pub(super) fn object(row: &Row, name: &str, needed: bool) -> Result<Row, Fault> {
    if !needed && !row.contains_key(name) {
        return Ok(Row::new());
    }
    match json(row, name)? {
        Value::Object(object) => Ok(object),
        Value::Null if !needed => Ok(Row::new()),
        _ => Err(Fault::Exception(format!("column '{name}' is no object"))),
    }
}

/// A column that is a list of texts.
pub(super) fn texts(row: &Row, name: &str) -> Result<Vec<String>, Fault> {
    let wrong = || Fault::Exception(format!("column '{name}' is no list of texts"));
    let Value::Array(items) = json(row, name)? else {
        return Err(wrong());
    };
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect()
}
