#!/usr/bin/env python3
"""Checks expected.jsonl against the programs themselves, without codejury.

    PYTHON verify.py

runs every reference and every recorded completion under PYTHON (CPython 3.8 or newer, on Linux)
with plain resource limits, decides each verdict anew and compares it with expected.jsonl. Exit
status 1 if a reference fails or a verdict differs.

This is a second reading of the judging rules, just large enough for this suite and written to be
compared with, not used: there is no sandbox here, and a completion that wanted to could forge its
results. Only run it on the programs of this folder. Needs `prlimit` (util-linux).
"""

import ast
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from base64 import b64decode

HERE = Path(__file__).resolve().parent
WORKERS = 2
MIB = 1024 * 1024
INTERPRETER_BYTES = 64 * MIB  # what a bare interpreter maps, generously: the limit counts from there
DEFAULT_LIMITS = {"wall_time_ms": 30000, "memory_bytes": 1024 * MIB, "stdout_bytes": 16 * MIB}
SUCCESS = ("success", None)


def main():
    warnings.simplefilter("ignore")
    problems = {row["problem_id"]: row for row in rows("problems.jsonl")}
    expected = {(row["problem_id"], row["sample"]): row for row in rows("expected.jsonl")}
    tasks = []
    for row in problems.values():
        tasks.append(({**row, "name": "reference", "source": row["reference"]}, None))
    for row in rows("completions.jsonl"):
        key = (row["problem_id"], row["sample"])
        tasks.append(({**row, "name": f"sample {row['sample']}"}, expected.pop(key)))
    if expected:
        sys.exit(f"verdicts without a completion: {sorted(expected)}")

    failures = 0
    seen = Counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = pool.map(lambda task: judge(problems[task[0]["problem_id"]], task[0]), tasks)
        for (answer, want), (error_type, subtype, ratio) in zip(tasks, verdicts):
            got = (error_type, subtype, ratio)
            wanted = (*SUCCESS, 1.0)
            if want:
                wanted = (want["error_type"], want["error_subtype"], want["pass_ratio"])
                seen[f"{error_type}/{subtype}" if subtype else error_type] += 1
            if got != wanted:
                failures += 1
                print(f"{answer['problem_id']} {answer['name']}: expected {wanted}, got {got}")
    for name, count in sorted(seen.items()):
        print(f"{count:4} {name}")
    print(f"Python {sys.version.split()[0]}: {len(tasks)} programs, {failures} not as expected")
    sys.exit(failures > 0)


def rows(name):
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def judge(problem, answer):
    """(error_type, error_subtype, pass_ratio) of one answer."""
    source = answer.get("source")
    if source is None:
        source = extract(answer["completion"].replace("\r\n", "\n"))
        if not source.strip():
            return "syntax_error", "no_code", 0.0
    if problem["kind"] == "check":
        source = join_prompt(problem, source)
    try:
        compile(source, "main.py", "exec", dont_inherit=True)
    except Exception as error:
        return "syntax_error", type(error).__name__, 0.0

    judge_kind = {"stdio": judge_stdio, "checker": judge_stdio, "call": judge_calls}
    results = judge_kind.get(problem["kind"], judge_function)(problem, source)
    error_type, subtype = next((result for result in results if result != SUCCESS), SUCCESS)
    return error_type, subtype, results.count(SUCCESS) / len(results)


# From completion to source


def extract(text):
    if text.startswith("<think>"):
        text = text.partition("</think>")[2]
    between = re.search(r"\[BEGIN\]\n(.*?)\[DONE\]", text, re.DOTALL)
    if between:
        return between[1]
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    python = [code for tag, code in fences if tag in ("python", "py", "python3")]
    if fences:
        return python[-1] if python else fences[-1][1]
    open_fence = re.search(r"^```\w*\n", text, re.MULTILINE)
    return text[open_fence.end():] if open_fence else text


def join_prompt(problem, source):
    """HumanEval's form. A later definition wins, so a whole function may follow the prompt too."""
    try:
        names = [getattr(node, "name", None) for node in ast.parse(source).body]
        compile(source, "main.py", "exec", dont_inherit=True)
    except SyntaxError:
        names = []
    return problem["prompt"] + ("\n" if problem["entry_point"] in names else "") + source


