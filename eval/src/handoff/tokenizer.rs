//! The tokenizer and the chat template of a checkpoint.

use std::fs;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::verify::{State, Verified};

/// Texts that must come back as they were.
const TEXTS: [&str; 4] = [
    "def add(a, b):\n    return a + b\n",
    "for i in range(10):\n\tprint(f\"{i:02d}\")  # größer, 漢字, 🙂\n",
    "    indented\n        deeper\n\n\nx = 1\r\n",
    "Write a function that returns the sum of two numbers.",
];

/// Checks that the tokenizer loads, gives texts back, and fits the embeddings; then the template.
pub(super) fn check(
    model: &Path,
    embeddings: Option<usize>,
    config: Option<&Value>,
    verified: &mut Verified,
) {
    let path = model.join("tokenizer.json");
    let settings = fs::read(model.join("tokenizer_config.json")).ok();
    let settings: Option<Value> = settings.and_then(|text| serde_json::from_slice(&text).ok());
    if path.is_file() {
        match Tokenizer::from_file(&path) {
            Ok(tokenizer) => {
                round_trip(&tokenizer, verified);
                fits(
                    &tokenizer,
                    embeddings,
                    config,
                    settings.as_ref(),
                    model,
                    verified,
                );
            }
            Err(error) => verified.add(
                "tokenizer",
                State::Fail,
                format!("tokenizer.json does not load: {error}"),
            ),
        }
    } else if model.join("tokenizer.model").is_file() {
        verified.add(
            "tokenizer",
            State::Skipped,
            "only tokenizer.model (SentencePiece), which is not read here; save a fast tokenizer too",
        );
    } else {
        verified.add("tokenizer", State::Fail, "there is no tokenizer.json");
    }
    template(model, settings.as_ref(), verified);
}

fn round_trip(tokenizer: &Tokenizer, verified: &mut Verified) {
    for text in TEXTS {
        let back = tokenizer
            .encode(text, false)
            .and_then(|encoding| tokenizer.decode(encoding.get_ids(), false));
        match back {
            Ok(back) if back == text => {}
            Ok(back) => {
                // Those that add a blank in front or fold line ends are lossy but known.
                let lossy = back.split_whitespace().eq(text.split_whitespace());
                let state = if lossy { State::Caution } else { State::Fail };
                verified.add(
                    "tokenizer",
                    state,
                    format!("{text:?} comes back as {back:?}"),
                );
                return;
            }
            Err(error) => {
                verified.add("tokenizer", State::Fail, format!("{text:?}: {error}"));
                return;
            }
        }
    }
    verified.add(
        "tokenizer",
        State::Pass,
        format!(
            "{} tokens; texts come back as they were",
            tokenizer.get_vocab_size(true)
        ),
    );
}

fn fits(
    tokenizer: &Tokenizer,
    embeddings: Option<usize>,
    config: Option<&Value>,
    settings: Option<&Value>,
    model: &Path,
    verified: &mut Verified,
) {
    let mut faults = Vec::new();
    let largest = tokenizer
        .get_vocab(true)
        .into_iter()
        .max_by_key(|(_, id)| *id);
    // As the file says: the loader gives an added token the next free id, whatever is written.
    let raw = fs::read(model.join("tokenizer.json")).ok();
    let raw: Value = raw
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let written = raw["added_tokens"].as_array().into_iter().flatten();
    let written = written.filter_map(|token| {
        let id = u32::try_from(token["id"].as_u64()?).ok()?;
        Some((token["content"].as_str()?.to_owned(), id))
    });
    let largest = written.chain(largest).max_by_key(|(_, id)| *id);
    if let (Some((token, id)), Some(rows)) = (&largest, embeddings)
        && *id as usize >= rows
    {
        faults.push(format!(
            "token {id} ({token:?}) has no row: the embeddings have {rows}"
        ));
    }
    // Each of these names the end of a text; a trainer that reads another one never stops.
    let named = |value: Option<&Value>| {
        let value = value?;
        let text = value.as_str().or_else(|| value["content"].as_str());
        text.map(str::to_owned)
    };
    let generation = fs::read(model.join("generation_config.json")).ok();
    let generation: Option<Value> = generation.and_then(|text| serde_json::from_slice(&text).ok());
    let ids = |config: Option<&Value>| -> Vec<u64> {
        match config.map(|config| &config["eos_token_id"]) {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
            Some(id) => id.as_u64().into_iter().collect(),
            None => Vec::new(),
        }
    };
    let ends: Vec<u64> = ids(config)
        .into_iter()
        .chain(ids(generation.as_ref()))
        .collect();
    let eos = named(settings.map(|settings| &settings["eos_token"]));
    match &eos {
        None => faults.push("tokenizer_config.json names no eos_token".into()),
        Some(eos) => match tokenizer.token_to_id(eos) {
            None => faults.push(format!("eos_token {eos:?} is no token of tokenizer.json")),
            Some(id) if !ends.is_empty() && !ends.contains(&u64::from(id)) => faults.push(format!(
                "eos_token {eos:?} is token {id}, but the model's eos_token_id is {ends:?}"
            )),
            Some(_) => {}
        },
    }
    for (key, id) in ends.iter().map(|id| ("eos_token_id", *id)) {
        if tokenizer.id_to_token(id as u32).is_none() {
            faults.push(format!("{key} {id} is no token of tokenizer.json"));
        }
    }
    let added = settings.and_then(|settings| settings["added_tokens_decoder"].as_object());
    for (id, token) in added.into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default();
        let found = tokenizer.token_to_id(content);
        if found.map(u64::from) != id.parse().ok() {
            faults.push(format!(
                "tokenizer_config.json says {content:?} is token {id}, tokenizer.json says {found:?}"
            ));
        }
    }
    match faults.is_empty() {
        true => verified.add(
            "vocabulary",
            State::Pass,
            "fits the embeddings and both configurations",
        ),
        false => verified.add("vocabulary", State::Fail, faults.join("; ")),
    }
}

