//! JSON values as Python sees them: integers of any size, and Python's `==`.
//!
//! `serde_json::Value` turns integers above 64 bits into floats, so that `2**64` and `2**64 + 1`
//! would be equal; call problems have such answers. This type keeps every digit.

use std::collections::HashMap;

/// A value that crosses between a row, a candidate and the judge.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `None`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Decimal digits without leading zeros, with `-` in front if negative.
    Int(String),
    /// Any float; NaN and infinities only come from a candidate.
    Float(f64),
    /// UTF-8, with lone surrogates encoded as three bytes as Python's `surrogatepass` does.
    Text(Vec<u8>),
    /// A list; tuples arrive as lists.
    List(Vec<Value>),
    /// A dict in insertion order; no key stands twice.
    Dict(Vec<(Vec<u8>, Value)>),
}

/// Values nested deeper than this are refused, here and in the harness.
pub(crate) const MAX_DEPTH: usize = 400;

impl Value {
    /// Reads one JSON text, every digit kept.
    ///
    /// # Errors
    ///
    /// The text is no JSON value, has something behind it, or nests deeper than 400 levels; the
    /// message names the byte offset.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            bytes: text.as_bytes(),
            at: 0,
        };
        parser.blanks();
        let value = parser.value(0)?;
        parser.blanks();
        if parser.at == parser.bytes.len() {
            Ok(value)
        } else {
            Err(parser.wrong("end of text"))
        }
    }

    /// The value as JSON. A NaN, which JSON lacks, is written `NaN`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(digits) => out.push_str(digits),
            Self::Float(value) if value.is_nan() => out.push_str("NaN"),
            // Out of range on purpose: the only JSON number that reads back as infinity.
            Self::Float(value) if value.is_infinite() => {
                out.push_str(if *value > 0.0 { "1e999" } else { "-1e999" });
            }
            Self::Float(value) => out.push_str(&format!("{value:?}")),
            Self::Text(text) => write_json_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Dict(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_json_text(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// A dict of these entries; of equal keys the last one counts, as in Python.
    pub(crate) fn dict(entries: Vec<(Vec<u8>, Self)>) -> Self {
        let mut index: HashMap<Vec<u8>, usize> = HashMap::with_capacity(entries.len());
        let mut unique: Vec<(Vec<u8>, Self)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match index.get(&key) {
                Some(&at) => unique[at].1 = value,
                None => {
                    index.insert(key.clone(), unique.len());
                    unique.push((key, value));
                }
            }
        }
        Self::Dict(unique)
    }

    /// Python's `==`: `1 == True == 1.0`, and integers compare exactly with floats.
    pub fn python_eq(&self, other: &Self) -> bool {
        self.matches(other, None)
    }

    /// Python's `==`, but two numbers of which one is a float also match within a tolerance:
    /// `|actual - expected| <= abs` or `<= rel * |expected|`.
    pub fn approx_eq(&self, expected: &Self, abs: f64, rel: f64) -> bool {
        self.matches(expected, Some((abs, rel)))
    }

    fn matches(&self, expected: &Self, tolerance: Option<(f64, f64)>) -> bool {
        match (self, expected) {
            (Self::Null, Self::Null) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(b, tolerance))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                let b: HashMap<&[u8], &Self> = b.iter().map(|(k, v)| (k.as_slice(), v)).collect();
                a.len() == b.len()
                    && a.iter().all(|(key, value)| {
                        b.get(key.as_slice())
                            .is_some_and(|other| value.matches(other, tolerance))
                    })
            }
            _ => match (self.number(), expected.number()) {
                (Some(a), Some(b)) => a.matches(&b, tolerance),
                _ => false,
            },
        }
    }

    fn number(&self) -> Option<Number<'_>> {
        match self {
            Self::Bool(value) => Some(Number::Int(if *value { "1" } else { "0" })),
            Self::Int(digits) => Some(Number::Int(digits)),
            Self::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Number<'a> {
    Int(&'a str),
    Float(f64),
}

impl Number<'_> {
    fn matches(&self, expected: &Self, tolerance: Option<(f64, f64)>) -> bool {
        let equal = match (self, expected) {
            (Self::Int(a), Self::Int(b)) => return a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Int(int), Self::Float(float)) | (Self::Float(float), Self::Int(int)) => {
                // Rust prints every digit of an integral float, so this comparison is exact.
                float.is_finite()
                    && float.fract() == 0.0
                    && (format!("{float:.0}") == *int || (*float == 0.0 && *int == "0"))
            }
        };
        let Some((abs, rel)) = tolerance else {
            return equal;
        };
        let (a, b) = (self.as_f64(), expected.as_f64());
        let difference = (a - b).abs();
        equal
            || (a.is_finite() && b.is_finite())
                && (difference <= abs || difference <= rel * b.abs())
    }

    fn as_f64(&self) -> f64 {
        match self {
            // Decimal digits always parse; too large ones become infinite, which matches nothing.
            Self::Int(digits) => digits.parse().unwrap_or(f64::NAN),
            Self::Float(value) => *value,
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => {
                if number.is_f64() {
                    Self::Float(number.as_f64().unwrap_or(f64::NAN))
                } else {
                    Self::Int(canonical_int(&number.to_string()))
                }
            }
            serde_json::Value::String(text) => Self::Text(text.into_bytes()),
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(entries) => Self::Dict(
                entries
                    .into_iter()
                    .map(|(k, v)| (k.into_bytes(), Self::from(v)))
                    .collect(),
            ),
        }
    }
}

