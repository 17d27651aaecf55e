//! What a model is asked. The structure is the contract's; instructions are in our own words.

use serde_json::{Value, json};

use super::rows::{Row, column, id_of, object, text, texts};
use super::{Class, Fault, TestConfig};

/// One prompt: `{"id", "prompt", "labels"}`.
pub(super) fn prompt(
    class: Class,
    dataset: &str,
    config: &TestConfig,
    row: &Row,
) -> Result<Value, Fault> {
    let chinese = config.locale.as_deref() == Some("zh");
    let labels = || object(row, "labels", false).map(Value::Object);
    let (prompt, labels) = match class {
        Class::CommonOj => {
            let asked = stdio_instruction(config.language.map(|l| l.name()), chinese);
            (format!("{}\n\n{asked}", text(row, "content")?), labels()?)
        }
        Class::HumanEval => {
            let mut labels = row.clone();
            labels.shift_remove("prompt");
            let prompt = text(row, "prompt")?;
            (freeform(prompt, dataset, config), Value::Object(labels))
        }
        Class::HumanEvalOld | Class::EvoEval => {
            (freeform(text(row, "content")?, dataset, config), labels()?)
        }
        Class::Mbpp => (mbpp(row, config.is_fewshot)?, labels()?),
        Class::Mhpp => {
            let content = text(row, "content")?;
            let head = content.rfind("\"\"\"").map_or(content, |at| &content[..at]);
            let example = text(row, "test")?.split('\n').next().unwrap_or_default();
            (format!("{head}\n    e.g. {example} \"\"\""), labels()?)
        }
        Class::CruxEval => {
            let mode = config.extra.get("mode").and_then(Value::as_str);
            let mode = mode.unwrap_or("output");
            (cruxeval(row, mode)?, json!({ "mode": mode }))
        }
        Class::LiveCodeBench | Class::AutoEval | Class::Mbxp | Class::NotServed => {
            (text(row, "content")?.to_owned(), labels()?)
        }
    };
    Ok(json!({ "id": id_of(row), "prompt": prompt, "labels": labels }))
}

fn stdio_instruction(language: Option<&str>, chinese: bool) -> String {
    let name = match language.unwrap_or("python") {
        "python" => "Python",
        "cpp" => "C++",
        "java" => "Java",
        "nodejs" => "JavaScript (Node.js)",
        other => other,
    };
    let entry = match (name, chinese) {
        ("Java", false) => ", in a public class called Main",
        ("Java", true) => "，写在名为 Main 的公共类里",
        ("C++", false) => ", with a main function",
        ("C++", true) => "，包含 main 函数",
        _ => "",
    };
    if chinese {
        format!(
            "请用 {name} 写一个可以直接运行的完整程序{entry}：从标准输入读入，向标准输出打印答案。"
        )
    } else {
        format!(
            "Write a complete {name} program{entry} that reads its input from stdin and prints its answer to stdout."
        )
    }
}

/// In freeform mode the prompt stands in a fence, with an instruction below.
fn freeform(prompt: &str, dataset: &str, config: &TestConfig) -> String {
    if !config.flag("is_freeform") {
        return prompt.to_owned();
    }
    let language = super::submit::language_of(dataset, config);
    let asked = if config.locale.as_deref() == Some("zh") {
        "请按文档字符串补全上面的代码，给出完整代码，并放在一个 Markdown 代码块里。"
    } else {
        "Finish the code above as its docstring asks, and give the whole code in one Markdown code block."
    };
    format!("```{language}\n{prompt}\n```\n\n{asked}")
}

/// The usual few-shot layout of MBPP, with its tasks 2, 3 and 4 as worked examples.
fn mbpp(row: &Row, few_shot: bool) -> Result<String, Fault> {
    let ask = |content: &str, tests: &[String]| {
        format!(
            "Task for an experienced Python programmer: {content} These tests must pass:\n\n{}",
            tests.join("\n")
        )
    };
    let content = text(row, "content")?;
    let tests = texts(row, "test_list")?;
    if !few_shot {
        return Ok(ask(content, &tests));
    }
    let examples = [
        (
            "Write a function to find the similar elements from the given two tuple lists.",
            "assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)",
            "def similar_elements(test_tup1, test_tup2):\n  res = tuple(set(test_tup1) & set(test_tup2))\n  return (res)",
        ),
        (
            "Write a python function to identify non-prime numbers.",
            "assert is_not_prime(2) == False",
            "def is_not_prime(n):\n    return any(n % i == 0 for i in range(2, int(n ** 0.5) + 1))",
        ),
        (
            "Write a function to find the largest integers from a given list of numbers using heap queue algorithm.",
            "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65]",
            "import heapq as hq\ndef heap_queue_largest(nums,n):\n  return hq.nlargest(n, nums)",
        ),
    ];
    let mut prompt = String::new();
    for (content, test, solution) in examples {
        prompt += &ask(content, &[test.to_owned()]);
        prompt += &format!("\n[BEGIN]\n{solution}\n[DONE]\n");
    }
    prompt += &ask(content, &tests[..tests.len().min(2)]);
    Ok(prompt + "\n[BEGIN]\n")
}

fn cruxeval(row: &Row, mode: &str) -> Result<String, Fault> {
    let code = text(row, "code")?;
    let plain = |name| -> Result<String, Fault> {
        Ok(match column(row, name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    Ok(if mode == "input" {
        format!(
            "Find an input for which the function below gives the output shown. Answer with the whole assertion between [ANSWER] and [/ANSWER].\n\n[PYTHON]\n{code}\nassert f(??) == {}\n[/PYTHON]\n[ANSWER]\n",
            plain("output")?
        )
    } else {
        format!(
            "Complete the assertion with what the function below returns, as a literal. Answer with the whole assertion between [ANSWER] and [/ANSWER].\n\n[PYTHON]\n{code}\nassert f({}) == ??\n[/PYTHON]\n[ANSWER]\n",
            plain("input")?
        )
    })
}
