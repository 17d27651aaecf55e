//! A row's fields, read one at a time, so that an error can name its field.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::EvalError;
use crate::error::Place;

/// What is wrong with a row, and in which of its fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// `None` when the row itself is the problem.
    field: Option<String>,
    reason: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            reason: reason.into(),
        }
    }

    /// The whole message, for rows whose place is told otherwise.
    pub(crate) fn message(self) -> String {
        match self.field {
            Some(field) => format!("field `{field}`: {}", self.reason),
            None => self.reason,
        }
    }

    pub(crate) fn at(self, place: Place) -> EvalError {
        match self.field {
            Some(field) => EvalError::BadField {
                place,
                field,
                reason: self.reason,
            },
            None => EvalError::BadRow {
                place,
                reason: self.reason,
            },
        }
    }
}

impl From<judge::RowError> for FieldError {
    fn from(error: judge::RowError) -> Self {
        // `row` stands for the row itself.
        let field = Some(error.field).filter(|field| field != "row");
        Self {
            field,
            reason: error.reason,
        }
    }
}

impl From<FieldError> for judge::RowError {
    fn from(error: FieldError) -> Self {
        Self {
            field: error.field.unwrap_or_else(|| "row".to_owned()),
            reason: error.reason,
        }
    }
}

/// A JSON object, its values still unread. A value that nobody asks for costs nothing.
pub(crate) struct Fields<'a> {
    /// Where the object stands in its row, empty for the row itself.
    path: String,
    values: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads a row.
    pub(crate) fn parse(text: &'a str) -> Result<Self, FieldError> {
        Self::parse_at(text, String::new())
    }

    /// Reads an object that stands at `path` in its row.
    pub(crate) fn parse_at(text: &'a str, path: String) -> Result<Self, FieldError> {
        match serde_json::from_str(text) {
            Ok(values) => Ok(Self { path, values }),
            Err(error) => {
                let reason = match error.classify() {
                    serde_json::error::Category::Data if !text.trim_start().starts_with('{') => {
                        format!("expected an object, found {}", json_kind(text))
                    }
                    _ => format!("not valid JSON: {}", with_column(&error)),
                };
                Err(FieldError {
                    field: Some(path).filter(|path| !path.is_empty()),
                    reason,
                })
            }
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The name of a field as errors give it.
    pub(crate) fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    pub(crate) fn error(&self, field: &str, reason: impl Into<String>) -> FieldError {
        FieldError::new(self.name(field), reason)
    }

    /// The field's text as it stands in the row; `None` if it is missing or null.
    pub(crate) fn raw(&self, field: &str) -> Option<&'a RawValue> {
        self.values
            .get(field)
            .copied()
            .filter(|raw| raw.get() != "null")
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    /// The field's value; `None` if it is missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(
        &self,
        field: &str,
    ) -> Result<Option<T>, FieldError> {
        self.raw(field)
            .map(|raw| read(raw, || self.name(field)))
            .transpose()
    }

    pub(crate) fn required<T: DeserializeOwned>(&self, field: &str) -> Result<T, FieldError> {
        match self.values.get(field) {
            Some(raw) => read(raw, || self.name(field)),
            None => Err(self.error(field, "missing")),
        }
    }

    /// A list's items with their names; none if the field is missing or null.
    pub(crate) fn items(&self, field: &str) -> Result<Vec<(String, &'a RawValue)>, FieldError> {
        let Some(raw) = self.raw(field) else {
            return Ok(Vec::new());
        };
        items(raw, &self.name(field))
    }

    /// A list of texts; empty if the field is missing or null.
    pub(crate) fn texts(&self, field: &str) -> Result<Vec<String>, FieldError> {
        self.items(field)?
            .into_iter()
            .map(|(name, raw)| read(raw, || name))
            .collect()
    }

    /// An object; `None` if the field is missing or null.
    pub(crate) fn object(&self, field: &str) -> Result<Option<Self>, FieldError> {
        self.raw(field)
            .map(|raw| Self::parse_at(raw.get(), self.name(field)))
            .transpose()
    }

    /// An identifier: a text, or a whole number.
    pub(crate) fn id(&self, field: &str) -> Result<Option<Id>, FieldError> {
        match self.optional(field)? {
            Some(Id::Text(text)) if text.trim().is_empty() => Err(self.error(field, "blank")),
            id => Ok(id),
        }
    }
}

/// A list's items with their names.
pub(crate) fn items<'a>(
    raw: &'a RawValue,
    name: &str,
) -> Result<Vec<(String, &'a RawValue)>, FieldError> {
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| {
        FieldError::new(
            name,
            format!("expected a list, found {}", json_kind(raw.get())),
        )
    })?;
    Ok(items
        .into_iter()
        .enumerate()
        .map(|(index, raw)| (format!("{name}[{index}]"), raw))
        .collect())
}

/// Reads one value; `name` is only asked for when that fails.
pub(crate) fn read<T: DeserializeOwned>(
    raw: &RawValue,
    name: impl FnOnce() -> String,
) -> Result<T, FieldError> {
    serde_json::from_str(raw.get())
        .map_err(|error| FieldError::new(name(), without_position(&error)))
}

/// An identifier as rows spell it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged, expecting = "expected a string or a whole number")]
pub(crate) enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    /// `prefix/11` for the number 11 and the text "11"; any other text as it is.
    pub(crate) fn under(self, prefix: &str) -> String {
        match self {
            Self::Number(number) => format!("{prefix}/{number}"),
            Self::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{prefix}/{text}")
            }
            Self::Text(text) => text,
        }
    }

    /// The number in digits, or the text.
    pub(crate) fn plain(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// What kind of value a JSON text begins.
fn json_kind(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "nothing",
    }
}

/// serde's message without its position, which would count from the field's start.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message,
    }
}

/// serde's message with its position in the row.
fn with_column(error: &serde_json::Error) -> String {
    let message = without_position(error);
    match (error.line(), error.column()) {
        (0 | 1, column) => format!("{message} (column {column})"),
        (line, column) => format!("{message} (line {line} of the row, column {column})"),
    }
}
