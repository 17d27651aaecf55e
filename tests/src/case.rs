//! The header of a hostile program: what it attacks, how it is run, what must happen.
//!
//! ```text
//! # row:     C4, D3           promises of the security page that it tests
//! # expect:  Exited(0) | Limit(memory)
//! # stdout:  contained        exact, newline added; or `stdout~:` a regex for all of it
//! # limits:  wall=2s memory=128MiB
//! # control: escapes          the bare interpreter, as an ordinary user, must print ESCAPED
//! # known:   what SECURITY.md does not promise; the attack must work, or the line goes
//! # wasm:    raises OSError: [Errno 58]     what happens there instead; or outcomes, or
//! #          `not: REASON` where nothing can be tried
//! # why:     one sentence
//! ```
//!
//! A file may hold two programs, parted by [`THEN`] (the first plants something, the second, run
//! three times in the same sandbox, looks for it) or by [`BESIDE`] (the second runs again and
//! again while the first one does).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use executor::{LimitKind, Limits, MIB, Network, Outcome};
use regex_lite::Regex;

/// Parts the program that plants from the one that looks.
pub const THEN: &str = "# --- then, in the next run ---\n";
/// Parts the program that attacks from the one that runs at the same time.
pub const BESIDE: &str = "# --- beside it, in another run ---\n";

/// One hostile program with what must happen to it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Folder and file name without the extension, as in `escape/ptrace`.
    pub name: String,
    /// Rows of the security page's table of promises.
    pub rows: Vec<String>,
    /// The program, or the first of two.
    pub source: Vec<u8>,
    /// The second program and when it runs.
    pub second: Option<(When, Vec<u8>)>,
    /// What may come of the (second) program; any one of these.
    pub expect: Vec<Expected>,
    /// What may come of the first of two programs.
    pub first: Vec<Expected>,
    /// All of standard output.
    pub stdout: Text,
    /// All of standard error.
    pub stderr: Text,
    /// What the report pipe must bring; none is given to the program otherwise.
    pub report: Option<Text>,
    /// Names of the collected files that must come back.
    pub collected: Vec<PathBuf>,
    /// Bounds on measured usage.
    pub usage: Vec<UsageBound>,
    /// Limits of the run: the suite's small defaults, changed by the header.
    pub limits: Limits,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// Arguments; `{host}` stands for the host's traps, `{before}` for the first program's output.
    pub args: Vec<Vec<u8>>,
    /// Files of the request.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Environment additions of the request.
    pub env: Vec<(String, String)>,
    /// Files asked back.
    pub collect: Vec<PathBuf>,
    /// Network of the run.
    pub network: Network,
    /// Host features without which the attack cannot be tried.
    pub needs: Vec<String>,
    /// Whether the bare interpreter escapes with this program: proof that the test can fail.
    pub control_escapes: bool,
    /// Why the attack is known to work, for what SECURITY.md lists as not promised. Then it must.
    pub known: Option<String>,
    /// Whether the supervisor is killed while the program runs.
    pub kill_supervisor: bool,
    /// What happens on the wasm backend, where that differs.
    pub wasm: Option<OnWasm>,
}

/// What a program comes to on the wasm backend, where it has nothing to attack or other means.
#[derive(Clone, Debug)]
pub enum OnWasm {
    /// It ends with an exception whose text begins so, as a rule because what it needs is missing.
    Raises(String),
    /// It ends otherwise than natively.
    Ends(Vec<Expected>),
    /// It cannot be tried, for this reason.
    Not(String),
}

/// When the second program of a file runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In the runs after the first program's.
    Then,
    /// At the same time.
    Beside,
}

/// One acceptable end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The run ended so.
    Outcome(Outcome),
    /// The request was refused as invalid.
    InvalidRequest,
}

/// What a stream must hold.
#[derive(Clone)]
pub enum Text {
    /// Nothing is said about it.
    Any,
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// Matches from end to end.
    Matches(Regex),
    /// The last line begins so.
    LastLine(String),
}

