//! Programs of ours that lie ready in their zygotes: the same bytes as on the cold path, and never
//! another program's cell.

use executor::{
    Outcome, Path, PathRequest, Program, Resident, RunReport, RunRequest, Sandbox, SandboxConfig,
};

/// `main.py` of a cold run: loads the module from standard input, and calls it.
const BOOT: &str = "\
import marshal, os
module = {'__name__': 'resident'}
exec(marshal.loads(os.read(0, int(os.read(0, 8), 16))), module)
module['run']()
";

fn sandbox(path: PathRequest) -> Sandbox {
    Sandbox::new(SandboxConfig {
        path,
        slots: Some(1),
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)")
}

/// The module compiled by the sandbox's interpreter.
fn compiled(sandbox: &Sandbox, source: &str) -> Vec<u8> {
    let mut request = RunRequest::python(
        &b"import marshal, sys\nopen(3, 'wb').write(marshal.dumps(compile(sys.stdin.read(), 'resident.py', 'exec')))\n"[..],
    );
    request.stdin = source.as_bytes().into();
    request.report_pipe = true;
    sandbox.run(&request).expect("a run").report
}

fn run(sandbox: &Sandbox, code: &[u8], input: &str) -> RunReport {
    let head = format!("{:08x}", code.len());
    let mut request = RunRequest::python(&b""[..]);
    request.program = Program::Python {
        source: BOOT.as_bytes().into(),
        args: Vec::new(),
    };
    request.stdin = [head.as_bytes(), code, input.as_bytes()].concat().into();
    request.resident = Some(Resident {
        code: code.into(),
        stdin_bytes: head.len() + code.len(),
    });
    sandbox.run(&request).expect("a run")
}

#[test]
fn a_resident_program_ends_as_its_cold_twin() {
    let (warm, cold) = (sandbox(PathRequest::Warm), sandbox(PathRequest::Cold));
    for source in [
        "import sys\ncount = []\ndef run():\n    count.append(1)\n    print(len(count), sys.stdin.read(), __name__)\n",
        "def run():\n    import sys\n    sys.exit(3)\n",
        "def depth(n):\n    try: return depth(n + 1)\n    except RecursionError: return n\ndef run(): print(depth(0))\n",
        "def run():\n    import sys, types\n    sys.modules['__main__'] = types.ModuleType('x')\n    print(len(sys.argv))\n",
    ] {
        let code = compiled(&warm, source);
        for input in ["", "a\n", "b\n"] {
            let (a, b) = (run(&warm, &code, input), run(&cold, &code, input));
            assert_eq!((a.path, b.path), (Path::Warm, Path::Cold));
            assert_eq!(a.outcome, b.outcome, "{source}");
            assert_eq!(a.stdout.bytes, b.stdout.bytes, "{source}");
            assert_eq!(a.stderr.bytes, b.stderr.bytes, "{source}");
        }
    }
}

#[test]
fn programs_of_one_length_do_not_share_a_cell() {
    let sandbox = sandbox(PathRequest::Warm);
    let codes =
        ["def run(): print(1)\n", "def run(): print(2)\n"].map(|source| compiled(&sandbox, source));
    assert_eq!(codes[0].len(), codes[1].len());
    for (i, code) in codes.iter().enumerate().cycle().take(6) {
        let printed = run(&sandbox, code, "").stdout.bytes;
        assert_eq!(printed, format!("{}\n", i + 1).as_bytes());
        let plain = sandbox.run(&RunRequest::python(&b"print('run' in globals())\n"[..]));
        assert_eq!(plain.expect("a run").stdout.bytes, b"False\n");
    }
}

#[test]
fn a_resident_program_that_raises_after_replacing_main_ends_with_its_traceback() {
    let sandbox = sandbox(PathRequest::Warm);
    let code = compiled(
        &sandbox,
        "def run():\n    import sys, types\n    sys.modules['__main__'] = types.ModuleType('x')\n    x = [bytes(1000) for _ in range(1000)]\n    raise KeyError('x')\n",
    );
    for _ in 0..5 {
        let report = run(&sandbox, &code, "");
        assert_eq!(report.outcome, Outcome::Exited { code: 1 });
        assert!(report.stderr.bytes.ends_with(b"KeyError: 'x'\n"));
    }
}
