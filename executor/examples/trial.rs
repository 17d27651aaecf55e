use executor::*;
use std::time::Instant;
fn main() {
    let n: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let path = match std::env::args().nth(2).as_deref() { Some("cold") => PathRequest::Cold, _ => PathRequest::Warm };
    let py = std::env::args().nth(3).unwrap_or("/usr/bin/python3".into());
    let src = std::env::args().nth(4).map(|f| std::fs::read(f).unwrap()).unwrap_or(b"print(input())\n".to_vec());
    let sandbox = match Sandbox::new(SandboxConfig { python: Some(py.into()), path, slots: Some(1), ..Default::default() }) { Ok(s) => s, Err(e) => { let mut e: &dyn std::error::Error = &e; loop { eprintln!("{e}"); match e.source() { Some(s) => e = s, None => break } } ; std::process::exit(1) } };
    let mut r = RunRequest::python(src);
    r.stdin = b"hello\n".to_vec().into();
    let t = Instant::now();
    let mut last = None;
    for _ in 0..n { last = Some(sandbox.run(&r).unwrap()); }
    let e = t.elapsed();
    let last = last.unwrap();
    println!("{:?} {:?}\nout {}\nerr {}", last.outcome, last.path, String::from_utf8_lossy(&last.stdout.bytes), String::from_utf8_lossy(&last.stderr.bytes));
    drop(sandbox);
    use nix::sys::resource::{UsageWho, getrusage};
    let cpu: f64 = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].into_iter().map(|w| getrusage(w).unwrap()).flat_map(|u| [u.user_time(), u.system_time()]).map(|t| t.tv_sec() as f64 * 1e6 + t.tv_usec() as f64).sum();
    let faults: i64 = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].into_iter().map(|w| getrusage(w).unwrap()).map(|u| u.minor_page_faults()).sum();
    println!("faults {:.1} per run in all", faults as f64 / f64::from(n));
    println!("cpu {:.1} per run in all", cpu / f64::from(n));
    println!("{:?} {:?} us per run", last.usage, e.as_micros() / u128::from(n));
}
