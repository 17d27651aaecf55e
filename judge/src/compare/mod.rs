//! Comparing stdout with the expected output (SEMANTICS section 3).
//!
//! # Theory of operation
//!
//! A mode is one function that looks for the first place where the two outputs differ under its
//! rule. [`Compare::matches`] asks whether there is such a place, [`first_difference`] shows it:
//! the two cannot disagree, because there is one search.
//!
//! Everything is bytes. Outputs of 16 MiB are ordinary, so the searches walk both sides at once,
//! hold no list of tokens, and take linear time: integers are compared as digits, never as big
//! numbers. Where a mode reproduces a judge written in Python, its idea of text (Unicode white
//! space, `float`, `Decimal`, …) lives in `python`.
//!
//! - `text`: tokens, lines and numbers as SEMANTICS defines them
//! - `compat`: four public judges, bug for bug
//! - `python`: the Python built-ins that three of those judges call
//! - `words`: how a mode is written

mod compat;
mod python;
mod text;
mod words;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use words::ParseCompareError;

/// A comparison mode.
///
/// Written, read and serialised as the words of SEMANTICS section 3: `tokens`,
/// `float(1e-6,1e-9)`, `compat:deepmind`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// Bytes equal.
    Exact,
    /// Trailing LFs removed on both sides, then equal.
    RstripNl,
    /// Lines right-stripped, trailing empty lines dropped, equal.
    Lines,
    /// Split on white space, lists equal.
    Tokens,
    /// The same after ASCII lower-casing.
    TokensCi,
    /// Tokens, numbers within a tolerance.
    Float {
        /// Absolute tolerance.
        abs: f64,
        /// Relative tolerance, times the expected number.
        rel: f64,
    },
    /// DeepMind's rule with integers kept exact.
    CodeContests,
    /// Right-stripped lines that are not empty, in any order, each as often.
    UnorderedLines,
    /// What a public judge does, bug for bug.
    Compat(Compat),
}

/// The public judges whose comparison is reproduced bug for bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// DeepMind's CodeContests evaluator.
    Deepmind,
    /// SandboxFusion.
    Sandboxfusion,
    /// LiveCodeBench.
    Livecodebench,
    /// verl's prime_code.
    PrimeCode,
}

/// The first place where an output differs from the expected one under a mode.
///
/// Lines and columns count from 1, in the actual output; columns are bytes. Modes that compare
/// bytes or lines point at the byte, modes that compare tokens at the token's first byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstDifference {
    /// Line in the actual output.
    pub line: u64,
    /// Byte in that line.
    pub column: u64,
    /// The token or line expected there, around the difference, at most 120 characters of lossy
    /// UTF-8 with `…` where it was cut; `None` if nothing more was expected.
    pub expected: Option<String>,
    /// What the output has instead; `None` if it ends there.
    pub actual: Option<String>,
}

impl Compare {
    /// Whether `actual` is right under this mode. Linear time, never panics.
    ///
    /// Every mode accepts an output equal to the expected one, with two exceptions taken over
    /// from the judges they reproduce: the Python ones (`compat:` all but `deepmind`) accept
    /// only UTF-8, and prime_code splits the output, but not the answer, at CR and other line
    /// ends.
    pub fn matches(&self, actual: &[u8], expected: &[u8]) -> bool {
        self.find(actual, expected).is_none()
    }

    fn accepts_the_expected(&self, expected: &[u8]) -> bool {
        match self {
            Self::Compat(Compat::PrimeCode) => false,
            Self::Compat(Compat::Sandboxfusion | Compat::Livecodebench) => {
                std::str::from_utf8(expected).is_ok()
            }
            _ => true,
        }
    }

    fn find<'a>(&self, actual: &'a [u8], expected: &'a [u8]) -> Option<Spot<'a>> {
        // The common case, at the speed of memcmp.
        if actual == expected && self.accepts_the_expected(expected) {
            return None;
        }
        match *self {
            Self::Exact => bytes(actual, expected),
            Self::RstripNl => bytes(text::trim_newlines(actual), text::trim_newlines(expected)),
            Self::Lines => first_unequal(text::lines(actual), text::lines(expected), |a, e| a == e)
                .map(|pair| Spot::line(actual, pair, Case::Kept)),
            Self::Tokens => tokens(actual, expected, |a, e| a == e),
            Self::TokensCi => tokens(actual, expected, text::equal_but_for_case),
            Self::Float { abs, rel } => tokens(actual, expected, |a, e| {
                a == e
                    || text::numbers_match(a, e, |diff, expected| {
                        diff <= abs || diff <= rel * expected.abs()
                    })
            }),
            Self::CodeContests => tokens(actual, expected, |a, e| {
                text::equal_but_for_case(a, e) || text::numbers_match(a, e, |diff, _| diff < 1e-5)
            }),
            Self::UnorderedLines => unordered_lines(actual, expected),
            Self::Compat(judge) => compat::find(judge, actual, expected),
        }
    }
}

/// The first place that `compare` calls different; `None` exactly when the outputs match.
///
/// Linear time, never panics.
pub fn first_difference(
    compare: &Compare,
    actual: &[u8],
    expected: &[u8],
) -> Option<FirstDifference> {
    compare
        .find(actual, expected)
        .map(|spot| spot.describe(actual))
}

fn tokens<'a>(
    actual: &'a [u8],
    expected: &'a [u8],
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<Spot<'a>> {
    let split = |text| text::tokens(text, text::is_space);
    first_unequal(split(actual), split(expected), same).map(|pair| Spot::token(actual, pair))
}

