//! Finding the code in a completion, by the contract's exact rules. They differ from
//! `eval::extract`, which is what everything native uses: here the *first* block wins.

use std::sync::LazyLock;

use regex::Regex;

/// A candidate for the code of a completion.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct CodeBlock {
    /// The highest one present wins.
    pub(crate) priority: i64,
    /// A name of `ALIASES`, or "".
    pub(crate) language: String,
    pub(crate) code: String,
}

const FENCED: i64 = 30;
const INCOMPLETE: i64 = 20;
const HEURISTIC: i64 = 10;

/// How a block was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Extracted {
    Fenced,
    IncompleteFenced,
    Heuristic,
    Empty,
}

/// What a fence may call a language; anything else is no language.
const ALIASES: [(&str, &[&str]); 22] = [
    (
        "python",
        &["python", "Python", "py", "Python3", "python3", "PY"],
    ),
    ("cpp", &["cpp", "c++", "C++", "Cpp", "CPP"]),
    ("javascript", &["javascript", "Javascript", "JavaScript"]),
    ("nodejs", &["JS", "js"]),
    ("go", &["go", "Go"]),
    ("java", &["java", "Java"]),
    ("php", &["php", "PHP"]),
    ("csharp", &["csharp", "c#", "C#"]),
    ("bash", &["bash", "Bash", "BASH", "sh", "shell"]),
    ("typescript", &["typescript"]),
    ("sql", &["sql", "SQL", "Sql"]),
    ("D", &["D", "d"]),
    ("julia", &["julia", "Julia", "jl"]),
    ("lua", &["lua", "Lua"]),
    ("perl", &["perl", "Perl", "PERL"]),
    ("R", &["R", "r"]),
    ("ruby", &["ruby", "Ruby"]),
    ("rust", &["rust", "Rust", "rs"]),
    ("scala", &["scala", "Scala"]),
    ("kotlin", &["kotlin", "Kotlin"]),
    ("verilog", &["verilog", "Verilog", "VERILOG"]),
    ("swift", &["swift"]),
];

fn language_of(info: &str) -> String {
    let info = strip(info);
    ALIASES
        .iter()
        .find(|(_, aliases)| aliases.contains(&info))
        .map_or_else(String::new, |(name, _)| (*name).to_owned())
}

/// White space as Python counts it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.strip()`
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn pattern(text: &'static str) -> Regex {
    Regex::new(text).expect("patterns of ours are valid")
}

/// Complete fenced blocks, in order.
pub(crate) fn fenced(text: &str) -> Vec<CodeBlock> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?s)```([^\n]*)\n(.*?)\n[\s\x1c-\x1f]*```"));
    blocks(&PATTERN, text, FENCED)
}

/// The first fence that is opened, and everything after it.
fn incomplete(text: &str) -> Vec<CodeBlock> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```([^\n]*)\n(.*)"));
    blocks(&PATTERN, text, INCOMPLETE)
}

fn blocks(pattern: &Regex, text: &str, priority: i64) -> Vec<CodeBlock> {
    pattern
        .captures_iter(text)
        .map(|found| CodeBlock {
            priority,
            language: language_of(&found[1]),
            code: found[2].to_owned(),
        })
        .collect()
}

/// Text that looks like code of the language, without any fence.
fn heuristic(text: &str, language: &str) -> Vec<CodeBlock> {
    static PYTHON: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?m)(?:^(?:import|from|#)[^\n]+\n)*^(?:def|class) [^\n]+\n(?:[\s\x1c-\x1f]+[^\n]+\n)+",
        )
    });
    static SQL: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?mi)^\s*(?:select|with\s[^\n]+as)[^;]*"));
    let lines: Vec<&str> = text
        .split('\n')
        .filter(|line| !strip(line).is_empty())
        .collect();
    let dense = lines.join("\n") + "\n";
    let all = |pattern: &Regex| -> Vec<String> {
        pattern
            .find_iter(&dense)
            .map(|found| found.as_str().to_owned())
            .collect()
    };
    let codes = match language {
        "python" => all(&PYTHON),
        "sql" => all(&SQL),
        "bash" => vec![dense],
        _ => Vec::new(),
    };
    let block = |code| CodeBlock {
        priority: HEURISTIC,
        language: language.to_owned(),
        code,
    };
    codes.into_iter().map(block).collect()
}

/// The rule of CommonOJ, LiveCodeBench, HumanEval's freeform mode, AutoEval and MHPP. `custom` are
/// the blocks that a request's own logic found.
pub(crate) fn by_priority(text: &str, language: &str, custom: Vec<CodeBlock>) -> String {
    let mut found = fenced(text);
    found.extend(heuristic(text, language));
    found.extend(incomplete(text));
    found.extend(custom);
    let Some(highest) = found.iter().map(|block| block.priority).max() else {
        return String::new();
    };
    found.retain(|block| block.priority == highest);
    let wanted = found.iter().position(|block| block.language == language);
    found.swap_remove(wanted.unwrap_or(0)).code
}

/// The rule of MBPP, EvoEval and other HumanEval data sets: the first block only, cut before a main
/// guard or an example.
pub(crate) fn freeform(text: &str, language: &str) -> (String, Extracted) {
    let (found, how) = first_kind(fenced(text), text, language);
    let first = found.into_iter().next();
    let mut code = first.map_or_else(String::new, |block| block.code.replace('\r', ""));
    let cut = match language {
        "python" => Some("if __name__ == \"__main__\":"),
        "cpp" => Some("int main()"),
        _ => None,
    };
    if let Some(at) = cut.and_then(|cut| code.find(cut)) {
        code = strip(&code[..at]).to_owned();
    }
    if language == "go" {
        code = code.replace("package main", "");
    }
    (before_example(code), how)
}

/// The rule of the MBXP family: like [`freeform`], with repairs of odd fences, only blocks of the
/// wanted language, and a main guard in any spelling.
pub(crate) fn freeform_v2(text: &str, language: &str) -> (String, Extracted) {
    let text = text.replace("```\n```", "```");
    let aliases = ALIASES
        .iter()
        .find(|(name, _)| *name == language)
        .map_or(&[][..], |(_, aliases)| *aliases);
    let mut complete = fenced(&text);
    for block in &mut complete {
        let (first, rest) = block.code.split_once('\n').unwrap_or((&block.code, ""));
        if block.language.is_empty() && aliases.contains(&strip(first)) {
            let rest = rest.to_owned();
            block.language = language.to_owned();
            block.code = rest;
        }
    }
    complete.retain(|block| aliases.contains(&block.language.as_str()));
    let (found, how) = first_kind(complete, &text, language);
    let first = found.into_iter().next();
    let mut code = first.map_or_else(String::new, |block| block.code.replace('\r', ""));
    match language {
        "python" => {
            let kept: Vec<&str> = code
                .lines()
                .take_while(|line| !(line.contains("__name__") && line.contains("__main__")))
                .collect();
            code = kept.join("\n");
        }
        "cpp" => {
            if let Some(at) = code.find("int main()") {
                code = strip(&code[..at]).to_owned();
            }
        }
        _ => {}
    }
    (before_example(code), how)
}

