//! Cases that a host cannot try, and what excuses it.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

/// The skips that are known, each with the fact about a host that excuses it.
pub(crate) struct Skips(Vec<(String, String, String)>);

impl Skips {
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let known = lines.map(|line| {
            let mut words = line.split_whitespace();
            let (pattern, need) = (words.next()?.to_owned(), words.next()?.to_owned());
            let fact = words.collect::<Vec<_>>().join(" ");
            (!fact.is_empty()).then_some((pattern, need, fact))
        });
        known
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| format!("{}: a line without a fact", file.display()))
    }

    /// A test that shows as ignored if the skip is excused, and fails if not.
    pub(crate) fn skipped(&self, name: String, need: &str, reason: String) -> Trial {
        let excuse = self
            .0
            .iter()
            .find(|(pattern, lacking, _)| lacking == need && matches(pattern, &name));
        let message = match excuse {
            Some((_, _, fact)) => format!("skipped: {reason}; excused: {fact}"),
            None => format!("skipped: {reason}; expected-skips has no line that excuses it"),
        };
        let (excused, label) = (excuse.is_some(), name.clone());
        if excused {
            eprintln!("{label} {message}");
        }
        Trial::test(name, move || Err(message.into())).with_ignored_flag(excused)
    }
}

/// Whether `name` fits `pattern`, in which one `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}
