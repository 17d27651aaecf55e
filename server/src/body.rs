//! Reads request bodies field by field, and says what is wrong with them the way the clients of
//! SandboxFusion know it: every fault at once, each with its place, kind and message, in the shape
//! of pydantic 2.
//!
//! The rules are pydantic's lax ones: `"3"` and `3` are floats, `3.0` is an integer, a number is no
//! string. Fields nobody knows are ignored. Values stay unparsed until their field is asked for, so a
//! deep or huge value that nobody reads costs nothing, and a string keeps lone surrogates, which a
//! model's answer may hold.

use std::collections::HashMap;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// An input larger than this is not repeated in an error.
const LARGEST_ECHO: usize = 64 * 1024;

/// Where in a body something stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Part {
    Name(String),
    Index(usize),
}

/// One fault of a body.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fault {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Part>,
    msg: String,
    input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Value>,
}

/// Why a body was not understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BadBody {
    /// No JSON in UTF-8: 400.
    Unreadable,
    /// 422, with every fault.
    Faults(Vec<Fault>),
}

/// The fields of a body's object.
pub(crate) struct Body<'a> {
    fields: HashMap<String, &'a RawValue>,
    whole: &'a RawValue,
    at: Vec<Part>,
    faults: Vec<Fault>,
}

/// Reads one value; notes what is wrong with it.
pub(crate) type Read<T> = fn(&RawValue, &mut Place<'_>) -> Option<T>;

/// The place of a value being read, and where its faults go.
pub(crate) struct Place<'f> {
    at: Vec<Part>,
    faults: &'f mut Vec<Fault>,
}

impl<'a> Body<'a> {
    /// Takes a request's body apart.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, BadBody> {
        let body = || vec![Part::Name("body".into())];
        let text = std::str::from_utf8(bytes).map_err(|_| BadBody::Unreadable)?;
        if text.trim().is_empty() {
            return Err(BadBody::Faults(vec![Fault {
                kind: "missing",
                loc: body(),
                msg: "Field required".into(),
                input: Value::Null,
                ctx: None,
            }]));
        }
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| {
            let at = offset(text, error.line(), error.column());
            let mut loc = body();
            loc.push(Part::Index(at));
            BadBody::Faults(vec![Fault {
                kind: "json_invalid",
                loc,
                msg: "JSON decode error".into(),
                input: json!({}),
                ctx: Some(json!({ "error": plain(&error) })),
            }])
        })?;
        Self::of(whole, body()).map_err(|fault| BadBody::Faults(vec![*fault]))
    }

    /// The object at some place inside a body.
    pub(crate) fn of(whole: &'a RawValue, at: Vec<Part>) -> Result<Self, Box<Fault>> {
        match serde_json::from_str(whole.get()) {
            Ok(fields) => Ok(Self {
                fields,
                whole,
                at,
                faults: Vec::new(),
            }),
            Err(_) => Err(Box::new(Fault {
                kind: "model_attributes_type",
                loc: at,
                msg: "Input should be a valid dictionary or object to extract fields from".into(),
                input: echo(whole),
                ctx: None,
            })),
        }
    }

    /// A field that must be there.
    pub(crate) fn required<T>(&mut self, name: &str, read: Read<T>) -> Option<T> {
        if self.fields.contains_key(name) {
            return self.given(name, read);
        }
        let fault = Fault {
            kind: "missing",
            loc: self.place_of(name),
            msg: "Field required".into(),
            input: echo(self.whole),
            ctx: None,
        };
        self.faults.push(fault);
        None
    }

    /// A field with a default. After a fault the default stands in; [`Body::finish`] then fails.
    pub(crate) fn optional<T>(&mut self, name: &str, read: Read<T>, default: T) -> T {
        if self.fields.contains_key(name) {
            self.given(name, read).unwrap_or(default)
        } else {
            default
        }
    }

    /// The value of a field as it stands in the body; `None` if it is missing or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields
            .get(name)
            .copied()
            .filter(|raw| raw.get() != "null")
    }

    pub(crate) fn place_of(&self, name: &str) -> Vec<Part> {
        let mut at = self.at.clone();
        at.push(Part::Name(name.to_owned()));
        at
    }

    /// What is wrong with the fields read so far.
    pub(crate) fn finish(self) -> Result<(), Vec<Fault>> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(self.faults)
        }
    }

    fn given<T>(&mut self, name: &str, read: Read<T>) -> Option<T> {
        let raw = *self.fields.get(name)?;
        let at = self.place_of(name);
        read(
            raw,
            &mut Place {
                at,
                faults: &mut self.faults,
            },
        )
    }
}

