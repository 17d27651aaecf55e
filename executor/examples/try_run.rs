//! Runs a file: `cargo run --example try_run FILE [COUNT]`.
use executor::*;
fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap();
    let n: usize = args.next().map_or(1, |n| n.parse().unwrap());
    let sandbox = match Sandbox::new(SandboxConfig { python: std::env::var_os("PY").map(Into::into), isolation: if std::env::var_os("RESTRICTED").is_some() {IsolationRequest::Restricted} else {IsolationRequest::Namespaces}, ..Default::default() }) {
        Ok(s) => s,
        Err(e) => { println!("{e}: {:?}", e); return; }
    };
    println!("{:?}", sandbox.interpreter());
    let mut request = RunRequest::python(std::fs::read(file).unwrap());
    request.stdin = b"1 2 3\n".to_vec().into();
    request.limits.wall_time = std::time::Duration::from_secs(3);
    for i in 0..n {
        let t = std::time::Instant::now();
        match sandbox.run(&request) {
            Ok(r) => { if i + 3 > n { println!("{:?} {:?} {:?} out={:?} err={:?}", t.elapsed(), r.outcome, r.usage, String::from_utf8_lossy(&r.stdout.bytes), String::from_utf8_lossy(&r.stderr.bytes)); } }
            Err(e) => println!("ERR {e:?}"),
        }
    }
}
