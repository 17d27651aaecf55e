//! What a Python program's stderr says about its end.
//!
//! # Theory of operation
//!
//! A traceback is a block of lines: a header, frames with their source lines, and the exception
//! line, which may go on as a message of several lines.
//!
//! ```text
//! Traceback (most recent call last):            header
//!   File "main.py", line 7, in <module>         frame
//!     solve()                                   detail
//!     ~~~~~^^                                   detail
//!   File "main.py", line 3, in solve            frame
//! ValueError: not enough values                 exception line
//! ```
//!
//! The text is read bottom-up. An exception line is an unindented `Name: message` or bare `Name`
//! directly below a frame or its details; so message lines, notes and other output that look the
//! same are not taken for one. The last block wins, except those that did not end the program
//! (threads, `__del__`, atexit) and those quoted in a message. A block without its header is cut
//! (stderr keeps its first and last 64 KiB) or is the form of a SyntaxError found before the
//! program ran.
//!
//! The whole takes linear time: a block is walked from its exception line to its header, and the
//! search goes on above it.
//!
//! The text belongs to the program, which can forge it. No verdict rests on it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::ErrorType;

/// What a caller knows about the program that wrote the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracebackContext {
    /// How the program was tested.
    pub kind: TracebackKind,
    /// The program was compiled by a harness written in Python (`exec`, `compile`), so that its
    /// own syntax errors come with a traceback of the harness.
    pub compiled_by_harness: bool,
}

/// How a program was tested, which decides what a failed assertion means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TracebackKind {
    /// By its output: its assertions are its own.
    #[default]
    Program,
    /// By HumanEval's `check(candidate)`.
    Check,
    /// By assert statements below it.
    Asserts,
}

/// What [`classify_traceback`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classified {
    /// `syntax_error`, `runtime_error` or `wrong_answer`.
    pub error_type: ErrorType,
    /// Name of the exception class without its module, at most 256 characters.
    pub class: String,
    /// For a syntax error the line at fault, else the line of the innermost frame outside the
    /// standard library and installed packages (of the innermost frame if there is none).
    pub line: Option<u32>,
}

/// Reads recorded stderr of any Python runner: the exception that ended the program, and where.
///
/// `None` if no traceback in the text tells of a program's end. Linear time, never panics.
///
/// - `syntax_error`: a SyntaxError (IndentationError, TabError) without a `Traceback` header of
///   its own, or one that the harness met when it compiled the program.
/// - `wrong_answer`: an AssertionError of a `check` or `asserts` program raised in `<module>` or
///   in `check`.
/// - `runtime_error`: every other exception.
pub fn classify_traceback(stderr: &[u8], context: TracebackContext) -> Option<Classified> {
    let stderr = without_colours(stderr);
    let lines: Vec<_> = stderr
        .split(|&byte| byte == b'\n')
        .map(Line::read)
        .collect();
    let traceback = last_fatal(&lines).or_else(|| bare_syntax_error(&lines))?;
    Some(traceback.classify(context))
}

fn last_fatal<'a>(lines: &[Line<'a>]) -> Option<Traceback<'a>> {
    // The last block that may be a quotation, should nothing better come.
    let mut doubtful = None;
    // The last link of a chain of exceptions, until its first link is known.
    let mut last_of_chain = None;
    let mut end = lines.len();
    while end > 0 {
        end -= 1;
        let Some(mut traceback) = Traceback::ending_at(lines, end) else {
            continue;
        };
        // `RuntimeError: Traceback (most recent call last):` quotes what stands below it.
        while let Some(quoting) = Traceback::ending_at(lines, traceback.top) {
            traceback = quoting;
            last_of_chain = None;
        }
        end = traceback.top;
        if !traceback.is_whole() {
            doubtful = doubtful.or(Some(traceback).filter(Traceback::sounds_like_exception));
            continue;
        }
        let above = &lines[..traceback.top];
        let found = last_of_chain.take().unwrap_or(traceback);
        if follows_another(above) {
            last_of_chain = Some(found);
        } else if !did_not_end_the_program(above) {
            return Some(found);
        }
    }
    last_of_chain.or(doubtful)
}

/// Some syntax errors (bad encodings, since CPython 3.9) come as their exception line alone. The
/// program has printed nothing then, so it is the first line.
fn bare_syntax_error<'a>(lines: &[Line<'a>]) -> Option<Traceback<'a>> {
    let first = lines.iter().find(|line| !line.is_blank())?;
    let name = exception_name(first.text)?;
    (is_syntax_error(name) && name.len() < first.text.len()).then(|| Traceback::new(name))
}

/// Whether a block stands below the words that link it to an exception above.
fn follows_another(above: &[Line]) -> bool {
    const LINKS: [&[u8]; 2] = [
        b"During handling of the above exception, another exception occurred:",
        b"The above exception was the direct cause of the following exception:",
    ];
    above
        .iter()
        .rfind(|line| !line.is_blank())
        .is_some_and(|line| LINKS.contains(&line.text))
}

