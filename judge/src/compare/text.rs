//! White space, lines, tokens and numbers as SEMANTICS section 3 defines them.

/// WS: space, TAB, LF, VT, FF, CR.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Equal after ASCII lower-casing. Most tokens are equal as they are, which is quicker to see.
pub(super) fn equal_but_for_case(a: &[u8], b: &[u8]) -> bool {
    a == b || a.eq_ignore_ascii_case(b)
}

pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|&byte| !is_space(byte))
        .map_or(0, |last| last + 1);
    &text[..end]
}

pub(super) fn trim_newlines(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|&byte| byte != b'\n')
        .map_or(0, |last| last + 1);
    &text[..end]
}

/// Lines without the blanks at their right end, and without empty lines at the end of the text.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = trim_end(text);
    let count = if text.is_empty() { 0 } else { usize::MAX };
    text.split(|&byte| byte == b'\n').take(count).map(trim_end)
}

/// The runs of bytes between separators.
pub(super) fn tokens(text: &[u8], is_separator: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|&byte| !is_separator(byte))?;
        rest = &rest[start..];
        let end = rest
            .iter()
            .position(|&byte| is_separator(byte))
            .unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// Whether both are NUM and equal: both INT as unbounded integers, else both finite and `close`
/// says so of their distance and the expected value.
pub(super) fn numbers_match(
    actual: &[u8],
    expected: &[u8],
    close: impl Fn(f64, f64) -> bool,
) -> bool {
    match (Number::read(actual), Number::read(expected)) {
        (Some(Number::Integer), Some(Number::Integer)) => integer(actual) == integer(expected),
        (Some(_), Some(_)) => {
            let (actual, expected) = (double(actual), double(expected));
            actual.is_finite() && expected.is_finite() && close((actual - expected).abs(), expected)
        }
        _ => false,
    }
}

#[derive(Clone, Copy)]
enum Number {
    /// `[+-]?\d+`
    Integer,
    /// `[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?` and no integer
    Real,
}

impl Number {
    /// NaN, infinities, hexadecimal, underscores and digits beyond ASCII are words, not numbers.
    fn read(token: &[u8]) -> Option<Self> {
        let (whole, rest) = digits(unsigned(token));
        if rest.is_empty() {
            return (!whole.is_empty()).then_some(Self::Integer);
        }
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => digits(rest),
            None => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let Some((b'e' | b'E', exponent)) = rest.split_first() else {
            return rest.is_empty().then_some(Self::Real);
        };
        let (power, rest) = digits(unsigned(exponent));
        (!power.is_empty() && rest.is_empty()).then_some(Self::Real)
    }
}

fn unsigned(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"+")
        .or_else(|| text.strip_prefix(b"-"))
        .unwrap_or(text)
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(
        text.iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// Sign and digits of an INT, in a form in which equal integers are equal.
fn integer(token: &[u8]) -> (bool, &[u8]) {
    let digits = unsigned(token);
    let zeros = digits
        .iter()
        .position(|&byte| byte != b'0')
        .unwrap_or(digits.len());
    let digits = &digits[zeros..];
    (token.starts_with(b"-") && !digits.is_empty(), digits)
}

/// The nearest double of a NUM; infinite if it is out of range.
fn double(token: &[u8]) -> f64 {
    // A NUM is ASCII, and Rust's grammar of floats includes it, so neither step can fail.
    std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::NAN)
}