impl Text {
    /// Whether `bytes` are as stated.
    pub fn allows(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => expected == bytes,
            Self::Matches(regex) => regex.is_match(&String::from_utf8_lossy(bytes)),
            Self::LastLine(begin) => String::from_utf8_lossy(bytes)
                .lines()
                .last()
                .is_some_and(|line| line.starts_with(begin.as_str())),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Exact(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Matches(regex) => write!(f, "/{regex}/"),
            Self::LastLine(begin) => write!(f, "a last line that begins with {begin:?}"),
        }
    }
}

/// A bound on one field of the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageBound {
    /// Wall time at most.
    Wall(Duration),
    /// CPU time at most.
    Cpu(Duration),
    /// Peak memory at most, in bytes.
    MemoryPeak(u64),
    /// Bytes written to standard output at least, kept or not.
    StdoutTotal(u64),
    /// Bytes written to standard error at least, kept or not.
    StderrTotal(u64),
}

/// The limits of a hostile program that states none: small, so that a bomb is cheap. Tasks, files
/// and scratch space keep the product's defaults, so that most cases share one kind of cell.
pub fn default_limits() -> Limits {
    Limits {
        wall_time: Duration::from_secs(10),
        cpu_time: Duration::from_secs(10),
        memory_bytes: 256 * MIB,
        ..Limits::default()
    }
}