# Kinds


def judge_stdio(problem, source):
    results = []
    for case in problem["tests"]:
        stdin, expected = (
            b64decode(case[name + "_b64"]) if name + "_b64" in case else case[name].encode()
            for name in ("stdin", "expected")
        )
        timeouts = [result for result in results if result[0] == "timeout"]
        if len(timeouts) == 3:
            results.append(("skipped", None))
            continue
        end = run(problem, {"main.py": source}, ["main.py"], stdin)
        results.append(end.failure() or judge_output(problem, stdin, expected, end.stdout))
    return results


def judge_output(problem, stdin, expected, stdout):
    if problem["kind"] == "checker":
        checker = problem["checker"]["source"]
        files = {"checker.py": checker, "in": stdin, "out": stdout, "ans": expected}
        end = run({}, files, ["checker.py", "in", "out", "ans"], b"")
        assert end.status in (0, 1) and b"Traceback" not in end.stderr, end.stderr
        right = end.status == 0
    else:
        right = same(problem.get("compare", "tokens"), expected, stdout)
    return SUCCESS if right else ("wrong_answer", "wrong_output" if stdout.strip() else "no_output")


def same(mode, expected, actual):
    if mode == "exact":
        return expected == actual
    if mode == "lines":
        return trimmed_lines(expected) == trimmed_lines(actual)
    if mode == "tokens":
        return expected.split() == actual.split()
    if mode == "codecontests":
        return numbers_close(expected.lower(), actual.lower(), lambda diff, _: diff < 1e-5)
    absolute, relative = map(float, re.fullmatch(r"float\((.*),(.*)\)", mode).groups())
    return numbers_close(expected, actual, lambda diff, size: diff <= max(absolute, relative * size))


def trimmed_lines(text):
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def numbers_close(expected, actual, close):
    def token_close(a, b):
        if a == b:
            return True
        if re.fullmatch(rb"[+-]?\d+", a) and re.fullmatch(rb"[+-]?\d+", b):
            return int(a) == int(b)
        number = rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
        if not re.fullmatch(number, a) or not re.fullmatch(number, b):
            return False
        return close(abs(float(a) - float(b)), abs(float(a)))

    left, right = expected.split(), actual.split()
    return len(left) == len(right) and all(map(token_close, left, right))


# Runs after the candidate in one process. Each test's result goes to `results` as a line of its
# own, so that what ran before a sudden end is known.
HARNESS = '''
import json, sys, traceback

job = json.load(open("job.json"))
results = open("results", "a")
steps = iter(job["steps"])

def report(result):
    results.write(json.dumps(result) + "\\n")
    results.flush()

class Forged(BaseException):
    pass

def guarded(function):
    def candidate(*arguments):
        value = function(*arguments)
        if hasattr(type(value).__eq__, "__code__"):  # written in Python, so not a builtin's
            raise Forged
        return value
    return candidate

def describe(error):
    if isinstance(error, Forged):
        return ["wrong_answer", "forged_value"]
    if isinstance(error, SystemExit):
        return ["wrong_answer", "early_exit"] if error.code in (None, 0) else ["runtime_error", "nonzero_exit"]
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    if isinstance(error, AssertionError) and innermost == "test":
        return ["wrong_answer", "assertion"]
    if isinstance(error, MemoryError):
        return ["runtime_error", "memory_limit"]
    return ["runtime_error", type(error).__name__]

module = {"__name__": "candidate"}
try:
    exec(compile(job["source"], "candidate", "exec"), module)
    if job["guard"] in module:
        module[job["guard"]] = guarded(module[job["guard"]])
    exec(compile(job["setup"], "test", "exec"), module)
except BaseException as error:
    for step in steps:
        report(describe(error))
for step in steps:
    try:
        exec(compile(step, "test", "exec"), module)
        report(["success", None])
    except BaseException as error:
        report(describe(error))
'''