/// Whether the line above a block says that the interpreter only reported it and went on.
fn did_not_end_the_program(above: &[Line]) -> bool {
    const REPORTS: [&[u8]; 6] = [
        b"Exception ignored ",
        b"Exception in thread ",
        b"Error in atexit._run_exitfuncs:",
        b"future: <", // asyncio: a task whose exception nobody asked for
        b"handle: <", // asyncio: a callback
        b"--- Logging error ---",
    ];
    above
        .last()
        .is_some_and(|line| REPORTS.iter().any(|report| line.text.starts_with(report)))
}

/// One block.
struct Traceback<'a> {
    /// The exception's class as printed, with its module.
    name: &'a [u8],
    /// Index of the block's first line.
    top: usize,
    has_header: bool,
    frames: usize,
    module_frames: usize,
    innermost: Option<Frame<'a>>,
    /// The innermost frame outside the standard library and installed packages.
    own: Option<Frame<'a>>,
    /// Where a SyntaxError was found: a frame line without a function.
    location: Option<Frame<'a>>,
    /// Whether a frame runs code of the file that `location` is in.
    ran_location: bool,
}

impl<'a> Traceback<'a> {
    fn new(name: &'a [u8]) -> Self {
        Self {
            name,
            top: 0,
            has_header: false,
            frames: 0,
            module_frames: 0,
            innermost: None,
            own: None,
            location: None,
            ran_location: false,
        }
    }

    /// The block whose exception line is the given one.
    fn ending_at(lines: &[Line<'a>], last: usize) -> Option<Self> {
        let Line { text, in_group } = lines[last];
        let mut traceback = Self::new(exception_name(text)?);
        let mut top = last;
        while let Some(above) = top.checked_sub(1) {
            let line = &lines[above];
            if line.in_group != in_group && !line.is_blank() {
                break;
            }
            match line.frame(above == 0) {
                Some(frame) => {
                    if !traceback.add(frame) {
                        break;
                    }
                }
                None if line.is_detail() => {}
                None => break,
            }
            top = above;
        }
        let header = top.checked_sub(1).filter(|&above| lines[above].is_header());
        traceback.has_header = header.is_some();
        traceback.top = header.unwrap_or(top);
        let begins_the_text = top <= 1;
        let has_frame = traceback.frames > 0 || traceback.location.is_some();
        // Cut so short that only details are left: then the name must speak for itself.
        let is_tail = begins_the_text && top < last && traceback.sounds_like_exception();
        (has_frame || is_tail).then_some(traceback)
    }

    /// Adds the frame above those that are known; false if it cannot be part of the block.
    fn add(&mut self, frame: Frame<'a>) -> bool {
        let Some(function) = frame.function else {
            let is_last = self.location.is_none() && self.frames == 0;
            if is_last {
                self.location = Some(frame);
            }
            return is_last;
        };
        self.frames += 1;
        self.module_frames += usize::from(function == b"<module>");
        self.ran_location |= self
            .location
            .is_some_and(|location| location.file == frame.file);
        self.innermost = self.innermost.or(Some(frame));
        if !frame.is_library() {
            self.own = self.own.or(Some(frame));
        }
        true
    }

    /// Whether this is no quotation of some lines of a traceback.
    fn is_whole(&self) -> bool {
        /// More frames than a message would quote: the header was cut off.
        const MANY: usize = 64;
        self.has_header || self.top <= 1 || self.frames >= MANY || self.has_syntax_form()
    }

    fn sounds_like_exception(&self) -> bool {
        const ENDS: [&[u8]; 7] = [
            b"Error",
            b"Exception",
            b"Warning",
            b"Interrupt",
            b"Exit",
            b"Iteration",
            b"Group",
        ];
        ENDS.iter().any(|end| self.name.ends_with(end))
    }

    /// Whether a SyntaxError was found before anything ran.
    fn has_syntax_form(&self) -> bool {
        is_syntax_error(self.name) && !self.has_header && self.frames == 0
    }

    /// Whether a SyntaxError was found in the program that a harness compiled, and not in text
    /// that the running program handed to `eval`: then a frame would run the same file, or a
    /// second module beside the harness.
    fn is_harness_compiling(&self) -> bool {
        is_syntax_error(self.name)
            && self.location.is_some()
            && !self.ran_location
            && self.module_frames < 2
    }

    fn classify(&self, context: TracebackContext) -> Classified {
        let failed_test = context.kind != TracebackKind::Program
            && self.name == b"AssertionError"
            && self
                .innermost
                .and_then(|frame| frame.function)
                .is_some_and(|function| function == b"<module>" || function == b"check");
        let error_type = if self.has_syntax_form()
            || context.compiled_by_harness && self.is_harness_compiling()
        {
            ErrorType::SyntaxError
        } else if failed_test {
            ErrorType::WrongAnswer
        } else {
            ErrorType::RuntimeError
        };
        let frame = match error_type {
            ErrorType::SyntaxError => self.location,
            _ => self.own.or(self.innermost).or(self.location),
        };
        let class = self
            .name
            .rsplit(|&byte| byte == b'.')
            .next()
            .unwrap_or(self.name);
        Classified {
            error_type,
            class: String::from_utf8_lossy(class).chars().take(256).collect(),
            line: frame.and_then(|frame| frame.line),
        }
    }
}

fn is_syntax_error(name: &[u8]) -> bool {
    matches!(name, b"SyntaxError" | b"IndentationError" | b"TabError")
}

/// One line of stderr, without the margin of an exception group.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a [u8],
    /// It stood behind `  | `. Deeper margins belong to sub-exceptions and stay as they are.
    in_group: bool,
}