impl Case {
    /// Reads the case in `file`, named after its folder.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its header says something unknown or too little.
    pub fn load(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&format!("{folder}/{stem}"), &text)
    }

    /// Reads a case from its text.
    ///
    /// # Errors
    ///
    /// The header says something unknown or too little.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case = Self {
            name: name.to_owned(),
            rows: Vec::new(),
            source: Vec::new(),
            second: None,
            expect: Vec::new(),
            first: vec![Expected::Outcome(Outcome::Exited { code: 0 })],
            stdout: Text::Any,
            stderr: Text::Any,
            report: None,
            collected: Vec::new(),
            usage: Vec::new(),
            limits: default_limits(),
            stdin: Vec::new(),
            args: Vec::new(),
            files: Vec::new(),
            env: Vec::new(),
            collect: Vec::new(),
            network: Network::None,
            needs: Vec::new(),
            control_escapes: false,
            known: None,
            kill_supervisor: false,
            wasm: None,
        };
        let mut expansions: Vec<(String, Vec<u8>)> = Vec::new();
        let mut why = "";
        let mut cpu_stated = false;
        for line in text.lines().take_while(|line| line.starts_with('#')) {
            let (key, value) = line[1..]
                .split_once(':')
                .ok_or_else(|| format!("{name}: header line without a colon: {line}"))?;
            let value = value.trim();
            let bad = |what: &str| format!("{name}: {what}: {line}");
            match key.trim() {
                "row" => case.rows = value.split(',').map(|row| row.trim().to_owned()).collect(),
                "expect" => case.expect = outcomes(value).ok_or_else(|| bad("unknown outcome"))?,
                "first" => case.first = outcomes(value).ok_or_else(|| bad("unknown outcome"))?,
                "stdout" => case.stdout = exact(value),
                "stdout~" => case.stdout = matching(value).map_err(|error| bad(&error))?,
                "stderr" => case.stderr = exact(value),
                "stderr~" => case.stderr = matching(value).map_err(|error| bad(&error))?,
                "report~" => case.report = Some(matching(value).map_err(|error| bad(&error))?),
                "collected" => {
                    case.collected = value.split_whitespace().map(PathBuf::from).collect()
                }
                "usage" => {
                    for word in value.split_whitespace() {
                        case.usage
                            .push(usage_bound(word).ok_or_else(|| bad("unknown bound"))?);
                    }
                }
                "limits" => {
                    for word in value.split_whitespace() {
                        set_limit(&mut case.limits, word).ok_or_else(|| bad("unknown limit"))?;
                        cpu_stated |= word.starts_with("cpu=");
                    }
                }
                "stdin" => case.stdin = content(value).ok_or_else(|| bad("unreadable stdin"))?,
                "args" => {
                    for word in value.split_whitespace() {
                        case.args
                            .push(unescape(word).ok_or_else(|| bad("bad escape"))?);
                    }
                }
                "files" => {
                    for word in value.split_whitespace() {
                        let (path, bytes) = word
                            .split_once('=')
                            .ok_or_else(|| bad("file without content"))?;
                        let path = unescape(path).ok_or_else(|| bad("bad escape"))?;
                        case.files.push((
                            PathBuf::from(OsString::from_vec(path)),
                            bytes.as_bytes().to_vec(),
                        ));
                    }
                }
                "env" => {
                    for word in value.split_whitespace() {
                        let word = unescape(word).and_then(|word| String::from_utf8(word).ok());
                        let word = word.ok_or_else(|| bad("bad escape"))?;
                        // The last `=` parts them, so that a name can hold one.
                        let (name, value) = word
                            .rsplit_once('=')
                            .ok_or_else(|| bad("variable without value"))?;
                        case.env.push((name.to_owned(), value.to_owned()));
                    }
                }
                "collect" => case.collect = value.split_whitespace().map(PathBuf::from).collect(),
                "network" => {
                    case.network = match value {
                        "none" => Network::None,
                        "loopback" => Network::Loopback,
                        _ => return Err(bad("unknown network")),
                    }
                }
                "needs" => case.needs = value.split_whitespace().map(str::to_owned).collect(),
                "expand" => {
                    for word in value.split_whitespace() {
                        let (name, value) = word
                            .split_once('=')
                            .ok_or_else(|| bad("expansion without value"))?;
                        let value = content(value).ok_or_else(|| bad("unreadable expansion"))?;
                        expansions.push((name.to_owned(), value));
                    }
                }
                "control" if value == "escapes" => case.control_escapes = true,
                "known" => case.known = Some(value.to_owned()),
                "kill" if value == "supervisor" => case.kill_supervisor = true,
                "wasm" => case.wasm = Some(on_wasm(value).ok_or_else(|| bad("unknown end"))?),
                "why" => why = value,
                _ => return Err(bad("unknown header")),
            }
        }
        if case.rows.is_empty() || case.expect.is_empty() || why.is_empty() {
            return Err(format!("{name}: the header must have row, expect and why"));
        }
        if !cpu_stated {
            case.limits.cpu_time = case.limits.wall_time;
        }
        // Not in the header, which would only grow by it.
        let header: usize = text
            .split_inclusive('\n')
            .take_while(|line| line.starts_with('#'))
            .map(str::len)
            .sum();
        let text = &text[header..];
        let expand = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            for (name, value) in &expansions {
                bytes = replace(&bytes, name.as_bytes(), value);
            }
            bytes
        };
        for (marker, when) in [(THEN, When::Then), (BESIDE, When::Beside)] {
            if let Some((before, after)) = text.split_once(marker) {
                case.source = expand(before);
                case.second = Some((when, expand(after)));
                return Ok(case);
            }
        }
        case.source = expand(text);
        Ok(case)
    }

    /// The case as it must come out on the wasm backend.
    pub fn on_wasm(mut self) -> Self {
        let Some(wasm) = self.wasm.take() else {
            return self;
        };
        self.first = Vec::new();
        self.stdout = Text::Any;
        self.stderr = Text::Any;
        self.report = self.report.map(|_| Text::Any);
        self.usage = Vec::new();
        self.collected = Vec::new();
        match wasm {
            OnWasm::Raises(text) => {
                self.expect = vec![Expected::Outcome(Outcome::Exited { code: 1 })];
                self.stderr = Text::LastLine(text);
            }
            OnWasm::Ends(expect) => self.expect = expect,
            OnWasm::Not(_) => {}
        }
        self
    }
}

/// All cases of a folder, in the order of their names.
///
/// # Errors
///
/// The folder or one of its files cannot be read.
pub fn load_folder(folder: &Path) -> Result<Vec<Case>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = entries
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|error| error.to_string())
        })
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "py"));
    files.sort();
    files.iter().map(|file| Case::load(file)).collect()
}

fn exact(value: &str) -> Text {
    let newline = if value.is_empty() { "" } else { "\n" };
    Text::Exact(format!("{value}{newline}").into_bytes())
}

