//! What a program asked for and this interpreter lacks.

/// Modules of the standard library that need what WebAssembly has not: processes, sockets, dynamic
/// libraries, libraries of C that are not built in.
const STDLIB: &[&str] = &[
    "_bz2",
    "_ctypes",
    "_curses",
    "_dbm",
    "_gdbm",
    "_hashlib",
    "_lzma",
    "_multiprocessing",
    "_posixshmem",
    "_posixsubprocess",
    "_scproxy",
    "_sqlite3",
    "_ssl",
    "_tkinter",
    "_uuid",
    "bz2",
    "crypt",
    "ctypes",
    "curses",
    "dbm",
    "ensurepip",
    "fcntl",
    "grp",
    "idlelib",
    "lzma",
    "mmap",
    "multiprocessing",
    "nis",
    "ossaudiodev",
    "pwd",
    "readline",
    "socket",
    "spwd",
    "sqlite3",
    "ssl",
    "syslog",
    "termios",
    "tkinter",
    "turtle",
];

/// Packages that solutions commonly import and that are no pure Python.
const PACKAGES: &[&str] = &[
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "torch",
    "tensorflow",
    "jax",
    "numba",
    "sympy",
    "networkx",
    "matplotlib",
    "PIL",
    "cv2",
    "lxml",
    "gmpy2",
    "sortedcontainers",
    "requests",
    "yaml",
    "regex",
    "cython",
    "Cython",
    "mpmath",
    "bitarray",
    "statsmodels",
    "psutil",
];

/// Modules that are there but cannot do what they are for.
const CRIPPLED: &[&str] = &[
    "subprocess",
    "multiprocessing",
    "socket",
    "ssl",
    "ctypes",
    "signal",
];

/// What the guest's own parts say when a program wants what they cannot do (`guest/lib/_socket.py`,
/// `guest/patches/threads.patch`); the word behind it is the module's name.
const LACKS: &str = "this interpreter has no ";
/// What the standard library says of processes.
const NO_PROCESSES: &str = "wasi does not support processes.";