/// Strips leading zeros and the sign of zero.
pub(crate) fn canonical_int(digits: &str) -> String {
    let (sign, magnitude) = match digits.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", digits),
    };
    let magnitude = magnitude.trim_start_matches('0');
    if magnitude.is_empty() {
        "0".into()
    } else {
        format!("{sign}{magnitude}")
    }
}

fn write_json_text(text: &[u8], out: &mut String) {
    out.push('"');
    let mut rest = text;
    while !rest.is_empty() {
        let (valid, bad) = match std::str::from_utf8(rest) {
            Ok(valid) => (valid, 0),
            Err(error) => {
                let valid = std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default();
                (valid, 3)
            }
        };
        for c in valid.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                    out.push_str(&format!("\\u{:04x}", c as u32));
                }
                c => out.push(c),
            }
        }
        rest = &rest[valid.len()..];
        if bad > 0 && !rest.is_empty() {
            let surrogate = match *rest {
                [a, b, c, ..] => {
                    u32::from(a & 0x0f) << 12 | u32::from(b & 0x3f) << 6 | u32::from(c & 0x3f)
                }
                _ => 0xfffd,
            };
            out.push_str(&format!("\\u{surrogate:04x}"));
            rest = &rest[bad.min(rest.len())..];
        }
    }
    out.push('"');
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.at)
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let hit = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(hit);
        hit
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "nested deeper than {MAX_DEPTH} levels at byte {}",
                self.at
            ));
        }
        match self.bytes.get(self.at) {
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => Ok(Value::Text(self.text()?)),
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                self.blanks();
                if self.eat(b']') {
                    return Ok(Value::List(items));
                }
                loop {
                    self.blanks();
                    items.push(self.value(depth + 1)?);
                    self.blanks();
                    if self.eat(b']') {
                        return Ok(Value::List(items));
                    }
                    if !self.eat(b',') {
                        return Err(self.wrong("`,` or `]`"));
                    }
                }
            }
            Some(b'{') => {
                self.at += 1;
                let mut entries = Vec::new();
                self.blanks();
                if self.eat(b'}') {
                    return Ok(Value::Dict(entries));
                }
                loop {
                    self.blanks();
                    if self.bytes.get(self.at) != Some(&b'"') {
                        return Err(self.wrong("a key"));
                    }
                    let key = self.text()?;
                    self.blanks();
                    if !self.eat(b':') {
                        return Err(self.wrong("`:`"));
                    }
                    self.blanks();
                    entries.push((key, self.value(depth + 1)?));
                    self.blanks();
                    if self.eat(b'}') {
                        return Ok(Value::dict(entries));
                    }
                    if !self.eat(b',') {
                        return Err(self.wrong("`,` or `}`"));
                    }
                }
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.wrong("a value"))
        }
    }

    fn digits(&mut self) -> Result<(), String> {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > from {
            Ok(())
        } else {
            Err(self.wrong("a digit"))
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let from = self.at;
        self.eat(b'-');
        if self.eat(b'0') {
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.wrong("no digit after a leading zero"));
            }
        } else {
            self.digits()?;
        }
        let mut float = false;
        if self.eat(b'.') {
            float = true;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            float = true;
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.bytes[from..self.at]).unwrap_or_default();
        Ok(if float {
            Value::Float(text.parse().map_err(|_| self.wrong("a number"))?)
        } else {
            Value::Int(canonical_int(text))
        })
    }

    fn text(&mut self) -> Result<Vec<u8>, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(self.wrong("`\"`"));
            };
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\\' => {
                    let Some(&escape) = self.bytes.get(self.at) else {
                        return Err(self.wrong("an escape"));
                    };
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' => out.push(escape),
                        b'b' => out.push(8),
                        b'f' => out.push(12),
                        b'n' => out.push(b'\n'),
                        b'r' => out.push(b'\r'),
                        b't' => out.push(b'\t'),
                        b'u' => self.unicode_escape(&mut out)?,
                        _ => return Err(self.wrong("an escape")),
                    }
                }
                0..=0x1f => return Err(self.wrong("no bare control character")),
                _ => out.push(byte),
            }
        }
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .ok_or_else(|| self.wrong("four hex digits"))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.wrong("four hex digits"))
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let unit = self.hex4()?;
        let mut scalar = unit;
        if (0xd800..0xdc00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = back;
            }
        }
        match char::from_u32(scalar) {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            // A lone surrogate, as Python's `surrogatepass` writes it.
            None => out.extend_from_slice(&[
                0xe0 | (scalar >> 12) as u8,
                0x80 | (scalar >> 6 & 0x3f) as u8,
                0x80 | (scalar & 0x3f) as u8,
            ]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_what_json_allows_and_writes_it_back() {
        let cases = [
            ("null", "null"),
            (" [ 1 , 2.5 , true ] ", "[1,2.5,true]"),
            ("-0", "0"),
            ("1e5", "100000.0"),
            ("1e999", "1e999"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            (r#"{"b":1,"a":{"c":[]},"b":2}"#, r#"{"b":2,"a":{"c":[]}}"#),
            (r#""\u00e9\ud83d\ude00\ud800\n\/""#, "\"é😀\\ud800\\n/\""),
            (r#""\ud800\u0041""#, r#""\ud800A""#),
        ];
        for (text, written) in cases {
            assert_eq!(value(text).to_json(), written, "case: {text}");
            assert_eq!(value(&value(text).to_json()), value(text), "case: {text}");
        }
        for bad in [
            "", "[", "[1", "[1,]", "{1:2}", "01", "1.", "nul", "\"", "\"\\x\"", "1 2", "-",
        ] {
            assert!(Value::from_json(bad).is_err(), "case: {bad}");
        }
        assert!(Value::from_json(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn compares_as_python_does() {
        let cases = [
            ("1", "true", true),
            ("0", "false", true),
            ("1", "1.0", true),
            ("0", "-0.0", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("9007199254740992", "9007199254740992.0", true),
            ("100000000000000000000", "1e20", true),
            ("18446744073709551616", "18446744073709551617", false),
            ("1", "\"1\"", false),
            ("null", "false", false),
            ("[]", "{}", false),
            ("[1,[2]]", "[1,[2.0]]", true),
            ("[1,2]", "[2,1]", false),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        ];
        for (a, b, equal) in cases {
            assert_eq!(value(a).python_eq(&value(b)), equal, "case: {a} == {b}");
            assert_eq!(value(b).python_eq(&value(a)), equal, "case: {b} == {a}");
        }
        assert!(!Value::Float(f64::NAN).python_eq(&Value::Float(f64::NAN)));
    }

    #[test]
    fn tolerance_holds_for_floats_but_not_between_integers() {
        let cases = [
            ("0.1", "0.1000001", true),
            ("[1.0000001]", "[1]", true),
            ("1000001", "1000000", false),
            ("1000000.5", "1000000", true),
            ("1e999", "1e308", false),
            ("1e999", "1e999", true),
        ];
        for (actual, expected, equal) in cases {
            let hit = value(actual).approx_eq(&value(expected), 1e-6, 1e-6);
            assert_eq!(hit, equal, "case: {actual} ~ {expected}");
        }
    }
}