fn matching(value: &str) -> Result<Text, String> {
    Regex::new(&format!("^(?s:{value})$"))
        .map(Text::Matches)
        .map_err(|error| error.to_string())
}

fn outcomes(value: &str) -> Option<Vec<Expected>> {
    value.split('|').map(|word| outcome(word.trim())).collect()
}

fn outcome(word: &str) -> Option<Expected> {
    if word == "InvalidRequest" {
        return Some(Expected::InvalidRequest);
    }
    let (kind, value) = word.strip_suffix(')')?.split_once('(')?;
    let outcome = match kind {
        "Exited" => Outcome::Exited {
            code: value.parse().ok()?,
        },
        "Signaled" => {
            let signal: nix::sys::signal::Signal = value.parse().ok()?;
            Outcome::Signaled {
                signal: signal as i32,
            }
        }
        "Limit" => Outcome::LimitExceeded {
            limit: match value {
                "wall_time" => LimitKind::WallTime,
                "cpu_time" => LimitKind::CpuTime,
                "memory" => LimitKind::Memory,
                "output" => LimitKind::Output,
                _ => return None,
            },
        },
        _ => return None,
    };
    Some(Expected::Outcome(outcome))
}

fn on_wasm(value: &str) -> Option<OnWasm> {
    if let Some(text) = value.strip_prefix("raises ") {
        return Some(OnWasm::Raises(text.to_owned()));
    }
    if let Some(reason) = value.strip_prefix("not: ") {
        return Some(OnWasm::Not(reason.to_owned()));
    }
    outcomes(value).map(OnWasm::Ends)
}

fn usage_bound(word: &str) -> Option<UsageBound> {
    if let Some((name, value)) = word.split_once("<=") {
        return Some(match name {
            "wall" => UsageBound::Wall(duration(value)?),
            "cpu" => UsageBound::Cpu(duration(value)?),
            "memory_peak" => UsageBound::MemoryPeak(size(value)?),
            _ => return None,
        });
    }
    match word.split_once(">=")? {
        ("stdout_total", value) => Some(UsageBound::StdoutTotal(size(value)?)),
        ("stderr_total", value) => Some(UsageBound::StderrTotal(size(value)?)),
        _ => None,
    }
}

fn set_limit(limits: &mut Limits, word: &str) -> Option<()> {
    let (name, value) = word.split_once('=')?;
    match name {
        "wall" => limits.wall_time = duration(value)?,
        "cpu" => limits.cpu_time = duration(value)?,
        "memory" => limits.memory_bytes = size(value)?,
        "stdout" => limits.stdout_bytes = size(value)?,
        "stderr" => limits.stderr_bytes = size(value)?,
        "tasks" => limits.tasks = value.parse().ok()?,
        "files" => limits.open_files = value.parse().ok()?,
        "file_size" => limits.file_size_bytes = size(value)?,
        "scratch" => limits.scratch_bytes = size(value)?,
        "inodes" => limits.scratch_inodes = value.parse().ok()?,
        _ => return None,
    }
    Some(())
}

fn duration(value: &str) -> Option<Duration> {
    if let Some(milliseconds) = value.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    value
        .strip_suffix('s')?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn size(value: &str) -> Option<u64> {
    for (suffix, unit) in [("KiB", 1024), ("MiB", MIB), ("GiB", 1024 * MIB)] {
        if let Some(number) = value.strip_suffix(suffix) {
            return number.parse::<u64>().ok()?.checked_mul(unit);
        }
    }
    value.parse().ok()
}

/// Text with escapes, or `"text"*N`: the text N times.
fn content(value: &str) -> Option<Vec<u8>> {
    if let Some((quoted, times)) = value.rsplit_once('*')
        && let Some(text) = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
    {
        let times = usize::try_from(size(times)?).ok()?;
        return Some(unescape(text)?.repeat(times));
    }
    unescape(value)
}

/// Reads `\n`, `\\` and `\xHH`.
fn unescape(word: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// `text` with every `name` replaced by `value`.
pub fn replace(text: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, name) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(value);
        rest = &rest[at + name.len()..];
    }
    result.extend_from_slice(rest);
    result
}

