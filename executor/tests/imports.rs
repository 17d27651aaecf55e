//! Imports done beforehand: a program sees of them nothing but the time they save.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use executor::{Path, PathRequest, RunReport, RunRequest, Sandbox, SandboxConfig};

/// A virtual environment with packages of our own, under names that are imported beforehand.
struct Venv {
    _folder: tempfile::TempDir,
    python: PathBuf,
}

/// Packages by file.
const PACKAGES: &[(&str, &str)] = &[
    // Well-behaved, with parts that ask for each other.
    (
        "sympy/__init__.py",
        "import warnings, json\nfrom . import core\nfrom .core import value\n\
         warnings.filterwarnings('ignore', message='sympy')\nimport sympy.late\n",
    ),
    ("sympy/core.py", "import sympy\nfrom .deep import value\n"),
    (
        "sympy/deep.py",
        // A run is a fork: whoever gets this module waits, and other threads go on.
        "import os, sys, time\nvalue = 42\nsys.modules['sympy.alias'] = sys\n\
         os.register_at_fork(after_in_child=lambda: time.sleep(0.02))\n",
    ),
    (
        "sympy/late.py",
        "from sympy import core\nloaded_with = core.value\n",
    ),
    ("sympy/unused.py", "value = 'unused'\n"),
    // Only Python itself may do what these do.
    ("networkx/__init__.py", "print('hello from networkx')\n"),
    (
        "mpmath/__init__.py",
        "import os\nos.environ['MPMATH'] = '1'\n",
    ),
    ("pandas/__init__.py", "1 / 0\n"),
    (
        "sortedcontainers.py",
        "import warnings\nwarnings.warn('old', DeprecationWarning, stacklevel=2)\nx = 1\n",
    ),
    (
        "scipy/__init__.py",
        "import threading\nstop = threading.Event()\n\
         threading.Thread(target=stop.wait, daemon=True).start()\n",
    ),
];

/// The one that tests share while any of them needs it; the last one removes it.
fn venv() -> Arc<Venv> {
    static SHARED: Mutex<Weak<Venv>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make_venv(PACKAGES));
        *shared = Arc::downgrade(&made);
        made
    })
}