/// The names in `No module named '…'` at the end of a traceback, or in what a harness reports of an
/// exception. The program can forge both; all that hangs on it is a subtype, and with `auto` a
/// second run.
pub(crate) fn modules(stderr: &[u8], report: &[u8]) -> Vec<String> {
    let last_line = stderr
        .split(|&byte| byte == b'\n')
        .rfind(|line| !line.is_empty());
    let mut found = Vec::new();
    let last_text = String::from_utf8_lossy(last_line.unwrap_or_default());
    if let Some((_, rest)) = last_text.split_once(LACKS) {
        let word = rest.split(|c: char| !c.is_alphanumeric()).next();
        found.extend(word.filter(|word| !word.is_empty()).map(str::to_owned));
    } else if last_text.ends_with(NO_PROCESSES) {
        found.push("subprocess".to_owned());
    }
    for text in [last_line.unwrap_or_default(), report] {
        let mut rest = text;
        while let Some(at) = position(rest, b"ModuleNotFoundError") {
            rest = &rest[at + b"ModuleNotFoundError".len()..];
            // In a traceback the message follows at once, in a record behind a few fields.
            let near = &rest[..rest.len().min(160)];
            let Some(at) = position(near, b"No module named '") else {
                continue;
            };
            let name = &near[at + b"No module named '".len()..];
            let end = name.iter().position(|&byte| byte == b'\'');
            let Some(name) = end.and_then(|end| std::str::from_utf8(&name[..end]).ok()) else {
                continue;
            };
            let name = name.split('.').next().unwrap_or_default();
            if is_lacking(name) && !found.iter().any(|have| have == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// Whether a top-level module is one that natively may well be there.
fn is_lacking(name: &str) -> bool {
    STDLIB.contains(&name) || PACKAGES.contains(&name)
}

/// Whether a program imports what it cannot have here, as far as its text says: the first such
/// module. What stands in strings and comments does not count.
pub(crate) fn imported(source: &[u8]) -> Option<String> {
    let code = without_strings(source);
    let text = String::from_utf8_lossy(&code);
    for statement in text.split(['\n', '\r', ';', ':']).map(str::trim) {
        let behind = |keyword| {
            let rest: &str = statement.strip_prefix(keyword)?;
            rest.starts_with(char::is_whitespace).then_some(rest)
        };
        let mut names: Vec<&str> = Vec::new();
        if let Some(rest) = behind("import") {
            names.extend(rest.split(',').map(str::trim));
        } else if let Some(rest) = behind("from") {
            names.push(rest.trim_start());
        }
        for name in names {
            let end = name
                .find(|c: char| c != '_' && !c.is_alphanumeric())
                .unwrap_or(name.len());
            let name = &name[..end];
            if is_lacking(name) || CRIPPLED.contains(&name) {
                return Some(name.to_owned());
            }
        }
    }
    // No import tells of these.
    [
        "os.fork(",
        "os.kill(",
        "os.exec",
        "os.posix_spawn",
        "os.system(",
        "os.popen(",
    ]
    .iter()
    .find(|call| text.contains(**call))
    .map(|call| call.trim_end_matches('(').to_owned())
}

/// Python's text with its comments gone and its strings empty. A text that does not parse may lose
/// more; it does not run either.
fn without_strings(source: &[u8]) -> Vec<u8> {
    let mut code = Vec::with_capacity(source.len());
    let mut rest = source;
    while let Some((&byte, behind)) = rest.split_first() {
        match byte {
            b'#' => {
                let end = rest.iter().position(|&b| matches!(b, b'\n' | b'\r'));
                rest = &rest[end.unwrap_or(rest.len())..];
            }
            b'"' | b'\'' => {
                code.extend([byte, byte]);
                rest = behind_string(rest, byte);
            }
            _ => {
                code.push(byte);
                rest = behind;
            }
        }
    }
    code
}

/// What follows the string that `text` begins with. A backslash takes the next byte with it, in raw
/// strings too. One that is not closed ends with its line, or, in three quotes, with the text.
fn behind_string(text: &[u8], quote: u8) -> &[u8] {
    let close: &[u8] = match text.starts_with(&[quote; 3]) {
        true => &[quote; 3],
        false => &[quote],
    };
    let mut rest = &text[close.len()..];
    loop {
        match rest {
            [] => return rest,
            [b'\\', _, behind @ ..] => rest = behind,
            [b'\n', ..] if close.len() == 1 => return rest,
            _ if rest.starts_with(close) => return &rest[close.len()..],
            [_, behind @ ..] => rest = behind,
        }
    }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_read_from_tracebacks_and_records() {
        let traceback = b"Traceback (most recent call last):\n  File \"/work/main.py\", line 1, in <module>\n    import numpy as np\nModuleNotFoundError: No module named 'numpy'\n";
        assert_eq!(modules(traceback, b""), ["numpy"]);
        for (line, name) in [
            (
                "OSError: [Errno 58] Not supported: this interpreter has no socket",
                "socket",
            ),
            (
                "RuntimeError: x: this interpreter has no threading that could let it",
                "threading",
            ),
            (
                "OSError: [Errno 58] wasi does not support processes.",
                "subprocess",
            ),
        ] {
            assert_eq!(modules(format!("{line}\n").as_bytes(), b""), [name]);
        }
        let record = b"92:6:raised,10:submission,5:other,19:ModuleNotFoundError,1:1,29:No module named '_ctypes.x',,";
        assert_eq!(modules(b"", record), ["_ctypes"]);
        for harmless in [
            &b"ModuleNotFoundError: No module named 'maths'\n"[..],
            b"ModuleNotFoundError: No module named 'numpy'\nValueError: x\n",
            b"",
        ] {
            assert!(modules(harmless, b"").is_empty());
        }
    }

    #[test]
    fn imports_are_found_wherever_a_line_begins_with_them() {
        for (source, expected) in [
            ("import sys, numpy as np\n", Some("numpy")),
            (
                "def f():\n    from scipy.optimize import x\n",
                Some("scipy"),
            ),
            ("x = 1; import socket\n", Some("socket")),
            ("import os\nos.fork()\n", Some("os.fork")),
            ("# import numpy\nimport math\nnumpy = 3\n", None),
            ("from collections import deque\n", None),
            ("try: import numpy\nexcept ImportError: pass", Some("numpy")),
            ("import\tnumpy", Some("numpy")),
            ("importance = numpy\nfrom_ = socket", None),
            (
                "def f():\n    \"\"\"Needs\n    import numpy\n    \"\"\"\n",
                None,
            ),
            ("s = 'a\\'; import numpy'\n", None),
            ("s = 'never closed\nimport numpy", Some("numpy")),
            (
                "s = r'''\\'''\nimport numpy'''\nimport scipy",
                Some("scipy"),
            ),
            ("x = \"#\"; import numpy", Some("numpy")),
            ("print('os.fork()')  # os.kill(1)", None),
            ("\"\"\"doc\"\"\"; import numpy", Some("numpy")),
            ("'\\", None),
        ] {
            assert_eq!(imported(source.as_bytes()).as_deref(), expected, "{source}");
        }
    }
}
