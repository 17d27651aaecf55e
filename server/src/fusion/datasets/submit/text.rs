//! Programs as texts: cut, joined and quoted as the original does it.

use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::Fault;
use super::super::rows::{Row, object};

/// Up to the first newline that a character other than white space follows: the body that continues
/// a prompt.
pub(super) fn before_next_statement(text: &str) -> &str {
    let end = text.match_indices('\n').find(|(at, _)| {
        text[at + 1..]
            .chars()
            .next()
            .is_some_and(|c| !(c.is_whitespace() || matches!(c, '\x1c'..='\x1f')))
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// Up to the first of the row's stop tokens; a blank line does not count as one.
pub(super) fn stop_at_tokens(text: &str, row: &Row) -> String {
    let mut kept = text;
    let tokens = row.get("stop_tokens").cloned().unwrap_or_default();
    let tokens = match tokens {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        other => other,
    };
    for token in tokens.as_array().into_iter().flatten() {
        let Some(token) = token.as_str().filter(|token| *token != "\n\n") else {
            continue;
        };
        let at = match token.strip_prefix("re:") {
            Some(pattern) if pattern.trim() == r"\n(?!\s|\n)(?=.|\n)" => {
                Some(before_next_statement(kept).len())
            }
            Some(pattern) => Regex::new(pattern.trim())
                .ok()
                .and_then(|pattern| pattern.find(kept).map(|found| found.start())),
            None => kept.find(token),
        };
        kept = &kept[..at.unwrap_or(kept.len())];
    }
    kept.to_owned()
}

/// Code put where the test wants it, else above the test.
pub(super) fn inserted(code: &str, test: &str) -> String {
    match test.split_once("#<INSERT>") {
        Some((before, after)) => {
            // What follows a second mark is dropped, as in the original.
            let after = after.split("#<INSERT>").next().unwrap_or("");
            format!("{before}{code}{after}")
        }
        None => {
            let code = code.split("if __name__ ==").next().unwrap_or("");
            format!("{code}\n{test}")
        }
    }
}

/// `repr` of a text.
pub(super) fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out += &format!("\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Files that a row brings along.
pub(super) fn assets(test: &Row) -> Result<Vec<(String, String)>, Fault> {
    let assets = match test.get("asset") {
        Some(Value::Object(assets)) => assets.clone(),
        Some(Value::String(_)) => object(test, "asset", false)?,
        _ => return Ok(Vec::new()),
    };
    Ok(assets
        .into_iter()
        .filter_map(|(path, content)| Some((path, content.as_str()?.to_owned())))
        .collect())
}

/// A passing case, with long texts cut in their middle.
pub(super) fn shortened(case: &Value) -> Value {
    match case {
        Value::String(text) if text.chars().count() > 1000 => {
            let characters: Vec<char> = text.chars().collect();
            let head: String = characters[..498].iter().collect();
            let tail: String = characters[characters.len() - 498..].iter().collect();
            Value::String(format!("{head}...{tail}"))
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shortened(value)))
            .collect(),
        other => other.clone(),
    }
}

/// Forty hex digits that no program can guess: a hash over the operating system's own randomness.
pub(super) fn token() -> String {
    let mut random = [0_u8; 32];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(random);
    if read.is_err() {
        // Still different each time; what can be guessed of it helps no program of another run.
        hash.update(now.as_nanos().to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
    }
    hash.finalize()
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_continuation_ends_before_the_next_statement() {
        assert_eq!(
            before_next_statement("    return 1\n\n    x\nprint(2)"),
            "    return 1\n\n    x"
        );
        assert_eq!(before_next_statement("    return 1\n"), "    return 1\n");
        assert_eq!(before_next_statement("\ndef g(): pass"), "");
    }

    #[test]
    fn code_goes_where_the_test_wants_it() {
        assert_eq!(inserted("c", "a\n#<INSERT>\nb"), "a\nc\nb");
        assert_eq!(inserted("c\nif __name__ == 'x': y", "t"), "c\n\nt");
    }

    #[test]
    fn long_texts_of_a_case_are_cut_in_their_middle() {
        let long = "a".repeat(1001);
        let cut = shortened(&json!({ "input": { "stdin": long }, "n": 1 }));
        let text = cut["input"]["stdin"].as_str().unwrap();
        assert_eq!((text.len(), &text[497..502]), (999, "a...a"));
        let whole = "a".repeat(1000);
        assert_eq!(shortened(&json!(whole)), json!(whole));
    }

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        assert_eq!(python_repr("it's\n\\"), r#""it's\n\\""#);
        assert_eq!(python_repr("a'\"\x01"), r#"'a\'"\x01'"#);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 40);
    }
}