impl Place<'_> {
    pub(crate) fn at(&self) -> &[Part] {
        &self.at
    }

    /// Adds faults found by a reader of its own.
    pub(crate) fn blame(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    fn fault(&mut self, kind: &'static str, msg: impl Into<String>, raw: &RawValue) {
        self.fault_in_context(kind, msg, raw, None);
    }

    pub(crate) fn fault_in_context(
        &mut self,
        kind: &'static str,
        msg: impl Into<String>,
        raw: &RawValue,
        ctx: Option<Value>,
    ) {
        self.faults.push(Fault {
            kind,
            loc: self.at.clone(),
            msg: msg.into(),
            input: echo(raw),
            ctx,
        });
    }

    fn inside<T>(&mut self, part: Part, read: impl FnOnce(&mut Place<'_>) -> T) -> T {
        self.at.push(part);
        let result = read(self);
        self.at.pop();
        result
    }
}

/// A string's characters. A lone surrogate is replaced.
pub(crate) fn string(raw: &RawValue, place: &mut Place<'_>) -> Option<String> {
    bytes(raw, place).map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// A string's bytes: UTF-8, except that a lone surrogate keeps its three bytes, which no decoder
/// takes for text.
pub(crate) fn bytes(raw: &RawValue, place: &mut Place<'_>) -> Option<Vec<u8>> {
    match serde_json::from_str::<StringBytes>(raw.get()) {
        Ok(StringBytes(bytes)) => Some(bytes),
        Err(_) => {
            place.fault("string_type", "Input should be a valid string", raw);
            None
        }
    }
}

/// A number, or a string that is one.
pub(crate) fn float(raw: &RawValue, place: &mut Place<'_>) -> Option<f64> {
    match scalar(raw) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::Bool(yes)) => Some(f64::from(u8::from(yes))),
        Some(Value::String(text)) => match text.trim().replace('_', "").parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let msg = "Input should be a valid number, unable to parse string as a number";
                place.fault("float_parsing", msg, raw);
                None
            }
        },
        _ => {
            place.fault("float_type", "Input should be a valid number", raw);
            None
        }
    }
}

/// An integer, a number without a fraction, or a string that is one.
pub(crate) fn integer(raw: &RawValue, place: &mut Place<'_>) -> Option<i64> {
    // Larger numbers mean the largest; none of our fields tells them apart.
    let whole = |number: f64| (number.fract() == 0.0).then_some(number as i64);
    match scalar(raw) {
        Some(Value::Number(number)) => match number.as_i64() {
            Some(number) => Some(number),
            None => {
                let found = number.as_f64().and_then(whole);
                if found.is_none() {
                    let msg =
                        "Input should be a valid integer, got a number with a fractional part";
                    place.fault("int_from_float", msg, raw);
                }
                found
            }
        },
        Some(Value::Bool(yes)) => Some(i64::from(yes)),
        Some(Value::String(text)) => {
            let text = text.trim().replace('_', "");
            let found = text
                .parse()
                .ok()
                .or_else(|| text.strip_suffix(".0").and_then(|text| text.parse().ok()));
            if found.is_none() {
                let msg = "Input should be a valid integer, unable to parse string as an integer";
                place.fault("int_parsing", msg, raw);
            }
            found
        }
        _ => {
            place.fault("int_type", "Input should be a valid integer", raw);
            None
        }
    }
}

/// A truth value, or one of the words and numbers that mean one.
pub(crate) fn boolean(raw: &RawValue, place: &mut Place<'_>) -> Option<bool> {
    let (kind, msg) = match scalar(raw) {
        Some(Value::Bool(yes)) => return Some(yes),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(0.0) => return Some(false),
            Some(1.0) => return Some(true),
            _ => (
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
            ),
        },
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => return Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => return Some(false),
            _ => (
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
            ),
        },
        _ => ("bool_type", "Input should be a valid boolean"),
    };
    place.fault(kind, msg, raw);
    None
}

