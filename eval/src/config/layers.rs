//! The defaults, the file over them, the flags over both; and keys that do not exist.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DEFAULT_CONFIG, DatasetConfig, EvalConfig};
use crate::error::EvalError;

impl EvalConfig {
    /// The defaults, the file laid over them, and over both the settings that flags make: dotted
    /// names with TOML values.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no TOML, has a key that does not exist, or a value of the wrong
    /// type or out of range.
    pub fn load(file: Option<&Path>, flags: &[(String, toml::Value)]) -> Result<Self, EvalError> {
        let mut all: toml::Table = DEFAULT_CONFIG.parse().expect("the defaults are TOML");
        if let Some(path) = file {
            let text = fs::read_to_string(path).map_err(EvalError::read(path))?;
            let table: toml::Table = text
                .parse()
                .map_err(|error| EvalError::config(path, no_toml(&error, &text)))?;
            known_keys(&table).map_err(|reason| EvalError::config(path, reason))?;
            let folder = path.parent().unwrap_or(Path::new(""));
            lay_over(&mut all, table);
            // Checked here too, so that the file is blamed for what the file says.
            let config = Self::of(all.clone()).map_err(|why| EvalError::config(path, why))?;
            let config = config.beside(folder);
            // Fails for a folder whose name is no UTF-8.
            all = toml::Table::try_from(&config)
                .map_err(|error| EvalError::config(path, error.to_string()))?;
        }
        let mut table = toml::Table::new();
        for (name, value) in flags {
            put(&mut table, name, value.clone());
        }
        let blame = || PathBuf::from("the command line");
        known_keys(&table).map_err(|reason| EvalError::config(&blame(), reason))?;
        lay_over(&mut all, table);
        Self::of(all).map_err(|reason| EvalError::config(&blame(), reason))
    }

    fn of(table: toml::Table) -> Result<Self, String> {
        let config: Self = table
            .try_into()
            // The key stands on a line of its own; messages have one.
            .map_err(|error: toml::de::Error| error.to_string().trim_end().replace('\n', " "))?;
        config.check()?;
        Ok(config)
    }

    /// Relative names in the file mean files beside it.
    fn beside(mut self, folder: &Path) -> Self {
        let join = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        join(&mut self.generator.completions);
        join(&mut self.judging.cache);
        for dataset in self.datasets.values_mut() {
            dataset.files.iter_mut().for_each(join);
            join(&mut dataset.manifest);
            if dataset.prompt.contains(['/', '.']) && !Path::new(&dataset.prompt).is_absolute() {
                dataset.prompt = folder.join(&dataset.prompt).to_string_lossy().into_owned();
            }
        }
        self
    }
}

/// Where a text stops being TOML, and why, on one line.
fn no_toml(error: &toml::de::Error, text: &str) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let message = error.message().replace('\n', ", ");
    format!("line {line}, column {column}: {message}")
}

/// Sets a dotted name.
fn put(table: &mut toml::Table, name: &str, value: toml::Value) {
    match name.split_once('.') {
        None => drop(table.insert(name.to_owned(), value)),
        Some((head, rest)) => {
            let entry = table
                .entry(head)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = entry {
                put(inner, rest, value);
            }
        }
    }
}

fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay_over(under, over),
            // Whole numbers are written where fractions are meant.
            (Some(old @ toml::Value::Float(_)), toml::Value::Integer(new)) => {
                *old = toml::Value::Float(new as f64);
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Refuses a key that does not exist.
fn known_keys(table: &toml::Table) -> Result<(), String> {
    let defaults: toml::Table = DEFAULT_CONFIG.parse().expect("the defaults are TOML");
    let mut dataset = toml::Table::try_from(DatasetConfig::default()).expect("TOML");
    let limits = [
        "wall_time_ms",
        "cpu_time_ms",
        "memory_bytes",
        "stdout_bytes",
        "stderr_bytes",
        "tasks",
        "open_files",
        "file_size_bytes",
        "scratch_bytes",
        "scratch_inodes",
    ];
    let limits: toml::Table = limits
        .into_iter()
        .map(|key| (key.to_owned(), toml::Value::Integer(0)))
        .collect();
    dataset.insert("limits".to_owned(), toml::Value::Table(limits));
    let tier = defaults["tiers"]["1"].as_table().expect("a table").clone();
    walk(table, &defaults, "", &|path: &str| match path {
        "server.env" => Some(None),
        "datasets" => Some(Some(dataset.clone())),
        "tiers" => Some(Some(tier.clone())),
        _ => None,
    })
}

/// `free` says which tables have keys of the user's own, and what each of these holds.
fn walk(
    table: &toml::Table,
    known: &toml::Table,
    path: &str,
    free: &dyn Fn(&str) -> Option<Option<toml::Table>>,
) -> Result<(), String> {
    let name = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    let own = free(path);
    for (key, value) in table {
        let inner = match (&own, known.get(key)) {
            (Some(None), _) => continue,
            (Some(Some(template)), _) => toml::Value::Table(template.clone()),
            (None, Some(inner)) => inner.clone(),
            (None, None) => {
                let near = nearest(key, known.keys().map(String::as_str));
                return Err(format!("there is no key `{}`{near}", name(key)));
            }
        };
        match (value, inner) {
            (toml::Value::Table(table), toml::Value::Table(known)) => {
                walk(table, &known, &name(key), free)?;
            }
            (_, toml::Value::Table(_)) => {
                return Err(format!("`{}` must be a table", name(key)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `; did you mean …?`, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(word.len()) / 3)
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<EvalConfig, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("eval.toml");
        fs::write(&path, text).expect("written");
        EvalConfig::load(Some(&path), &[]).map_err(|error| {
            let message = error.to_string();
            message
                .split_once(".toml: ")
                .expect("the file")
                .1
                .to_owned()
        })
    }

    #[test]
    fn the_defaults_hold_together() {
        let config = EvalConfig::load(None, &[]).expect("valid");
        assert_eq!(config.due(500), ["1"]);
        assert_eq!(config.due(4000), ["1", "2"]);
        assert!(config.due(0).is_empty() && config.due(750).is_empty());
        let again: EvalConfig = toml::from_str(&config.to_toml()).expect("read back");
        assert_eq!(again, config);
    }

    #[test]
    fn a_file_is_laid_over_them_and_flags_over_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("eval.toml");
        let text =
            "[sampling]\ntemperature = 1\nsamples = 5\n[datasets.own]\nfiles = [\"a.jsonl\"]\n";
        fs::write(&path, text).expect("written");
        let flags = [("sampling.samples".to_owned(), toml::Value::Integer(3))];
        let config = EvalConfig::load(Some(&path), &flags).expect("valid");
        assert_eq!(config.sampling.temperature, 1.0);
        assert_eq!(config.sampling.samples, 3);
        assert_eq!(config.sampling.max_new_tokens, 2048);
        assert_eq!(
            config.datasets["own"].files,
            [folder.path().join("a.jsonl")]
        );
        assert_eq!(config.datasets["humaneval"].count, 164);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                "[sampling]\ntemperatur = 1.0\n",
                "there is no key `sampling.temperatur`; did you mean `temperature`?",
            ),
            (
                "[datasets.own]\nfile = []\n",
                "there is no key `datasets.own.file`; did you mean `files`?",
            ),
            (
                "[selection]\nmetric = \"exec_sucess_rate\"\n",
                "selection.metric: \"exec_sucess_rate\" cannot choose a checkpoint; known: \
                 exec_success_rate, accepted_at_1, pass_ratio_mean, pass@1, pass@5, pass@10, pass@50, pass@100; \
                 did you mean `exec_success_rate`?",
            ),
            (
                "[selection]\ndataset = \"codecontest_valid\"\n",
                "selection.dataset names \"codecontest_valid\", for which there is no \
                 [datasets.codecontest_valid]; did you mean `codecontests_valid`?",
            ),
            (
                "[watch]\npoll_s = inf\n",
                "watch.poll_s must be above 0, and at most a day",
            ),
            (
                "[server]\nready_timeout_s = -1.0\n",
                "generator and server timeouts must be between 0 and 86400 (a day)",
            ),
            ("xyzzy = 1\n", "there is no key `xyzzy`"),
            ("sampling = 1\n", "`sampling` must be a table"),
            (
                "[sampling]\nsamples = 4\n",
                "sampling.samples above 1 needs sampling.temperature above 0: at 0 all samples are the same",
            ),
            (
                "[server]\nport = 65535\nreplicas = 2\n",
                "server.port leaves too few ports above it for server.replicas",
            ),
            (
                "[server]\nmax_model_len = 2048\n",
                "sampling.max_new_tokens must be below server.max_model_len, which holds the prompt too",
            ),
            (
                "[tiers.1]\ndatasets = [\"mbpp\"]\n",
                "tiers.1.datasets names \"mbpp\", for which there is no [datasets.mbpp]",
            ),
            (
                "[datasets.own]\nnumbers = \"9..1\"\n",
                "datasets.own.numbers: \"9..1\" is no FIRST..LAST, for example 11..210",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(load(text).expect_err(text), expected, "case: {text}");
        }
        let error = load("out = \"größer\"\n[sampling\n").expect_err("no TOML");
        assert_eq!(error, "line 2, column 10: unclosed table, expected `]`");
        let error = load("[sampling]\ntop_p = \"high\"\n").expect_err("no number");
        assert_eq!(
            error,
            "invalid type: string \"high\", expected f64 in `sampling.top_p`"
        );
    }
}
