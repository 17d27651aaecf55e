//! How a comparison mode is written: in flags, configurations, rows and results.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Compare, Compat};

/// Every mode but `float`, by its word.
const WORDS: [(&str, Compare); 11] = [
    ("exact", Compare::Exact),
    ("rstrip_nl", Compare::RstripNl),
    ("lines", Compare::Lines),
    ("tokens", Compare::Tokens),
    ("tokens_ci", Compare::TokensCi),
    ("codecontests", Compare::CodeContests),
    ("unordered_lines", Compare::UnorderedLines),
    ("compat:deepmind", Compare::Compat(Compat::Deepmind)),
    (
        "compat:sandboxfusion",
        Compare::Compat(Compat::Sandboxfusion),
    ),
    (
        "compat:livecodebench",
        Compare::Compat(Compat::Livecodebench),
    ),
    ("compat:prime_code", Compare::Compat(Compat::PrimeCode)),
];

const FLOAT: &str = "float(ABS,REL)";

/// Text that names no comparison mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCompareError {
    /// No such word.
    #[error(
        "unknown comparison mode `{word}`{}; the modes are {}",
        .nearest.map(|word| format!(", did you mean `{word}`?")).unwrap_or_default(),
        all_words()
    )]
    Unknown {
        /// What was given, its first 64 characters.
        word: String,
        /// The mode spelt most like it, if any is at all like it.
        nearest: Option<&'static str>,
    },
    /// `float` without two usable tolerances.
    #[error(
        "comparison mode `{word}` needs an absolute and a relative tolerance, two finite numbers \
         of at least 0, as in `float(1e-6,1e-9)`"
    )]
    Tolerance {
        /// What was given, its first 64 characters.
        word: String,
    },
}

fn all_words() -> String {
    let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).chain([FLOAT]).collect();
    words.join(", ")
}

impl FromStr for Compare {
    type Err = ParseCompareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, mode)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*mode);
        }
        let word: String = text.chars().take(64).collect();
        if let Some(tolerances) = text.strip_prefix("float") {
            return read_tolerances(tolerances).ok_or(ParseCompareError::Tolerance { word });
        }
        let spelt = word.to_lowercase();
        let nearest = WORDS
            .iter()
            .map(|(candidate, _)| *candidate)
            .chain([FLOAT])
            .map(|candidate| {
                (
                    strsim::normalized_damerau_levenshtein(&spelt, candidate),
                    candidate,
                )
            })
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .filter(|(likeness, _)| *likeness >= 0.4)
            .map(|(_, candidate)| candidate);
        Err(ParseCompareError::Unknown { word, nearest })
    }
}

/// `(1e-6,1e-9)`; blanks around the numbers do no harm.
fn read_tolerances(text: &str) -> Option<Compare> {
    let (abs, rel) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let tolerance = |text: &str| {
        let value = text.trim().parse::<f64>().ok()?;
        (value.is_finite() && value.is_sign_positive()).then_some(value)
    };
    Some(Compare::Float {
        abs: tolerance(abs)?,
        rel: tolerance(rel)?,
    })
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Float { abs, rel } = *self {
            return write!(f, "float({},{})", shortest(abs), shortest(rel));
        }
        let word = WORDS
            .iter()
            .find(|(_, mode)| mode == self)
            .map(|(word, _)| *word);
        f.pad(word.unwrap_or_default())
    }
}

/// The shorter of `0.5` and `5e-1`; reading it gives the same number back.
fn shortest(value: f64) -> String {
    let (plain, scientific) = (format!("{value}"), format!("{value:e}"));
    if plain.len() <= scientific.len() {
        plain
    } else {
        scientific
    }
}

impl Serialize for Compare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