/// The template's text: `chat_template.jinja`, else in `tokenizer_config.json`.
pub(super) fn chat_template(model: &Path, settings: Option<&Value>) -> Option<String> {
    if let Ok(text) = fs::read_to_string(model.join("chat_template.jinja")) {
        return Some(text);
    }
    match settings.map(|settings| &settings["chat_template"]) {
        Some(Value::String(text)) => Some(text.clone()),
        // Several, by name.
        Some(Value::Array(templates)) => templates
            .iter()
            .find(|template| template["name"] == "default")
            .and_then(|template| Some(template["template"].as_str()?.to_owned())),
        _ => None,
    }
}

/// transformers' `{% generation %}` marks what is trained on, and prints nothing of its own.
fn without_masks(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let tag = after.split_once("%}").map_or(after, |(tag, _)| tag);
        out.push_str(&match tag.trim_matches(['-', '+', ' ', '\n', '\t']) {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        });
        rest = &after[tag.len()..];
    }
    out + rest
}

/// Renders it as transformers does.
pub(super) fn render(
    template: &str,
    settings: Option<&Value>,
    messages: &Value,
    add_generation_prompt: bool,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function(
        "raise_exception",
        |text: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        },
    );
    // A fixed day: what is rendered here is only looked at.
    environment.add_function("strftime_now", |_: String| "2025-01-01");
    let template = without_masks(template);
    environment.add_template("chat", &template)?;
    let token = |name: &str| {
        let value = settings.map(|settings| &settings[name])?;
        let text = value.as_str().or_else(|| value["content"].as_str());
        text.map(str::to_owned)
    };
    environment.get_template("chat")?.render(context! {
        messages => Serde(messages),
        add_generation_prompt,
        bos_token => token("bos_token").unwrap_or_default(),
        eos_token => token("eos_token").unwrap_or_default(),
        pad_token => token("pad_token").unwrap_or_default(),
        unk_token => token("unk_token").unwrap_or_default(),
    })
}

fn template(model: &Path, settings: Option<&Value>, verified: &mut Verified) {
    let Some(template) = chat_template(model, settings) else {
        verified.add(
            "chat_template",
            State::Fail,
            "neither chat_template.jinja nor tokenizer_config.json has one; chat requests will be refused",
        );
        return;
    };
    let question = "What is 1 + 1? codejury-question";
    let messages = json!([{"role": "user", "content": question}]);
    let longer = json!([
        {"role": "system", "content": "codejury-system"},
        {"role": "user", "content": question},
        {"role": "assistant", "content": "codejury-answer"},
        {"role": "user", "content": "codejury-again"},
    ]);
    let rendered = |messages: &Value, open: bool| render(&template, settings, messages, open);
    let (state, detail) = match rendered(&messages, true) {
        Err(error) => (State::Fail, format!("it does not render: {error}")),
        Ok(text) if !text.contains(question) => (
            State::Fail,
            format!("the question is not in what it renders: {text:?}"),
        ),
        Ok(text) => match rendered(&longer, true) {
            Ok(longer)
                if !longer.contains("codejury-answer") || !longer.contains("codejury-again") =>
            {
                (
                    State::Fail,
                    "of a longer conversation it leaves messages out".to_owned(),
                )
            }
            // Some allow no system message, and say so.
            Err(error) => (
                State::Caution,
                format!("a longer conversation with a system message does not render: {error}"),
            ),
            // Some families have nothing that opens an answer; where there is, a model that was
            // trained with it goes on with the question instead.
            Ok(_) if rendered(&messages, false).is_ok_and(|closed| closed == text) => (
                State::Caution,
                format!(
                    "renders, but nothing opens the answer: add_generation_prompt changes nothing; ends with {:?}",
                    ending(&text)
                ),
            ),
            Ok(_) => (
                State::Pass,
                format!("renders; ends with {:?}", ending(&text)),
            ),
        },
    };
    verified.add("chat_template", state, detail);
}

/// The last line, which is what the model goes on from.
fn ending(text: &str) -> &str {
    let body = text.trim_end_matches('\n');
    let start = body.rfind('\n').map_or(0, |at| at + 1);
    &text[start..]
}
