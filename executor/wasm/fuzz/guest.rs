//! A guest that makes whatever calls its standard input asks for: for `tests/calls.rs` and the fuzzer.

/// Every call of preview1 with its parameters: `i` has 32 bits, `I` 64.
pub(crate) const CALLS: &[(&str, &str)] = &[
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("sched_yield", ""),
    ("random_get", "ii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Most parameters of any call, each in eight bytes of a record; the call's number is in eight more.
pub(crate) const PARAMETERS: usize = 9;
pub(crate) const RECORD: usize = 8 + 8 * PARAMETERS;
/// In place of a call's number: writes the second parameter to the address in the first, so that
/// lists of buffers, subscriptions and paths can be anything too.
pub(crate) const STORE: u64 = 1000;
/// Where the guest puts a record; its data begins behind it.
const AT: usize = 256;
/// Of the guest's memory.
pub(crate) const PAGES: u32 = 2;

/// Paths, buffers and structures that well-formed calls can name, at known places.
pub(crate) const DATA: &[(usize, &str)] = &[
    (1024, "/tmp/a"),
    (1040, "b/../c"),
    (1056, "/work/given"),
    (1072, "/"),
    (1080, "../../.."),
    (1096, "/dev/urandom"),
    (1120, "/dev/stdout"),
    (1136, "/tmp/a/./b//c/"),
    (1160, "\\ff\\fe\\00x"),
];

/// The module's text.
pub(crate) fn guest() -> String {
    let mut imports = String::new();
    let mut arms = String::new();
    for (number, (name, parameters)) in CALLS.iter().enumerate() {
        let types: Vec<_> = parameters
            .chars()
            .map(|c| if c == 'i' { "i32" } else { "i64" })
            .collect();
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func $f{number} (param {}) (result i32)))\n",
            types.join(" ")
        );
        let arguments: String = types
            .iter()
            .enumerate()
            .map(|(i, of)| format!("({of}.load (i32.const {}))", AT + 8 + 8 * i))
            .collect();
        arms += &format!(
            "(if (i32.eq (i32.load (i32.const {AT})) (i32.const {number})) (then (drop (call $f{number} {arguments}))))\n"
        );
    }
    let store = format!(
        "(if (i32.eq (i32.load (i32.const {AT})) (i32.const {STORE})) (then (i64.store
          (i32.and (i32.load (i32.const {})) (i32.const 65535)) (i64.load (i32.const {})))))",
        AT + 8,
        AT + 16
    );
    let data: String = DATA
        .iter()
        .map(|(at, text)| format!("(data (i32.const {at}) \"{text}\")\n"))
        .collect();
    // The records come from a descriptor of their own, which the calls may close too: then it ends.
    format!(
        "(module {imports}
        (memory (export \"memory\") {PAGES}) {data}
        (func (export \"run_quick\") (result i32)
          (loop $next
            (i32.store (i32.const 0) (i32.const {AT})) (i32.store (i32.const 4) (i32.const {RECORD}))
            (if (call $f20 (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return (i32.const 1))))
            (if (i32.ne (i32.load (i32.const 8)) (i32.const {RECORD})) (then (return (i32.const 0))))
            {arms} {store}
            (br $next))
          (unreachable)))"
    )
}