fn make_venv(files: &[(&str, &str)]) -> Venv {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a temporary folder");
    let base = std::env::var("CODEJURY_TEST_PYTHON").unwrap_or("python3".to_owned());
    let made = Command::new(base)
        .args(["-m", "venv", "--without-pip"])
        .arg(folder.path())
        .status();
    assert!(
        made.expect("python starts").success(),
        "python makes a venv"
    );
    let python = folder.path().join("bin/python");
    let answer = Command::new(&python)
        .args(["-c", "import site; print(site.getsitepackages()[0])"])
        .output()
        .expect("python starts");
    let packages = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    for (name, text) in files {
        let file = packages.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    Venv {
        _folder: folder,
        python,
    }
}

fn sandbox(venv: &Venv, path: PathRequest) -> Sandbox {
    Sandbox::new(SandboxConfig {
        python: Some(venv.python.clone()),
        path,
        slots: Some(1),
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)")
}

fn run(sandbox: &Sandbox, source: &str) -> RunReport {
    sandbox
        .run(&RunRequest::python(source.as_bytes()))
        .expect("a run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program can see of imports, before and after each.
const SEEN: &str = "
import sys
def seen(what):
    parts = [name + ':' + ','.join(sorted(k for k, v in vars(module).items() if type(v) is type(sys)))
             for name, module in list(sys.modules.items())]
    filters = getattr(sys.modules.get('_warnings'), 'filters', ())
    print(what, parts, list(filters), sys.path, sys.meta_path, sys.path_hooks, sys.warnoptions)
seen('start')
";

#[test]
fn every_standard_import_shows_the_same_modules_in_the_same_order() {
    let venv = venv();
    let (warm, cold) = (
        sandbox(&venv, PathRequest::Warm),
        sandbox(&venv, PathRequest::Cold),
    );
    for names in [
        "typing",
        "collections",
        "re",
        "bisect",
        "heapq",
        "random",
        "functools",
        "copy",
        "string",
        "fractions",
        "operator",
        "datetime",
        "hashlib",
        "decimal",
        "queue",
        "json",
        "array",
        "statistics",
        "enum",
        "dataclasses",
        "contextlib",
        "threading",
        "struct",
        "textwrap",
        "unicodedata",
        "calendar",
        "numbers",
        "inspect",
        "traceback",
        "collections.abc",
        "math",
        "cmath",
        "itertools",
        "types",
        "abc",
        "json re",
        "re json",
        "random statistics fractions",
        "logging re",
        "unittest",
        "asyncio typing",
        "multiprocessing queue",
        "csv typing",
        "importlib inspect",
        "json.encoder",
        "json.tool re",
        "collections typing",
        "pickle copy",
        "concurrent.futures heapq",
        "sympy",
        "sympy.core",
        "sympy.unused re",
        "re sympy.late",
        "json sympy",
        "xml.dom.minidom re",
        "tempfile random",
    ] {
        let mut source = SEEN.to_owned();
        for name in names.split(' ') {
            source += &format!("import {name}\nseen({name:?})\n");
        }
        let (a, b) = (run(&warm, &source), run(&cold, &source));
        assert_eq!((a.path, b.path), (Path::Warm, Path::Cold), "{names}");
        assert_eq!(a.outcome, b.outcome, "{names}");
        assert_eq!(text(&a.stderr.bytes), text(&b.stderr.bytes), "{names}");
        let (a, b) = (text(&a.stdout.bytes), text(&b.stdout.bytes));
        for (a, b) in a.lines().zip(b.lines()) {
            let mask = |line: &str| {
                line.split("0x")
                    .map(|p| p.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
                    .collect::<String>()
            };
            assert_eq!(mask(a), mask(b), "{names}");
        }
        assert_eq!(a.lines().count(), b.lines().count(), "{names}");
    }
}

/// Runs each program on both paths; what they print must be the same, and `expected` in it.
fn assert_alike(cases: &[(&str, &str, &str)]) {
    let venv = venv();
    let (warm, cold) = (
        sandbox(&venv, PathRequest::Warm),
        sandbox(&venv, PathRequest::Cold),
    );
    for (name, source, expected) in cases {
        let (a, b) = (run(&warm, source), run(&cold, source));
        assert_eq!((a.path, b.path), (Path::Warm, Path::Cold), "{name}");
        for (a, b) in [(&a.stdout, &b.stdout), (&a.stderr, &b.stderr)] {
            assert_eq!(text(&a.bytes), text(&b.bytes), "{name}");
        }
        assert_eq!(a.outcome, b.outcome, "{name}");
        let printed = text(&a.stdout.bytes) + &text(&a.stderr.bytes);
        assert!(printed.contains(expected), "{name}: {printed}");
    }
}

#[test]
fn a_program_decides_what_a_name_means() {
    assert_alike(&[
        (
            "a file beside the program",
            "open('random.py', 'w').write('x = 1')\nimport random\nprint(random.__file__, random.x)\n",
            "/work/random.py 1",
        ),
        (
            "a package beside the program",
            "import os\nos.mkdir('json')\nopen('json/__init__.py', 'w').write('x = 2')\nimport json\nprint(json.x)\n",
            "2",
        ),
        (
            "a folder before all others",
            "import os, sys\nos.mkdir('/tmp/a')\nopen('/tmp/a/re.py', 'w').write('x = 3')\nsys.path.insert(0, '/tmp/a')\nimport re\nprint(re.x)\n",
            "3",
        ),
        (
            "an archive",
            "import sys, zipfile\nwith zipfile.ZipFile('/tmp/a.zip', 'w') as z: z.writestr('heapq.py', 'x = 4')\nsys.path.insert(0, '/tmp/a.zip')\nfor m in ('heapq', '_heapq'): sys.modules.pop(m, None)\nimport heapq\nprint(heapq.x)\n",
            "4",
        ),
        (
            "no path at all",
            "import sys\nsys.path[:] = []\nimport statistics\n",
            "No module named 'statistics'",
        ),
        (
            "a finder of its own",
            "import sys\nclass Finder:\n  @staticmethod\n  def find_spec(name, path, target=None):\n    if name == 'bisect': raise ImportError('mine')\nsys.meta_path.insert(0, Finder)\nimport bisect\n",
            "ImportError: mine",
        ),
        (
            "None forbids",
            "import sys\nsys.modules['random'] = None\nimport random\n",
            "import of random halted; None in sys.modules",
        ),
        (
            "its own module",
            "import sys, types\nsys.modules['string'] = types.SimpleNamespace(x=5)\nimport string, textwrap\nprint(string.x)\n",
            "5",
        ),
        (
            "a second copy",
            "import sys, string\na = string\ndel sys.modules['string']\nimport string\nprint(a is string, a.digits == string.digits)\n",
            "False True",
        ),
        (
            "a part of its own for a package",
            "import sys, types\nsys.modules['json.scanner'] = types.ModuleType('mine')\ntry: import json\nexcept AttributeError as e: print(e)\nprint('json' in sys.modules, 'json.decoder' in sys.modules)\n",
            "module 'mine' has no attribute 'make_scanner'\nFalse True",
        ),
        (
            "its own in place of what a module asks for",
            "import sys, types\nm = sys.modules['bisect'] = types.ModuleType('bisect')\nm.bisect = 5\nimport random\nprint(random._bisect)\n",
            "5",
        ),
        (
            "one that was asked for and deleted",
            "import sys, re\nold = sys.modules.pop('re')\nimport textwrap\nprint('re' in sys.modules, textwrap.re is old)\n",
            "True False",
        ),
        (
            "its own in place of what is always there",
            "import sys, types, os\nfake = types.ModuleType('os')\nfake.__dict__.update(vars(os))\nfake.urandom = len\nsys.modules['os'] = fake\nimport random\nprint(random._urandom)\n",
            "<built-in function len>",
        ),
        (
            "another main module",
            "import sys, types\nprint(sys.getrefcount(sys.modules['__main__']))\nsys.modules['__main__'] = types.ModuleType('other')\nraise KeyError('x')\n",
            "KeyError: 'x'",
        ),
        (
            "names in the order of loading",
            "import json, collections, importlib, concurrent\nprint(list(vars(json)), list(vars(collections))[-5:])\n",
            "decoder",
        ),
        (
            "how often it is referred to",
            "import sys, json\nprint(sys.getrefcount(json), sys.getrefcount(json.decoder))\n",
            "3 3",
        ),
        (
            "a part whose package was replaced",
            "import sys, types\nsys.modules['json'] = types.ModuleType('json')\ntry: import json.decoder\nexcept ImportError as e: print(e)\n",
            "'json' is not a package",
        ),
        (
            "a part that was not asked for",
            "import collections, importlib\nprint(hasattr(importlib, 'util'), hasattr(collections, 'abc'))\nimport typing\nprint(hasattr(collections, 'abc'))\n",
            "True",
        ),
        (
            "a failing import",
            "import typing\nfrom random import nothing\n",
            "cannot import name 'nothing' from 'random'",
        ),
        (
            "reload",
            "import importlib, bisect\nprint(importlib.reload(bisect) is bisect)\n",
            "True",
        ),
        (
            "threads that import the same at once",
            "import sys, time, _thread\nfound = []\n\
             def look():\n  import sympy.late, sympy.core\n  found.append((id(sympy), id(sympy.core), id(sympy.late)))\n\
             for _ in range(8): _thread.start_new_thread(look, ())\n\
             while len(found) < 8: time.sleep(0.001)\n\
             print(len(set(found)), 'of each')\n",
            "1 of each",
        ),
        (
            "threads",
            "import threading\nt = threading.main_thread()\nprint(t is threading.current_thread(), t.native_id == threading.get_native_id(), threading.active_count())\n",
            "True True 1",
        ),
        (
            "imports from a thread",
            "import threading\nt = threading.Thread(target=lambda: __import__('statistics'))\nt.start(); t.join()\nimport statistics\nprint(statistics.mean([1, 2, 3]))\n",
            "2",
        ),
        (
            "seeds",
            "import random\nrandom.seed(7)\nprint(random.random(), random.sample(range(100), 5))\n",
            "0.3238",
        ),
        (
            "pickles",
            "import pickle, dataclasses, decimal, re\n@dataclasses.dataclass\nclass A:\n  x: int = 1\nprint(pickle.loads(pickle.dumps(A(2))), pickle.loads(pickle.dumps(decimal.Decimal('1.5'))), pickle.loads(pickle.dumps(re.compile('a'))))\n",
            "A(x=2) 1.5 re.compile('a')",
        ),
    ]);
}

#[test]
fn what_only_python_itself_may_do_is_left_to_it() {
    assert_alike(&[
        (
            "it prints",
            "import networkx\nprint('main')\n",
            "hello from networkx\nmain",
        ),
        (
            "it sets a variable",
            "import os, mpmath\nprint(os.environ['MPMATH'])\n",
            "1",
        ),
        (
            "it changes nothing before",
            "import os\nprint(os.environ.get('MPMATH'))\nif 0:\n    import mpmath\n",
            "None",
        ),
        (
            "it fails",
            "try:\n    import pandas\nexcept ZeroDivisionError: print('failed')\n",
            "failed",
        ),
        (
            "it warns",
            "import sortedcontainers\nprint(sortedcontainers.x)\n",
            "DeprecationWarning: old",
        ),
        (
            "it starts a thread",
            "import scipy, threading\nprint(threading.active_count())\nscipy.stop.set()\n",
            "2",
        ),
        (
            "it is not there",
            "import numpy\n",
            "No module named 'numpy'",
        ),
        (
            "one is there, one not",
            "import sympy, numpy\n",
            "No module named 'numpy'",
        ),
        (
            "it filters warnings",
            "import warnings\nn = len(warnings.filters)\nimport sympy\nprint(len(warnings.filters) - n, sympy.value)\n",
            "1 42",
        ),
    ]);
}

#[test]
fn every_run_has_random_numbers_of_its_own() {
    let venv = venv();
    let sandbox = sandbox(&venv, PathRequest::Warm);
    // Each by itself: one that differs must not hide one that does not.
    for source in [
        "import random\nprint(random.random())\n",
        "import random\nprint(random.SystemRandom().random())\n",
        "import uuid\nprint(uuid.uuid4())\n",
        "import tempfile\nprint(tempfile.mktemp())\n",
    ] {
        let runs: Vec<String> = (0..10)
            .map(|_| text(&run(&sandbox, source).stdout.bytes))
            .collect();
        for (i, a) in runs.iter().enumerate() {
            assert!(a.len() > 10 && !runs[..i].contains(a), "{source}{a}");
        }
    }
}

/// A stand-in with numpy's layout and its generator of the module level.
#[test]
fn numpy_is_seeded_anew_in_every_run() {
    let venv = make_venv(&[
        ("numpy/__init__.py", "from . import random\n"),
        ("numpy/random/__init__.py", "from .mtrand import _rand\n"),
        (
            "numpy/random/mtrand.py",
            "import random\nclass State:\n  def seed(self): self.state = random.SystemRandom().random()\n\
             _rand = State()\n_rand.seed()\n",
        ),
    ]);
    let sandbox = sandbox(&venv, PathRequest::Warm);
    let runs: Vec<String> = (0..4)
        .map(|_| {
            let report = run(&sandbox, "import numpy\nprint(numpy.random._rand.state)\n");
            assert_eq!(report.path, Path::Warm);
            text(&report.stdout.bytes)
        })
        .collect();
    for (i, a) in runs.iter().enumerate() {
        assert!(a.starts_with("0.") && !runs[..i].contains(a), "{runs:?}");
    }
}

/// A stand-in with numpy's layout and an extension module that refuses to be loaded twice.
#[test]
fn a_package_that_cannot_be_loaded_twice_is_given_whatever_a_program_has_done() {
    let venv = make_venv(&[
        (
            "numpy/__init__.py",
            "import random\ntry: import fractions\nexcept ImportError: pass\nfrom . import _core\n",
        ),
        (
            "numpy/_core.py",
            "import sys\nif hasattr(sys, 'core_loaded'): raise ImportError('cannot load module more than once per process')\n\
             sys.core_loaded = True\n__spec__.loader = type('ExtensionFileLoader', (), {})()\n",
        ),
    ]);
    let (warm, cold) = (
        sandbox(&venv, PathRequest::Warm),
        sandbox(&venv, PathRequest::Cold),
    );
    for before in [
        "sys.modules['fractions'] = None",
        "import random; del sys.modules['random']",
        "import builtins; real = builtins.__import__; builtins.__import__ = lambda *a, **k: real(*a, **k)",
        "sys.meta_path.append(type('Finder', (), {'find_spec': staticmethod(lambda *a: None)}))",
        "sys.path = tuple(sys.path)",
        "open('numpy.py', 'w').write('_core = 5')",
    ] {
        let source = format!("import sys\n{before}\nimport numpy\nprint(type(numpy._core))\n");
        let (a, b) = (run(&warm, &source), run(&cold, &source));
        assert_eq!((a.path, b.path), (Path::Warm, Path::Cold));
        assert_eq!(text(&a.stdout.bytes), text(&b.stdout.bytes), "{before}");
        assert_eq!(text(&a.stderr.bytes), text(&b.stderr.bytes), "{before}");
        assert_eq!(a.outcome, b.outcome, "{before}");
    }
}

#[test]
fn what_is_printed_at_the_very_end_is_not_lost() {
    assert_alike(&[(
        "a finalizer",
        "import typing, random\nclass A:\n  def __del__(self): print('dies')\na = A()\n",
        "dies",
    )]);
}