/// `null`, or what `read` reads.
pub(crate) fn nullable<T>(
    raw: &RawValue,
    place: &mut Place<'_>,
    read: Read<T>,
) -> Option<Option<T>> {
    if raw.get() == "null" {
        Some(None)
    } else {
        read(raw, place).map(Some)
    }
}

/// A list, each element read by `read`.
pub(crate) fn list<T>(raw: &RawValue, place: &mut Place<'_>, read: Read<T>) -> Option<Vec<T>> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        place.fault("list_type", "Input should be a valid list", raw);
        return None;
    };
    // All of them, so that every fault is named.
    let read: Vec<Option<T>> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| place.inside(Part::Index(index), |place| read(item, place)))
        .collect();
    read.into_iter().collect()
}

/// An object used as a map, in its own order; of a name that stands twice the last one counts.
pub(crate) fn map<T>(
    raw: &RawValue,
    place: &mut Place<'_>,
    read: Read<T>,
) -> Option<Vec<(String, T)>> {
    let Ok(Fields(fields)) = serde_json::from_str::<Fields<'_>>(raw.get()) else {
        place.fault("dict_type", "Input should be a valid dictionary", raw);
        return None;
    };
    let read: Vec<Option<(String, T)>> = fields
        .into_iter()
        .map(|(name, item)| {
            let value = place.inside(Part::Name(name.clone()), |place| read(item, place));
            Some((name, value?))
        })
        .collect();
    read.into_iter().collect()
}

/// An object of any content.
pub(crate) fn object(raw: &RawValue, place: &mut Place<'_>) -> Option<Map<String, Value>> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::Object(object)) => Some(object),
        _ => {
            place.fault("dict_type", "Input should be a valid dictionary", raw);
            None
        }
    }
}

/// A row, or a list of rows; their content is looked at later.
pub(crate) fn rows(raw: &RawValue, place: &mut Place<'_>) -> Option<Value> {
    match serde_json::from_str(raw.get()) {
        Ok(rows @ (Value::Object(_) | Value::Array(_))) => Some(rows),
        _ => {
            place.fault("dict_type", "Input should be a valid dictionary", raw);
            None
        }
    }
}

/// One word of a closed list.
pub(crate) fn word<T: Copy>(
    raw: &RawValue,
    place: &mut Place<'_>,
    words: &[(&'static str, T)],
) -> Option<T> {
    let given: Option<String> = serde_json::from_str(raw.get()).ok();
    if let Some((_, value)) = given.and_then(|given| words.iter().find(|(word, _)| *word == given))
    {
        return Some(*value);
    }
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    place.fault_in_context(
        "literal_error",
        format!("Input should be {expected}"),
        raw,
        Some(json!({ "expected": expected })),
    );
    None
}

/// The fault's input, repeated as far as that is reasonable.
fn echo(raw: &RawValue) -> Value {
    if raw.get().len() > LARGEST_ECHO {
        return Value::String(format!("{} bytes, not repeated", raw.get().len()));
    }
    serde_json::from_str(raw.get()).unwrap_or(Value::Null)
}

/// A value that is no list and no object; those are left unread.
fn scalar(raw: &RawValue) -> Option<Value> {
    if raw.get().starts_with(['[', '{']) {
        return None;
    }
    serde_json::from_str(raw.get()).ok()
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// What a JSON reader of Python says to the same fault, as far as ours tells them apart.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text {
        "expected value" | "EOF while parsing a value" => "Expecting value",
        "expected `,` or `}`"
        | "expected `,` or `]`"
        | "EOF while parsing an object"
        | "EOF while parsing a list" => "Expecting ',' delimiter",
        "expected `:`" => "Expecting ':' delimiter",
        "key must be a string" | "trailing comma" => {
            "Expecting property name enclosed in double quotes"
        }
        "trailing characters" => "Extra data",
        "EOF while parsing a string" => "Unterminated string starting at",
        "invalid escape" => "Invalid \\escape",
        other if other.starts_with("control character") => "Invalid control character at",
        other => other,
    }
    .to_owned()
}

struct StringBytes(Vec<u8>);

impl<'de> Deserialize<'de> for StringBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
                Ok(text.as_bytes().to_vec())
            }
        }
        // Asked for bytes, serde_json also takes a string with lone surrogates.
        deserializer.deserialize_bytes(Bytes).map(StringBytes)
    }
}