def judge_function(problem, source):
    if problem["kind"] == "check":
        setup, steps = problem["test"], [f"check({problem['entry_point']})"]
    else:
        setup, steps = problem["setup"], problem["tests"]
    end = run_harness(problem, source, setup, steps, guard=problem.get("entry_point"))
    results = [tuple(json.loads(line)) for line in end.files["results"].splitlines()]
    if len(results) < len(steps):
        results.append(end.failure() or ("wrong_answer", "early_exit"))
    return results + [("skipped", None)] * (len(steps) - len(results))


WRITE_VALUE = """
try:
    text = json.dumps(value)
except TypeError:
    text = 'none'
with open('value', 'w') as file:
    file.write(text)
"""


def judge_calls(problem, source):
    """One run for each case, which puts its result where we can read it."""
    name = problem["entry_point"]
    results = []
    for case in problem["tests"]:
        setup = f"import json\nfunction = Solution().{name} if 'Solution' in globals() else {name}\n"
        call = f"value = function(*json.loads({json.dumps(json.dumps(case['args']))}))"
        end = run_harness(problem, source, setup, [call, WRITE_VALUE])
        called = tuple(json.loads(end.files["results"].splitlines()[0]))
        if called != SUCCESS:
            results.append(called)
        elif end.files["value"] == b"none":
            results.append(("wrong_answer", "unserialisable"))
        else:
            right = json.loads(end.files["value"]) == case["expected"]
            results.append(SUCCESS if right else ("wrong_answer", "wrong_output"))
    return results


def run_harness(problem, source, setup, steps, guard=None):
    job = json.dumps({"source": source, "setup": setup, "steps": steps, "guard": guard})
    files = {"harness.py": HARNESS, "job.json": job, "results": "", "value": ""}
    return run(problem, files, ["harness.py"], b"")


# Runs


class End:
    """How one process ended, and what it left."""

    def __init__(self, status, stdout, stderr, killed, files):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.killed = killed  # the limit for which we killed it, if we did
        self.files = files

    def failure(self):
        """(error_type, error_subtype), or None for a process that ended with status 0."""
        if self.killed:
            return self.killed
        if self.status == -signal.SIGXCPU:
            return "timeout", "cpu"
        if self.status < 0:
            return "runtime_error", "signal:" + signal.Signals(-self.status).name
        if self.status == 0:
            return None
        last = self.stderr.decode().strip().rpartition("\n")[2]
        name = re.match(r"([\w.]+)(: |$)", last)
        if b"Traceback (most recent call last):" not in self.stderr or not name:
            return "runtime_error", "nonzero_exit"
        return "runtime_error", "memory_limit" if name[1] == "MemoryError" else name[1]


def run(problem, files, argv, stdin):
    limits = {**DEFAULT_LIMITS, **problem.get("limits", {})}
    cpu_seconds = -(-limits.get("cpu_time_ms", limits["wall_time_ms"]) // 1000)
    command = ["prlimit", "--core=0", f"--as={INTERPRETER_BYTES + limits['memory_bytes']}"]
    command += [f"--cpu={cpu_seconds}:{cpu_seconds + 1}", sys.executable, *argv]
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}

    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data if isinstance(data, bytes) else data.encode())
        with tempfile.TemporaryFile() as stdin_file, tempfile.TemporaryFile() as stderr_file:
            stdin_file.write(stdin)
            stdin_file.seek(0)
            process = subprocess.Popen(
                command, cwd=folder, env=environment,
                stdin=stdin_file, stdout=subprocess.PIPE, stderr=stderr_file,
            )
            killed = []

            def kill(reason):
                killed.append(reason)
                process.kill()

            timer = threading.Timer(limits["wall_time_ms"] / 1000, kill, [("timeout", "wall")])
            timer.start()
            with process.stdout:
                stdout = process.stdout.read(limits["stdout_bytes"] + 1)
                if len(stdout) > limits["stdout_bytes"]:
                    kill(("runtime_error", "output_limit"))
            status = process.wait()
            timer.cancel()
            stderr_file.seek(0)
            left = {name: Path(folder, name).read_bytes() for name in files}
            return End(status, stdout, stderr_file.read(), killed[0] if killed else None, left)


if __name__ == "__main__":
    main()
