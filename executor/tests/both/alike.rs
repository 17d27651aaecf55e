// What the differential tests of warm against cold share. Included by `paths.rs` and `generated.rs`.

use executor::{PathRequest, RunReport, RunRequest, Sandbox, SandboxConfig};

fn sandbox(path: PathRequest) -> Sandbox {
    Sandbox::new(SandboxConfig {
        python: std::env::var_os("CODEJURY_TEST_PYTHON").map(Into::into),
        path,
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)")
}

/// Texts under names: `# --- NAME`, then the text.
fn named_texts(file: &str) -> Vec<(String, Vec<u8>)> {
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    for line in file.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("# --- ") {
            texts.push((name.trim().to_owned(), Vec::new()));
        } else {
            let bytes = line.replace("\\0", "\0").into_bytes();
            texts.last_mut().expect("a name first").1.extend(bytes);
        }
    }
    texts
}

/// What must be the same.
fn facts(report: &RunReport) -> (String, String, String) {
    // Addresses and times are not the program's doing.
    let text = |bytes: &[u8]| mask(&String::from_utf8_lossy(bytes));
    (
        format!("{:?}", report.outcome),
        text(&report.stdout.bytes),
        text(&report.stderr.bytes),
    )
}

/// Replaces addresses, which differ between any two runs: `0x7f…`, and the decimal ones of threads.
fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let address = word.starts_with("0x")
            || word.len() >= 15 && word[..14].bytes().all(|b| b.is_ascii_digit());
        out.push_str(if address { "@" } else { word });
    }
    out
}

/// The program's code; `None`: it does not compile, or not without a warning.
fn compiled(sandbox: &Sandbox, request: &RunRequest) -> Option<std::sync::Arc<[u8]>> {
    let executor::Program::Python { source, .. } = &request.program else {
        return None;
    };
    let name = sandbox.interpreter().script();
    let mut compile = RunRequest::python(
        format!(
            "import marshal, sys\ncode = compile(sys.stdin.buffer.read(), {name:?}, 'exec', 0, True)\n\
             open(3, 'wb').write(marshal.dumps(code))\n"
        )
        .as_bytes(),
    );
    compile.stdin = source.clone();
    compile.report_pipe = true;
    let report = sandbox.run(&compile).expect("a run");
    let fine = report.outcome == executor::Outcome::Exited { code: 0 };
    (fine && report.stderr.bytes_total == 0).then(|| report.report.into())
}