/// An object's fields in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut access: A,
            ) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &RawValue)> = Vec::new();
                let mut places: HashMap<String, usize> = HashMap::new();
                while let Some((name, value)) = access.next_entry::<String, &RawValue>()? {
                    match places.get(&name) {
                        Some(&place) => fields[place].1 = value,
                        None => {
                            places.insert(name.clone(), fields.len());
                            fields.push((name, value));
                        }
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, read: impl FnOnce(&mut Body<'_>)) -> Value {
        let faults = match Body::parse(text.as_bytes()) {
            Err(BadBody::Faults(faults)) => faults,
            Err(BadBody::Unreadable) => return json!("unreadable"),
            Ok(mut body) => {
                read(&mut body);
                body.finish().err().unwrap_or_default()
            }
        };
        serde_json::to_value(faults).unwrap()
    }

    #[test]
    fn every_fault_is_named_at_once_with_its_place() {
        let text = r#"{"n":"x","f":[],"files":{"a":1},"names":["a",2]}"#;
        let found = faults(text, |body| {
            body.required("code", string);
            body.optional("n", integer, 0);
            body.optional("f", float, 0.0);
            body.optional("files", |r, p| map(r, p, string), vec![]);
            body.optional("names", |r, p| list(r, p, string), vec![]);
        });
        let kinds: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| (fault["type"].as_str().unwrap(), fault["loc"].to_string()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("missing", r#"["body","code"]"#.to_owned()),
                ("int_parsing", r#"["body","n"]"#.to_owned()),
                ("float_type", r#"["body","f"]"#.to_owned()),
                ("string_type", r#"["body","files","a"]"#.to_owned()),
                ("string_type", r#"["body","names",1]"#.to_owned()),
            ]
        );
    }

    #[test]
    fn numbers_are_read_loosely_and_strings_strictly() {
        let text = r#"{"a":"3","b":3,"c":3.0,"d":"2.5","e":true,"g":3.5}"#;
        let mut body = Body::parse(text.as_bytes()).unwrap();
        assert_eq!(body.required("a", float), Some(3.0));
        assert_eq!(body.required("b", float), Some(3.0));
        assert_eq!(body.required("c", integer), Some(3));
        assert_eq!(body.required("d", float), Some(2.5));
        assert_eq!(body.required("e", integer), Some(1));
        assert_eq!(body.required("a", integer), Some(3));
        assert_eq!(body.required("g", integer), None);
        assert_eq!(body.required("b", string), None);
        assert_eq!(body.finish().unwrap_err().len(), 2);
    }

    #[test]
    fn what_is_no_object_is_said_so() {
        let kind = |text: &str| faults(text, |_| ())[0]["type"].clone();
        assert_eq!(kind(""), "missing");
        assert_eq!(kind("[1]"), "model_attributes_type");
        assert_eq!(kind("{\"a\":}"), "json_invalid");
        assert_eq!(kind("{\"a\":1}}"), "json_invalid");
        assert_eq!(kind("nope"), "json_invalid");
        assert!(matches!(Body::parse(b"\xff"), Err(BadBody::Unreadable)));
    }

    #[test]
    fn deep_values_cost_no_stack_and_lone_surrogates_survive() {
        let deep = format!(
            "{{\"x\":{}{},\"code\":\"\\ud800\"}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let mut body = Body::parse(deep.as_bytes()).unwrap();
        assert_eq!(body.required("code", bytes), Some(vec![0xED, 0xA0, 0x80]));
        assert_eq!(body.required("x", string), None);
        assert_eq!(body.finish().unwrap_err().len(), 1);
    }

    #[test]
    fn a_name_that_stands_twice_counts_once() {
        let mut body = Body::parse(br#"{"files":{"b":"1","a":"2","b":"3"}}"#).unwrap();
        let files = body.required("files", |r, p| map(r, p, string)).unwrap();
        assert_eq!(files, [("b".into(), "3".into()), ("a".into(), "2".into())]);
    }
}
