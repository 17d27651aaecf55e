//! Which modules a warmed interpreter has ready for a program.

use std::sync::Arc;

use ::cell::protocol;

/// Of the standard library, imported beforehand all together for programs that import any of them.
/// None of them does anything but define itself, and none starts a thread.
const STANDARD: &[&str] = &[
    "abc",
    "array",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "inspect",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "threading",
    "traceback",
    "types",
    "typing",
    "unicodedata",
];

/// Packages that are imported beforehand where a program imports them.
const PACKAGES: &[&str] = &[
    "mpmath",
    "networkx",
    "numpy",
    "pandas",
    "scipy",
    "sortedcontainers",
    "sympy",
];

/// Parts of `scipy` that it does not load itself. A fixed list: whoever writes a program chooses
/// among these, and cannot ask for ever new interpreters.
const PARTS_OF_SCIPY: &[&str] = &[
    "cluster",
    "constants",
    "fft",
    "fftpack",
    "integrate",
    "interpolate",
    "io",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
];

/// More than this is not told apart: such programs find the first ones ready.
const MOST_PACKAGES: usize = 6;

/// Modules that a warmed interpreter imports beforehand, for programs that import them. A program
/// sees them at the moment at which it imports them, not before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Imports {
    standard: bool,
    packages: Arc<[String]>,
}

impl Imports {
    /// What these texts import, as far as it is worth having ready. They are read, not parsed: a
    /// statement inside a string counts too, and costs nothing but time.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut standard = false;
        let mut packages = Vec::new();
        for name in sources.into_iter().flat_map(imported) {
            let mut parts = name.split('.');
            let top = parts.next().unwrap_or_default();
            standard |= STANDARD.contains(&top);
            if !PACKAGES.contains(&top) {
                continue;
            }
            let name = match parts.next() {
                Some(part) if top == "scipy" && PARTS_OF_SCIPY.contains(&part) => {
                    format!("{top}.{part}")
                }
                _ => top.to_owned(),
            };
            // Sorted, so that the order in a text makes no other interpreter.
            if let Err(place) = packages.binary_search(&name)
                && packages.len() < MOST_PACKAGES
            {
                packages.insert(place, name);
            }
        }
        Self {
            standard: standard || !packages.is_empty(),
            packages: packages.into(),
        }
    }

    /// Whether nothing is imported beforehand.
    pub fn is_empty(&self) -> bool {
        !self.standard
    }

    /// The packages among them, whose memory is not charged to the program.
    pub(crate) fn packages(&self) -> &[String] {
        &self.packages
    }

    /// The next best thing where these cannot be had.
    pub(crate) fn less(&self) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        Some(Self {
            standard: !self.packages.is_empty(),
            packages: [].into(),
        })
    }

    pub(crate) fn to_wire(&self) -> protocol::Imports {
        protocol::Imports {
            standard: match self.standard {
                true => STANDARD.iter().map(|name| (*name).to_owned()).collect(),
                false => Vec::new(),
            },
            packages: self.packages.to_vec(),
        }
    }
}

/// The modules named by import statements, one a line or several divided by semicolons.
fn imported(source: &[u8]) -> impl Iterator<Item = &str> {
    source
        .split(|byte| matches!(byte, b'\n' | b'\r' | b';'))
        .filter_map(|line| {
            let line = line.trim_ascii();
            let rest = line
                .strip_prefix(b"import ")
                .map(|rest| (true, rest))
                .or_else(|| line.strip_prefix(b"from ").map(|rest| (false, rest)))?;
            Some((rest.0, std::str::from_utf8(rest.1).ok()?))
        })
        .flat_map(|(many, rest)| {
            let names = if many { usize::MAX } else { 1 };
            rest.split(',')
                .take(names)
                .filter_map(|part| part.split_ascii_whitespace().next())
        })
        .filter(|name| {
            name.len() <= 80
                && name
                    .bytes()
                    .all(|b| b == b'.' || b == b'_' || b.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Imports {
        Imports::of([source.as_bytes()])
    }

    #[test]
    fn a_text_is_scanned_for_what_it_imports() {
        for (source, standard, packages) in [
            ("print(1)", false, ""),
            ("import sys, os", false, ""),
            ("import sys, math", true, ""),
            ("from typing import List", true, ""),
            ("if x:\n    import re", true, ""),
            ("x = 1; import re", true, ""),
            ("important = 1\nfromage = 2", false, ""),
            ("import numpy as np", true, "numpy"),
            ("import numpy.linalg as la, pandas", true, "numpy pandas"),
            ("from scipy.stats.qmc import x", true, "scipy.stats"),
            ("import scipy", true, "scipy"),
            ("import scipy.x1, scipy.x2", true, "scipy"),
            ("import sympy\nimport numpy", true, "numpy sympy"),
            ("from numpy import (array,\n    zeros)", true, "numpy"),
            ("import numpyx, \u{e9}", false, ""),
            ("import", false, ""),
            ("from .numpy import x", false, ""),
        ] {
            let found = of(source);
            assert_eq!(found.standard, standard, "{source:?}");
            assert_eq!(found.packages.join(" "), packages, "{source:?}");
        }
    }

    #[test]
    fn what_cannot_be_had_shrinks_to_nothing() {
        let packages = of("import numpy");
        let standard = packages.less().expect("the standard library is left");
        assert_eq!(standard, of("import re"));
        let nothing = standard.less().expect("nothing is left");
        assert!(nothing.is_empty() && nothing.less().is_none());
    }
}