fn bytes<'a>(actual: &'a [u8], expected: &'a [u8]) -> Option<Spot<'a>> {
    if actual == expected {
        return None;
    }
    let at = common_prefix(actual, expected, Case::Kept);
    // Up to here both are the same, so one start serves both.
    let line_start = actual[..at]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |lf| lf + 1);
    let line = |text: &'a [u8]| {
        let rest = &text[line_start..];
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(rest.len(), |lf| lf + 1);
        // The line feed is part of what is compared, so it is shown.
        (!rest.is_empty()).then(|| &rest[..end])
    };
    Some(Spot {
        at,
        focus: at - line_start,
        actual: line(actual),
        expected: line(expected),
    })
}

fn unordered_lines<'a>(actual: &'a [u8], expected: &'a [u8]) -> Option<Spot<'a>> {
    let full_lines = |text| text::lines(text).filter(|line| !line.is_empty());
    let mut missing = HashMap::<&[u8], usize>::new();
    for line in full_lines(expected) {
        *missing.entry(line).or_default() += 1;
    }
    let mut extra = None;
    for line in full_lines(actual) {
        match missing.get_mut(line) {
            Some(count) if *count > 0 => *count -= 1,
            _ => extra = extra.or(Some(line)),
        }
    }
    let lacking =
        full_lines(expected).find(|line| missing.get(line).is_some_and(|&count| count > 0));
    (extra.is_some() || lacking.is_some()).then(|| Spot::line(actual, (extra, lacking), Case::Kept))
}

/// The first two pieces (tokens or lines) that are not the same; `None` on the side that ended.
fn first_unequal<T: Copy>(
    mut actual: impl Iterator<Item = T>,
    mut expected: impl Iterator<Item = T>,
    same: impl Fn(T, T) -> bool,
) -> Option<(Option<T>, Option<T>)> {
    loop {
        match (actual.next(), expected.next()) {
            (None, None) => return None,
            (Some(a), Some(e)) if same(a, e) => {}
            pair => return Some(pair),
        }
    }
}

/// Where a search ended: two pieces that differ, each part of its output.
struct Spot<'a> {
    /// Offset in the actual output.
    at: usize,
    /// How far into both pieces the excerpts must reach to show the difference.
    focus: usize,
    actual: Option<&'a [u8]>,
    expected: Option<&'a [u8]>,
}

/// Whether letters count as different when only their case differs.
#[derive(Clone, Copy)]
enum Case {
    Kept,
    Folded,
}

type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl<'a> Spot<'a> {
    /// Points at the start of a token.
    fn token(text: &[u8], pair: Pair<'a>) -> Self {
        let spot = Self::line(text, pair, Case::Kept);
        match spot.actual {
            Some(token) => Self {
                at: offset_in(text, token),
                ..spot
            },
            None => spot,
        }
    }

    /// Points at the first byte in which two lines differ.
    fn line(text: &[u8], (actual, expected): Pair<'a>, case: Case) -> Self {
        let focus = match (actual, expected) {
            (Some(actual), Some(expected)) => common_prefix(actual, expected, case),
            _ => 0,
        };
        let at = match actual {
            Some(piece) => offset_in(text, piece) + focus,
            // The output ended; blanks after its last word are not what a reader looks for.
            None => text::trim_end(text).len(),
        };
        Self {
            at,
            focus,
            actual,
            expected,
        }
    }

    fn describe(&self, actual: &[u8]) -> FirstDifference {
        let before = &actual[..self.at];
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |lf| lf + 1);
        FirstDifference {
            line: before.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1,
            column: (self.at - line_start) as u64 + 1,
            expected: self.expected.map(|piece| excerpt(piece, self.focus)),
            actual: self.actual.map(|piece| excerpt(piece, self.focus)),
        }
    }
}

/// Where `piece`, a part of `text`, begins in it.
fn offset_in(text: &[u8], piece: &[u8]) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}

fn common_prefix(a: &[u8], b: &[u8], case: Case) -> usize {
    let differ = |(a, b): (&u8, &u8)| match case {
        Case::Kept => a != b,
        Case::Folded => !a.eq_ignore_ascii_case(b),
    };
    a.iter()
        .zip(b)
        .position(differ)
        .unwrap_or(a.len().min(b.len()))
}

/// At most this many characters of a piece are shown, the marks of a cut not counted.
const EXCERPT_CHARS: usize = 118;
/// When the difference lies further in than this, the excerpt starts shortly before it.
const EXCERPT_LEAD_BYTES: usize = 80;

fn excerpt(piece: &[u8], focus: usize) -> String {
    let mut start = if focus > EXCERPT_LEAD_BYTES {
        focus - EXCERPT_LEAD_BYTES / 2
    } else {
        0
    };
    // Do not start inside a character; one of UTF-8 has at most three bytes after its first.
    for _ in 0..3 {
        if piece.get(start).is_some_and(|byte| byte & 0xC0 == 0x80) {
            start += 1;
        }
    }
    let piece = piece.get(start..).unwrap_or_default();
    // Four bytes a character bound the work; a character cut in half lies beyond the last shown.
    let decoded = String::from_utf8_lossy(&piece[..piece.len().min(4 * EXCERPT_CHARS + 4)]);
    let shown = decoded
        .char_indices()
        .nth(EXCERPT_CHARS)
        .map_or(decoded.len(), |(end, _)| end);
    let cut = shown < decoded.len();
    format!(
        "{}{}{}",
        if start > 0 { "…" } else { "" },
        &decoded[..shown],
        if cut { "…" } else { "" }
    )
}
