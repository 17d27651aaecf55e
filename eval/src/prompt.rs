//! From a problem to what the model is asked.
//!
//! A template is a text file in which `{{ prompt }}`, `{{ tests }}`, `{{ entry_point }}`,
//! `{{ problem_id }}` and `{{ examples }}` stand for the problem (the language is Jinja's). A last
//! line break of the file is not part of the prompt, except before a completion: a model goes on
//! from exactly what the dataset says.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use judge::{Problem, Suite};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{DatasetConfig, Style, nearest};
use crate::dataset::{Dataset, hex};
use crate::error::EvalError;

/// The templates that come with the program.
const BUNDLED: [(&str, &str); 6] = [
    ("competition", include_str!("../prompts/competition.txt")),
    ("plain", include_str!("../prompts/plain.txt")),
    (
        "mbpp_few_shot",
        include_str!("../prompts/mbpp_few_shot.txt"),
    ),
    ("mbpp_chat", include_str!("../prompts/mbpp_chat.txt")),
    (
        "humaneval_completion",
        include_str!("../prompts/humaneval_completion.txt"),
    ),
    (
        "humaneval_chat",
        include_str!("../prompts/humaneval_chat.txt"),
    ),
];

/// One line of `prompts/<dataset>.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptRow {
    /// Names the version of the row.
    pub schema: String,
    /// The problem.
    pub problem_id: String,
    /// The endpoint it is for: `chat` (as one user message) or `completion`.
    pub style: String,
    /// The text.
    pub prompt: String,
}

impl PromptRow {
    /// The version that is written.
    pub const SCHEMA: &str = "codejury.prompt/1";
}

/// Makes the prompts of one dataset.
#[derive(Debug)]
pub struct Prompter {
    environment: Environment<'static>,
    examples: Arc<[Example]>,
    style: Style,
    /// sha256 of the template.
    hash: String,
    /// The template's text, for the hand-off.
    text: String,
}

/// A solved problem that a few-shot template shows.
#[derive(Clone, Debug, Serialize)]
struct Example {
    prompt: String,
    tests: Vec<String>,
    code: String,
}

impl Prompter {
    /// Reads the template, and the problems it shows from the dataset.
    ///
    /// # Errors
    ///
    /// There is no such template, it cannot be read, or a problem it shows is missing or has no
    /// solution.
    pub fn new(config: &DatasetConfig, dataset: &Dataset) -> Result<Self, EvalError> {
        let text = template(&config.prompt)?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .keep_trailing_newline(config.style == Style::Completion)
            .build();
        environment.set_syntax(syntax.expect("the usual delimiters"));
        let body = match config.style {
            // The file ends in a line break, as text files do; the prompt need not.
            Style::Completion => text.strip_suffix('\n').unwrap_or(&text).to_owned(),
            Style::Chat => text.clone(),
        };
        environment
            .add_template_owned("prompt", body)
            .map_err(|error| {
                EvalError::invalid(format!("template {:?}: {error:#}", config.prompt))
            })?;
        let examples = examples(config, dataset)?;
        let mut hash = Sha256::new();
        hash.update(&text);
        for example in &examples {
            hash.update(serde_json::to_vec(example).expect("texts"));
        }
        Ok(Self {
            environment,
            examples: examples.into(),
            style: config.style,
            hash: hex(&hash.finalize()),
            text,
        })
    }

    /// What tells this template, with the problems it shows, from every other.
    pub fn sha256(&self) -> &str {
        &self.hash
    }

    /// The template as it was read.
    pub fn template(&self) -> &str {
        &self.text
    }

    /// The prompt for one problem.
    ///
    /// # Errors
    ///
    /// The template asks for what there is not.
    pub fn row(&self, problem: &Problem) -> Result<PromptRow, EvalError> {
        let (tests, entry_point) = shown(problem);
        let template = self.environment.get_template("prompt").expect("added");
        let prompt = template
            .render(context! {
                prompt => statement(problem),
                tests => tests,
                entry_point => entry_point,
                problem_id => problem.problem_id.clone(),
                examples => Serde(&*self.examples),
            })
            .map_err(|error| {
                EvalError::invalid(format!(
                    "the prompt template fails for {:?}: {error:#}",
                    problem.problem_id
                ))
            })?;
        Ok(PromptRow {
            schema: PromptRow::SCHEMA.into(),
            problem_id: problem.problem_id.clone(),
            style: match self.style {
                Style::Chat => "chat".into(),
                Style::Completion => "completion".into(),
            },
            prompt,
        })
    }
}

/// MBPP's statements end in blanks here and there; HumanEval's prompts are code and stay.
fn statement(problem: &Problem) -> &str {
    match problem.suite {
        Suite::Check { .. } => &problem.prompt,
        _ => problem.prompt.trim(),
    }
}

fn shown(problem: &Problem) -> (Vec<String>, Option<String>) {
    match &problem.suite {
        Suite::Asserts {
            tests, entry_point, ..
        } => (
            tests.iter().map(|test| test.trim().to_owned()).collect(),
            entry_point.clone(),
        ),
        Suite::Check { entry_point, .. } | Suite::Call { entry_point, .. } => {
            (Vec::new(), Some(entry_point.clone()))
        }
        Suite::Stdio { .. } => (Vec::new(), None),
    }
}

fn template(name: &str) -> Result<String, EvalError> {
    if let Some((_, text)) = BUNDLED.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    let path = Path::new(name);
    if name.contains(['/', '.']) || path.exists() {
        return fs::read_to_string(path).map_err(EvalError::read(path));
    }
    let near = nearest(name, BUNDLED.iter().map(|(name, _)| *name));
    let known: Vec<&str> = BUNDLED.iter().map(|(name, _)| *name).collect();
    Err(
        EvalError::invalid(format!("there is no prompt template {name:?}{near}")).hint(format!(
            "bundled: {}; a file has a dot or slash in its name",
            known.join(", ")
        )),
    )
}

fn examples(config: &DatasetConfig, dataset: &Dataset) -> Result<Vec<Example>, EvalError> {
    if config.few_shot.is_empty() {
        return Ok(Vec::new());
    }
    // They are solved problems outside the selection, in the same files.
    let everything = dataset.unselected().with_references();
    let mut found = vec![None; config.few_shot.len()];
    for problem in everything.problems() {
        let problem = problem?;
        if let Some(at) = config
            .few_shot
            .iter()
            .position(|id| *id == problem.problem_id)
        {
            let (tests, _) = shown(&problem);
            let code = problem.references.first().cloned().ok_or_else(|| {
                EvalError::invalid(format!(
                    "few_shot problem {:?} has no solution",
                    config.few_shot[at]
                ))
            })?;
            found[at] = Some(Example {
                prompt: statement(&problem).to_owned(),
                tests,
                code: code.replace("\r\n", "\n").trim_end().to_owned(),
            });
        }
    }
    found
        .into_iter()
        .zip(&config.few_shot)
        .map(|(example, id)| {
            example.ok_or_else(|| {
                EvalError::invalid(format!(
                    "dataset {:?} has no problem {id:?} for few_shot",
                    dataset.slug()
                ))
                .hint(
                    "the prompt shows solved problems of the same file; `few_shot = []` shows none",
                )
            })
        })
        .collect()
}