fn first_kind(complete: Vec<CodeBlock>, text: &str, language: &str) -> (Vec<CodeBlock>, Extracted) {
    if !complete.is_empty() {
        return (complete, Extracted::Fenced);
    }
    let open = incomplete(text);
    if !open.is_empty() {
        return (open, Extracted::IncompleteFenced);
    }
    let guessed = heuristic(text, language);
    if guessed.is_empty() {
        (guessed, Extracted::Empty)
    } else {
        (guessed, Extracted::Heuristic)
    }
}

fn before_example(code: String) -> String {
    match code.find("# Example usage") {
        Some(at) => strip(&code[..at]).to_owned(),
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(text: &str) -> String {
        by_priority(text, "python", Vec::new())
    }

    #[test]
    fn the_first_block_of_the_language_wins_then_the_first_of_any() {
        assert_eq!(
            python("a\n```python\nx = 1\n```\n```python\nx = 2\n```"),
            "x = 1"
        );
        assert_eq!(python("```\nany\n```\n```py\nx = 2\n```"), "x = 2");
        assert_eq!(python("```\nany\n```\n```PYTHON\nx = 2\n```"), "any");
        assert_eq!(python("```python title=x\na\n```"), "a");
        assert_eq!(python("no code at all"), "");
    }

    #[test]
    fn fences_are_read_to_the_letter() {
        // Code glued to the closing fence does not count, an empty block does not match, blank
        // lines before the fence are swallowed, an opening fence may stand anywhere.
        assert_eq!(python("```python\nx = 1```"), "x = 1```");
        assert_eq!(python("```python\n```\nrest"), "```\nrest");
        assert_eq!(python("```python\nx = 1\n\n  \n```"), "x = 1");
        assert_eq!(python("see ```python\nx = 1\n```"), "x = 1");
        assert_eq!(python("```python\n  x = 1\n```"), "  x = 1");
        assert_eq!(python("```python\nx = 1\ny"), "x = 1\ny");
    }

    #[test]
    fn without_a_fence_definitions_are_looked_for() {
        let text =
            "Sure!\nimport os\n\ndef f(x):\n\n    return x\nThat is it.\nclass A:\n    pass\n";
        assert_eq!(python(text), "import os\ndef f(x):\n    return x\n");
        assert_eq!(by_priority("echo\n\nx", "bash", Vec::new()), "echo\nx\n");
    }

    #[test]
    fn custom_blocks_have_a_priority_of_their_own() {
        let block = |priority, code: &str| CodeBlock {
            priority,
            language: "python".into(),
            code: code.into(),
        };
        let text = "```python\nfenced\n```";
        assert_eq!(by_priority(text, "python", vec![block(40, "own")]), "own");
        assert_eq!(by_priority(text, "python", vec![block(5, "own")]), "fenced");
    }

    #[test]
    fn freeform_cuts_and_names_how_it_found_the_code() {
        let text = "```python\ndef f():\r\n    pass\nif __name__ == \"__main__\":\n    f()\n```";
        assert_eq!(
            freeform(text, "python"),
            ("def f():\n    pass".into(), Extracted::Fenced)
        );
        assert_eq!(freeform("```\na\n# Example usage\nb\n```", "python").0, "a");
        assert_eq!(freeform("```\na", "python").1, Extracted::IncompleteFenced);
        assert_eq!(
            freeform("prose", "python"),
            (String::new(), Extracted::Empty)
        );
        let text = "```\n```python\nx\nif '__main__' == __name__:\n    y\n```";
        assert_eq!(freeform_v2(text, "python").0, "x");
        assert_eq!(freeform_v2("```\npython\nx = 1\n```", "python").0, "x = 1");
    }
}