impl<'a> Line<'a> {
    fn read(text: &'a [u8]) -> Self {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        match text.strip_prefix(b"  |") {
            Some(b"") => Self {
                text: b"",
                in_group: true,
            },
            Some([b' ', inner @ ..]) => Self {
                text: inner,
                in_group: true,
            },
            _ => Self {
                text,
                in_group: false,
            },
        }
    }

    fn is_blank(&self) -> bool {
        self.text.iter().all(u8::is_ascii_whitespace)
    }

    /// Also behind output that ended without a newline.
    fn is_header(&self) -> bool {
        self.text.ends_with(b"Traceback (most recent call last):")
    }

    /// What stands between frames: source lines, carets, `...<3 lines>...`, repetitions.
    fn is_detail(&self) -> bool {
        self.text.starts_with(b"    ")
            || self.text.starts_with(b"  [Previous line repeated ")
            || self.is_blank()
    }

    /// `  File "main.py", line 3, in solve`, or without its end where a SyntaxError was found.
    /// A recorded text may have lost the blanks before its first line.
    fn frame(&self, is_first: bool) -> Option<Frame<'a>> {
        const FILE: &[u8] = b"File \"";
        const LINE: &[u8] = b"\", line ";
        let rest = match self.text.strip_prefix(b"  ") {
            Some(rest) => rest.strip_prefix(FILE)?,
            None => self.text.strip_prefix(FILE).filter(|_| is_first)?,
        };
        let file_end = rest
            .windows(LINE.len())
            .rposition(|window| window == LINE)?;
        let (file, rest) = (&rest[..file_end], &rest[file_end + LINE.len()..]);
        let line_end = rest
            .iter()
            .position(|&byte| byte == b',')
            .unwrap_or(rest.len());
        let (line, rest) = rest.split_at(line_end);
        let function = match rest {
            b"" => None,
            _ => Some(rest.strip_prefix(b", in ")?),
        };
        let line = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.parse().ok());
        // The interpreter may not know the line of a frame, but always that of a syntax error.
        (function.is_some() || line.is_some()).then_some(Frame {
            file,
            line,
            function,
        })
    }
}

#[derive(Clone, Copy)]
struct Frame<'a> {
    file: &'a [u8],
    line: Option<u32>,
    function: Option<&'a [u8]>,
}

impl Frame<'_> {
    fn is_library(&self) -> bool {
        const FOLDERS: [&[u8]; 4] = [
            b"/lib/python",
            b"/lib64/python",
            b"/site-packages/",
            b"/dist-packages/",
        ];
        self.file.starts_with(b"<frozen ")
            || FOLDERS
                .iter()
                .any(|folder| self.file.windows(folder.len()).any(|w| w == *folder))
    }
}

/// The class on an exception line: `Name`, `Name: message`, `module.f.<locals>.Name: message`.
fn exception_name(text: &[u8]) -> Option<&[u8]> {
    let end = text
        .iter()
        .position(|&byte| byte == b':')
        .unwrap_or(text.len());
    let (name, message) = text.split_at(end);
    if !matches!(message, [] | [b':'] | [b':', b' ', ..]) {
        return None;
    }
    let mut parts = name.rsplit(|&byte| byte == b'.');
    let is_word = |part: &[u8]| {
        let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || *byte >= 0x80;
        part.first().is_some_and(is_letter)
            && part
                .iter()
                .all(|byte| is_letter(byte) || byte.is_ascii_digit())
    };
    let is_scope = |part: &[u8]| match part {
        [b'<', inner @ .., b'>'] => is_word(inner),
        part => is_word(part),
    };
    (parts.next().is_some_and(is_word) && parts.all(is_scope)).then_some(name)
}

/// The text without the escape sequences with which CPython 3.13 colours a traceback.
fn without_colours(text: &[u8]) -> Cow<'_, [u8]> {
    const ESCAPE: u8 = 0x1b;
    if !text.contains(&ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut parts = text.split(|&byte| byte == ESCAPE);
    plain.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        plain.extend_from_slice(match part.strip_prefix(b"[") {
            Some(sequence) => {
                let last = sequence
                    .iter()
                    .position(|byte| !matches!(byte, b' '..=b'?'));
                last.map_or(&[][..], |last| &sequence[last + 1..])
            }
            None => part,
        });
    }
    plain.into()
}