/// Where `needle` first stands in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "# row: A1\n# expect: Exited(0)\n# why: because\nprint('contained')\n";

    #[test]
    fn a_header_becomes_a_case() {
        let text = "# row:    C4, D3\n\
                    # expect: Exited(3) | Limit(memory) | Signaled(SIGSYS) | InvalidRequest\n\
                    # stdout~: (contained\\n)?\n\
                    # limits: wall=1500ms memory=64MiB tasks=9\n\
                    # usage:  memory_peak<=96MiB\n\
                    # stdin:  \"ab\\n\"*3\n\
                    # args:   {host} a\\xff\n\
                    # expand: OPEN=\"(\"*4\n\
                    # needs:  x86_64\n\
                    # control: escapes\n\
                    # why:    because\n\
                    x = 'OPEN'\n";
        let case = Case::parse("limits/x", text).unwrap();
        assert_eq!(case.rows, ["C4", "D3"]);
        assert_eq!(case.expect.len(), 4);
        assert_eq!(
            case.expect[0],
            Expected::Outcome(Outcome::Exited { code: 3 })
        );
        assert_eq!(
            case.expect[2],
            Expected::Outcome(Outcome::Signaled { signal: 31 })
        );
        assert!(
            case.stdout.allows(b"contained\n")
                && case.stdout.allows(b"")
                && !case.stdout.allows(b"x")
        );
        assert_eq!(case.limits.wall_time, Duration::from_millis(1500));
        assert_eq!(case.limits.cpu_time, case.limits.wall_time);
        assert_eq!((case.limits.memory_bytes, case.limits.tasks), (64 * MIB, 9));
        assert_eq!(case.usage, [UsageBound::MemoryPeak(96 * MIB)]);
        assert_eq!(case.stdin, b"ab\nab\nab\n");
        assert_eq!(case.args, [b"{host}".to_vec(), b"a\xff".to_vec()]);
        assert!(case.source.ends_with(b"x = '(((('\n"));
        assert!(case.control_escapes);
    }

    #[test]
    fn a_header_says_what_differs_on_wasm() {
        let on_wasm = |line: &str| {
            let case = Case::parse(
                "escape/x",
                &format!("# wasm: {line}\n# stdout: x\n{MINIMAL}"),
            );
            case.expect("a case").on_wasm()
        };
        let raises = on_wasm("raises OSError: no");
        let exited = |code| vec![Expected::Outcome(Outcome::Exited { code })];
        assert_eq!(raises.expect, exited(1));
        assert!(raises.stderr.allows(b"Traceback\nOSError: no, thanks\n"));
        assert!(!raises.stderr.allows(b"OSError: no\nKeyError: x\n"));
        assert!(raises.stdout.allows(b""));
        assert_eq!(on_wasm("Exited(3)").expect, exited(3));
        assert!(Case::parse("escape/x", &format!("# wasm: Exitd(3)\n{MINIMAL}")).is_err());
        let alike = Case::parse("escape/x", MINIMAL).unwrap().on_wasm();
        assert_eq!(alike.expect, exited(0));
    }

    #[test]
    fn a_file_may_hold_two_programs() {
        for (marker, when) in [(THEN, When::Then), (BESIDE, When::Beside)] {
            let case = Case::parse("escape/x", &format!("{MINIMAL}{marker}print(2)\n")).unwrap();
            assert!(case.source.ends_with(b"print('contained')\n"));
            assert_eq!(case.second, Some((when, b"print(2)\n".to_vec())));
        }
    }

    #[test]
    fn a_header_that_says_something_unknown_is_refused() {
        for line in [
            "# expct: Exited(0)",
            "# expect: Exitd(0)",
            "# limits: wal=1s",
            "# usage: wall<1s",
            "# no colon",
        ] {
            assert!(
                Case::parse("escape/x", &format!("{line}\n{MINIMAL}")).is_err(),
                "accepted: {line}"
            );
        }
        assert!(
            Case::parse("escape/x", "print()").is_err(),
            "no header at all"
        );
    }
}
