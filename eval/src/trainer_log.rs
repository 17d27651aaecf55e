//! The validation loss that a trainer has logged, by step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::error::EvalError;

/// What a step is called, in the order in which they are looked for.
const STEP: [&str; 5] = [
    "step",
    "global_step",
    "_step",
    "trainer/global_step",
    "training/global_step",
];
/// What a validation loss is called.
const LOSS: [&str; 6] = [
    "val_loss",
    "val/loss",
    "eval_loss",
    "eval/loss",
    "validation/loss",
    "valid/loss",
];

/// Reads a log of JSON lines (`{"step": 500, "val/loss": 0.41}`, nested `data` included) or of verl's
/// console lines (`step:500 - train/loss:0.52 - val/loss:0.41`). Lines that are neither are skipped:
/// console logs hold all sorts of things.
///
/// # Errors
///
/// The file cannot be read, or holds no validation loss at all.
pub fn read_trainer_log(path: &Path) -> Result<BTreeMap<u64, f64>, EvalError> {
    let file = File::open(path).map_err(EvalError::read(path))?;
    let mut losses = BTreeMap::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(EvalError::read(path))?;
        let line = String::from_utf8_lossy(&line);
        if let Some((step, loss)) = of_json(&line).or_else(|| of_console(&line)) {
            losses.insert(step, loss);
        }
    }
    match losses.is_empty() {
        false => Ok(losses),
        true => Err(EvalError::invalid(format!(
            "{} holds no validation loss",
            path.display()
        ))
        .hint(format!(
            "a line is {{\"step\": N, \"val/loss\": X}} or `step:N - val/loss:X`; names looked for: {}",
            LOSS.join(", ")
        ))),
    }
}

fn of_json(line: &str) -> Option<(u64, f64)> {
    let row: Value = serde_json::from_str(line.trim()).ok()?;
    let fields = row.as_object()?;
    let inner = fields
        .get("data")
        .and_then(Value::as_object)
        .unwrap_or(fields);
    let find = |names: &[&str]| {
        let mut values = names
            .iter()
            .filter_map(|name| inner.get(*name).or_else(|| fields.get(*name)));
        values.find_map(Value::as_f64)
    };
    Some((find(&STEP)? as u64, find(&LOSS)?))
}

fn of_console(line: &str) -> Option<(u64, f64)> {
    let parts: Vec<(&str, &str)> = line
        .split(" - ")
        .filter_map(|part| {
            let (name, value) = part.trim().rsplit_once(':')?;
            // A log prefix may stand before the first name.
            Some((name.rsplit(' ').next()?, value.trim()))
        })
        .collect();
    let find = |names: &[&str]| {
        let named = |name: &&str| parts.iter().find(|(key, _)| key == name);
        number(names.iter().find_map(named)?.1)
    };
    Some((find(&STEP)? as u64, find(&LOSS)?)).filter(|(_, loss)| loss.is_finite())
}

/// `0.41`, or as verl's console shows a number of numpy 2: `np.float64(0.41)`.
fn number(text: &str) -> Option<f64> {
    let inside = text
        .strip_prefix("np.")
        .and_then(|text| text.strip_suffix(')')?.split_once('('));
    inside.map_or(text, |(_, value)| value).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_lines_are_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "Epoch 1/3:  10%|#  | 50/500\n\
            {\"step\": 500, \"data\": {\"val/loss\": 0.5, \"train/loss\": 0.6}}\n\
            {\"step\": 600, \"train/loss\": 0.6}\n\
            (main_task pid=12) step:1000 - train/loss:0.52 - val/loss:0.41\n\
            step:1500 - val/loss:nan\n\
            \u{1b}[36m(TaskRunner pid=7)\u{1b}[0m step:2000 - val/loss:np.float64(0.375) - lr:1e-05\n\
            step:2500 - val/loss:np.float64(nan)\n";
        std::fs::write(file.path(), text).expect("written");
        let losses = read_trainer_log(file.path()).expect("read");
        assert_eq!(
            losses,
            BTreeMap::from([(500, 0.5), (1000, 0.41), (2000, 0.375)])
        );
        std::fs::write(file.path(), "nothing").expect("written");
        assert!(read_trainer_log(file.path()).is_err());
    }
}
