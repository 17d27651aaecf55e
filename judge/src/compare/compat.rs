//! What four public judges do with stdout, bug for bug, to reproduce the numbers they publish.
//!
//! Each function states what is reproduced and from which version its behaviour was taken. Only
//! the comparison is here: how those judges run a program and capture its output is not.

use super::{Case, Compat, Spot, first_unequal, python, text};

pub(super) fn find<'a>(judge: Compat, actual: &'a [u8], expected: &'a [u8]) -> Option<Spot<'a>> {
    let compare = match judge {
        Compat::Deepmind => return deepmind(actual, expected),
        Compat::Sandboxfusion => sandboxfusion,
        Compat::Livecodebench => livecodebench,
        Compat::PrimeCode => prime_code,
    };
    match (std::str::from_utf8(actual), std::str::from_utf8(expected)) {
        (Ok(actual), Ok(expected)) => compare(actual, expected),
        // These judges hold both sides as Python strings. SandboxFusion replaces an output that
        // is no UTF-8 by an error text; in the other two, which run programs inside the judge,
        // such bytes cannot be printed. So they are never right.
        (Err(error), _) => Some(invalid(actual, error.valid_up_to(), expected)),
        (Ok(_), Err(_)) => Some(invalid(actual, 0, expected)),
    }
}

fn invalid<'a>(actual: &'a [u8], at: usize, expected: &'a [u8]) -> Spot<'a> {
    let first_line = |text: &'a [u8]| text.split(|&byte| byte == b'\n').next();
    Spot {
        at,
        focus: 0,
        actual: first_line(&actual[at..]),
        expected: first_line(expected),
    }
}

fn line_spot<'a>(
    actual: &'a str,
    pair: (Option<&'a str>, Option<&'a str>),
    case: Case,
) -> Spot<'a> {
    let pair = (pair.0.map(str::as_bytes), pair.1.map(str::as_bytes));
    Spot::line(actual.as_bytes(), pair, case)
}

/// google-deepmind/code_contests, `execution/tester_sandboxer.cc`, unchanged since its first
/// release in 2022.
///
/// Both sides split at space, LF, TAB, CR and VT (a form feed belongs to its token), lower-cased
/// as ASCII. Equal lists match. Otherwise lists of the same length match when each pair does:
/// both numbers by absl's `SimpleAtod` and closer than 1e-5, integers included; else equal. So a
/// NaN or an infinity equals itself only while nothing else in the output differs in spelling.
fn deepmind<'a>(actual: &'a [u8], expected: &'a [u8]) -> Option<Spot<'a>> {
    let is_separator = |byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b'\x0b');
    let tokens = |text| text::tokens(text, is_separator);
    first_unequal(tokens(actual), tokens(expected), text::equal_but_for_case)?;
    let values_match = |a: &[u8], b: &[u8]| match (simple_atod(a), simple_atod(b)) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-5,
        _ => text::equal_but_for_case(a, b),
    };
    first_unequal(tokens(actual), tokens(expected), values_match)
        .map(|pair| Spot::token(actual, pair))
}

/// absl's `SimpleAtod`: a sign, digits with an optional point and exponent, or `inf`, `infinity`,
/// `nan`, `nan(letters)`; out of range is infinite.
fn simple_atod(token: &[u8]) -> Option<f64> {
    let mut text = std::str::from_utf8(token).ok()?.trim_matches('\x0c');
    if let Some(rest) = text.strip_prefix('+') {
        if rest.starts_with(['+', '-']) {
            return None;
        }
        text = rest;
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.len() > 4 && unsigned.is_char_boundary(4) {
        let (nan, payload) = unsigned.split_at(4);
        let is_payload = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if nan.eq_ignore_ascii_case("nan(")
            && payload
                .strip_suffix(')')
                .is_some_and(|inner| inner.chars().all(is_payload))
        {
            return Some(f64::NAN);
        }
    }
    // For the rest Rust's grammar is the same.
    text.parse().ok()
}

/// bytedance/SandboxFusion, `sandbox/utils/testing.py`, the `/submit` and dataset checker of all
/// versions from 2024 to 2026.
///
/// Both sides stripped, split at LF, as many lines; each pair lower-cased and stripped is equal,
/// or both lines are one Python `float` each with |a − b| / max(|b|, 1e-10) < 1e-5. The
/// tolerance holds for integers too.
fn sandboxfusion<'a>(actual: &'a str, expected: &'a str) -> Option<Spot<'a>> {
    let lines = |text: &'a str| python::strip(text).split('\n').map(python::strip);
    let same = |a: &str, e: &str| {
        python::lower_equal(a, e)
            || python::float(e)
                .zip(python::float(a))
                .is_some_and(|(expected, actual)| {
                    (actual - expected).abs() / expected.abs().max(1e-10) < 1e-5
                })
    };
    first_unequal(lines(actual), lines(expected), same)
        .map(|pair| line_spot(actual, pair, Case::Folded))
}

/// LiveCodeBench/LiveCodeBench, `lcb_runner/evaluation/testing_util.py`, the current variant
/// (since the end of 2024: `Decimal`; the older one fell back on `numpy.allclose` and on sets of
/// words, as verl's prime_code still does in part).
///
/// Both sides stripped, split at LF, each line stripped, as many lines; each pair is equal, or
/// every word of both is a `Decimal` and the two lists of decimals are equal, exactly.
fn livecodebench<'a>(actual: &'a str, expected: &'a str) -> Option<Spot<'a>> {
    let lines = |text: &'a str| python::strip(text).split('\n').map(python::strip);
    let same = |a: &str, e: &str| {
        a == e
            || first_unequal(python::split(a), python::split(e), python::decimals_equal).is_none()
    };
    first_unequal(lines(actual), lines(expected), same)
        .map(|pair| line_spot(actual, pair, Case::Kept))
}

/// verl, `verl/utils/reward_score/prime_code/testing_util.py`, as of 2025 and 2026 (the two differ
/// elsewhere): a descendant of the APPS checker whose comparison of word sets never counts.
///
/// Right if one of these holds, where the output is split by `str.splitlines` and the answer, if
/// at all, at LF only:
/// 1. the output's lines joined by LF equal the answer, both stripped, the lines as they are or
///    each stripped;
/// 2. the lines, or the lines that are not empty, equal the answer's lines that are not empty,
///    the answer's stripped, the output's not;
/// 3. both have as many lines that are not empty, not all of them digits only, each is one
///    Python `float`, and `numpy.allclose` of the lists (1e-5 relative, 1e-8 absolute).
fn prime_code<'a>(actual: &'a str, expected: &'a str) -> Option<Spot<'a>> {
    let (stripped, answer) = (python::strip(actual), python::strip(expected));
    if joins_to(python::splitlines(stripped), answer)
        || joins_to(python::splitlines(stripped).map(python::strip), answer)
    {
        return None;
    }

    let full_lines = || python::splitlines(actual).filter(|line| !line.is_empty());
    let answers = || {
        expected
            .split('\n')
            .filter(|line| !line.is_empty())
            .map(python::strip)
    };
    let spot = first_unequal(full_lines(), answers(), |a, e| a == e)?;
    if python::splitlines(actual).eq(answers()) {
        return None;
    }

    // From here on something differs; what is left to find out is whether the numbers are close.
    let is_int =
        |text: &str| !text.is_empty() && text.chars().all(|c| python::decimal_digit(c).is_some());
    let all_int = full_lines()
        .zip(answers())
        .all(|(a, e)| is_int(a) && is_int(e));
    let all_float = || {
        full_lines()
            .chain(answers())
            .all(|line| python::float(line).is_some())
    };
    let spot = if !all_int && all_float() {
        let close = |a, e| python::float(a).zip(python::float(e)).is_some_and(is_close);
        first_unequal(full_lines(), answers(), close)?
    } else {
        spot
    };
    Some(line_spot(actual, spot, Case::Kept))
}

/// Whether `"\n".join(lines) == text`.
fn joins_to<'a>(mut lines: impl Iterator<Item = &'a str>, text: &str) -> bool {
    let Some(first) = lines.next() else {
        return text.is_empty();
    };
    let rest = lines.try_fold(text.strip_prefix(first), |rest, line| {
        rest?.strip_prefix('\n')?.strip_prefix(line).map(Some)
    });
    matches!(rest, Some(Some("")))
}

/// `numpy.isclose(actual, expected)` with its default tolerances.
fn is_close((actual, expected): (f64, f64)) -> bool {
    actual == expected
        || expected.is_finite() && (actual - expected).abs() <= 1e-8 + 1e-5 * expected.abs()
}
