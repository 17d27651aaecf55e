//! Runs the program as `python main.py` does, and ends as that ends, at less cost.
//!
//! Python's own way out (`Py_FinalizeEx`) waits for threads, runs exit handlers and flushes streams;
//! then it takes every module and object apart, which costs several times what a small program
//! costs and which nobody sees, unless an object that dies then does something: a `__del__`, a
//! buffered file, a suspended generator. So the same function is called, and a handler that was
//! registered before all others looks whether any such object is left. Only if there is none, the
//! process ends there.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::READY;
use crate::protocol::Payload;
use crate::python::{Python, Reference};
use crate::sys;

/// Exit status of the program, once it is known.
static STATUS: AtomicI32 = AtomicI32::new(0);
static KNOWN: AtomicBool = AtomicBool::new(false);
/// An unhandled KeyboardInterrupt: the process ends by that signal.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

const TP_FINALIZE: c_int = 80; // Py_tp_finalize
const HEAP_TYPE: u64 = 1 << 9;
const HAVE_GC: u64 = 1 << 14;

/// Runs the program and ends this process.
pub(crate) fn run_program(payload: &Payload) -> ! {
    let Some(ready) = READY.get() else {
        sys::exit_now(126)
    };
    let python = &ready.python;
    // As Python does while it runs a program, which may put another module in its place.
    // SAFETY: the GIL is held, and the module is there when a run begins.
    unsafe { (python.api.Py_IncRef)(python.main_module) };
    let result = match &payload.code {
        _ if payload.resident => python.run_resident(),
        Some(code) => python.run_code(code),
        None => python.run_file(),
    };
    // SAFETY: this is the forked interpreter's only thread at its fork, and holds the GIL.
    let status = unsafe { after(python, result) };
    STATUS.store(status, Ordering::Relaxed);
    KNOWN.store(true, Ordering::Relaxed);
    // SAFETY: as above; `finish` may end the process in here.
    let failed = unsafe { (python.api.Py_FinalizeEx)() } < 0;
    leave(if failed { 120 } else { status }, true)
}

/// What `python` does between the last statement and its own end. Returns the exit status.
unsafe fn after(python: &Python, result: Reference) -> i32 {
    let api = &python.api;
    // SAFETY: the GIL is held; an error is set exactly if `result` is null.
    unsafe {
        flush_quietly(python);
        (api.Py_IncRef)(python.main);
        let failed = result.is_null();
        if failed {
            (api.Py_DecRef)(python.main_module); // before the error is looked at
        }
        // From 3.14 on, before the error is looked at.
        let names_go_first = (api.PyObject_IsTrue)(python.left(c"names_go_first")) == 1;
        if names_go_first {
            forget_names(python);
        }
        let status = if failed {
            if (api.PyErr_ExceptionMatches)(python.system_exit) != 0 {
                let status = system_exit(python);
                (api.Py_DecRef)(python.main);
                return status;
            }
            let interrupted = match names_go_first {
                true => (api.PyErr_ExceptionMatches)(python.keyboard_interrupt) != 0,
                false => (api.PyErr_Occurred)() == python.keyboard_interrupt,
            };
            if interrupted {
                INTERRUPTED.store(true, Ordering::Relaxed);
                if let Some(noted) = interrupt_noted() {
                    noted.store(1, Ordering::Relaxed);
                }
            }
            (api.PyErr_PrintEx)(1);
            1
        } else {
            (api.Py_DecRef)(result);
            0
        };
        if !names_go_first {
            forget_names(python);
        }
        if !failed {
            (api.Py_DecRef)(python.main_module);
        }
        (api.Py_DecRef)(python.main);
        status
    }
}

/// Takes from `__main__` what Python has put there for its program, and keeps a pending error.
unsafe fn forget_names(python: &Python) {
    let api = &python.api;
    let [mut kind, mut value, mut traceback] = [ptr::null_mut(); 3];
    // SAFETY: the GIL is held; the three are handed back as they were.
    unsafe {
        (api.PyErr_Fetch)(&raw mut kind, &raw mut value, &raw mut traceback);
        for name in [c"__file__", c"__cached__"] {
            if (api.PyDict_DelItemString)(python.main, name.as_ptr()) != 0 {
                (api.PyErr_Clear)();
            }
        }
        (api.PyErr_Restore)(kind, value, traceback);
    }
}

/// Flushes both streams, keeps a pending error, and ignores new ones.
unsafe fn flush_quietly(python: &Python) {
    let api = &python.api;
    let [mut kind, mut value, mut traceback] = [ptr::null_mut(); 3];
    // SAFETY: the GIL is held; the three are handed back as they were.
    unsafe {
        (api.PyErr_Fetch)(&raw mut kind, &raw mut value, &raw mut traceback);
        for name in [c"stderr", c"stdout"] {
            let stream = (api.PySys_GetObject)(name.as_ptr());
            if stream.is_null() || !call(python, stream, c"flush") {
                (api.PyErr_Clear)();
            }
        }
        (api.PyErr_Restore)(kind, value, traceback);
    }
}

/// The exit status that a pending SystemExit asks for; a message goes to standard error. Clears it:
/// its traceback would keep the program's objects alive.
unsafe fn system_exit(python: &Python) -> i32 {
    let api = &python.api;
    let [mut kind, mut value, mut traceback] = [ptr::null_mut(); 3];
    // SAFETY: the GIL is held; the three references are ours, and may be null.
    unsafe {
        (api.PyErr_Fetch)(&raw mut kind, &raw mut value, &raw mut traceback);
        let status = exit_status(python, value);
        // A number too large, or a message that has no text: newer versions report that on their
        // way out.
        if (api.PyObject_IsTrue)(python.left(c"exit_keeps_error")) == 0 {
            (api.PyErr_Clear)();
        }
        for reference in [kind, value, traceback] {
            (api.Py_DecRef)(reference); // takes null, too
        }
        status
    }
}

unsafe fn exit_status(python: &Python, value: Reference) -> i32 {
    let api = &python.api;
    // SAFETY: the caller holds the GIL and keeps `value`, which may be null.
    unsafe {
        if value.is_null() || value == python.none {
            return 0;
        }
        let mut code = value;
        if python.is(value, python.base_exception) {
            code = (api.PyObject_GetAttrString)(value, c"code".as_ptr());
            if code.is_null() {
                (api.PyErr_Clear)();
                code = value;
            }
        }
        if code == python.none {
            return 0;
        }
        if python.is(code, python.long_type) {
            return (api.PyLong_AsLong)(code) as i32;
        }
        let stderr = (api.PySys_GetObject)(c"stderr".as_ptr());
        if !stderr.is_null() && stderr != python.none {
            (api.PyFile_WriteObject)(code, stderr, 1);
        } else if let Some(text) = utf8(python, (api.PyObject_Str)(code)) {
            libc::write(2, text.as_ptr().cast(), text.count_bytes());
        }
        (api.PySys_WriteStderr)(c"\n".as_ptr());
        1
    }
}

/// The text of a string object, borrowed from it; `None`: it is none, or has lone surrogates.
unsafe fn utf8<'a>(python: &Python, string: Reference) -> Option<&'a CStr> {
    // SAFETY: the caller holds the GIL and keeps the string alive as long as the text.
    unsafe {
        let text = match string.is_null() {
            true => ptr::null(),
            false => (python.api.PyUnicode_AsUTF8)(string),
        };
        if text.is_null() {
            (python.api.PyErr_Clear)();
            return None;
        }
        Some(CStr::from_ptr(text))
    }
}

/// Calls a method without arguments. On an error it stays set.
unsafe fn call(python: &Python, object: Reference, method: &CStr) -> bool {
    // SAFETY: the caller holds the GIL and a live object.
    unsafe {
        let method = (python.api.PyObject_GetAttrString)(object, method.as_ptr());
        if method.is_null() {
            return false;
        }
        let result = (python.api.PyObject_CallObject)(method, ptr::null_mut());
        (python.api.Py_DecRef)(method);
        if result.is_null() {
            return false;
        }
        (python.api.Py_DecRef)(result);
        true
    }
}

/// The last exit handler: ends the process here if taking it apart would show nothing.
pub(crate) extern "C" fn finish(_: Reference, _: Reference) -> Reference {
    let Some(ready) = READY.get() else {
        return ptr::null_mut();
    };
    let python = &ready.python;
    // Not our own call of Py_FinalizeEx: somebody else ends, with a status that only he knows.
    if KNOWN.load(Ordering::Relaxed) {
        // SAFETY: Python calls exit handlers with the GIL held.
        unsafe {
            let frozen = has_frozen(python);
            if !frozen && !collector_speaks(python) && !dies_loudly(python) && flush_streams(python)
            {
                leave(STATUS.load(Ordering::Relaxed), false);
            }
            if !frozen {
                // What was frozen before the fork, `__main__` among it, must be collectable again.
                (python.api.PyObject_CallObject)(python.left(c"unfreeze"), ptr::null_mut());
            }
        }
    }
    // SAFETY: the GIL is held; the new reference is the caller's.
    unsafe { (python.api.PyObject_GetAttrString)(python.none, c"__doc__".as_ptr()) }
}

/// Flushes the two streams. False: one is not the stream that Python made, or cannot be flushed;
/// then Python itself must do it, and report it.
unsafe fn flush_streams(python: &Python) -> bool {
    let api = &python.api;
    for name in [c"stdout", c"stderr"] {
        // SAFETY: the caller holds the GIL; streams are borrowed from sys, which keeps them.
        unsafe {
            let stream = (api.PySys_GetObject)(name.as_ptr());
            let original = (api.PyLong_AsSsize_t)(python.left(name));
            if stream.is_null() || stream as isize != original {
                return false;
            }
            if !is_closed(python, stream) && !call(python, stream, c"flush") {
                (api.PyErr_Clear)();
                return false;
            }
        }
    }
    true
}

unsafe fn is_closed(python: &Python, stream: Reference) -> bool {
    // SAFETY: the caller holds the GIL and a live object.
    unsafe {
        let closed = (python.api.PyObject_GetAttrString)(stream, c"closed".as_ptr());
        truth(python, closed) == Some(true)
    }
}

/// Takes a new reference, or null for an error, and says whether the object counts as true.
unsafe fn truth(python: &Python, object: Reference) -> Option<bool> {
    let api = &python.api;
    // SAFETY: the caller holds the GIL and gives the reference away.
    unsafe {
        let truth = match object.is_null() {
            true => -1,
            false => (api.PyObject_IsTrue)(object),
        };
        if truth < 0 {
            (api.PyErr_Clear)();
        }
        (api.Py_DecRef)(object);
        (truth >= 0).then_some(truth > 0)
    }
}

/// Whether some object of the program does something visible when it dies.
unsafe fn dies_loudly(python: &Python) -> bool {
    let api = &python.api;
    // SAFETY: the caller holds the GIL; `prepare.py` left these names, with these types; the list
    // keeps its objects alive while they are looked at.
    unsafe {
        let objects = (api.PyObject_CallObject)(python.left(c"objects"), ptr::null_mut());
        if objects.is_null() {
            (api.PyErr_Clear)();
            return true;
        }
        let loud = Look::new(python).any(objects);
        // It would keep everything alive.
        (api.Py_DecRef)(objects);
        loud
    }
}

/// Whether the program itself hid objects from the collector, where none is looked for. Counting is
/// dear, so only who imported the collector's module is asked.
unsafe fn has_frozen(python: &Python) -> bool {
    let api = &python.api;
    // SAFETY: the caller holds the GIL; `prepare.py` left these names, a function and a number.
    unsafe {
        if !is_imported(python, c"gc") {
            return false;
        }
        let now = (api.PyObject_CallObject)(python.left(c"freeze_count"), ptr::null_mut());
        let before = python.left(c"frozen");
        if now.is_null() || before.is_null() {
            (api.PyErr_Clear)();
            return true;
        }
        // Those frozen before may have died since.
        (api.PyLong_AsLong)(now) > (api.PyLong_AsLong)(before)
    }
}

/// Whether the collections of Python's own end would show: the program is told of them, or asked for
/// a report.
unsafe fn collector_speaks(python: &Python) -> bool {
    let api = &python.api;
    // SAFETY: the caller holds the GIL; `prepare.py` left these names, a list and a function.
    unsafe {
        if !is_imported(python, c"gc") {
            return false;
        }
        let flags = (api.PyObject_CallObject)(python.left(c"get_debug"), ptr::null_mut());
        (api.PyList_Size)(python.left(c"callbacks")) != 0 || truth(python, flags) != Some(false)
    }
}

unsafe fn is_imported(python: &Python, module: &CStr) -> bool {
    let api = &python.api;
    // SAFETY: the caller holds the GIL; the lookups borrow.
    unsafe {
        let modules = (api.PySys_GetObject)(c"modules".as_ptr());
        modules.is_null() || !(api.PyDict_GetItemString)(modules, module.as_ptr()).is_null()
    }
}

/// What the end of objects of a class can show.
enum Deaths {
    Quiet,
    Loud,
    OfInstance,
}

struct Look<'a> {
    python: &'a Python,
    suspended: Reference,
    streams: Reference,
    weak: Reference,
    /// The program may have asked for warnings about files left open.
    warnings: bool,
}

impl<'a> Look<'a> {
    fn new(python: &'a Python) -> Self {
        Self {
            python,
            suspended: python.left(c"suspended"),
            streams: python.left(c"streams"),
            weak: python.left(c"weak"),
            // SAFETY: `finish` holds the GIL, and only it looks.
            warnings: unsafe { is_imported(python, c"warnings") },
        }
    }

    unsafe fn any(&self, objects: Reference) -> bool {
        let api = &self.python.api;
        // Most objects are of few classes, and come in series.
        let mut quiet = [ptr::null_mut(); 8];
        // SAFETY: the caller holds the GIL; the list keeps its objects alive while they are looked at.
        unsafe {
            for index in 0..(api.PyList_Size)(objects) {
                let object = (api.PyList_GetItem)(objects, index);
                let class = Python::class(object);
                if quiet.contains(&class) {
                    continue;
                }
                match self.class(class) {
                    Deaths::Quiet => quiet[index as usize % quiet.len()] = class,
                    Deaths::Loud => return true,
                    Deaths::OfInstance if self.instance(object, class) => return true,
                    Deaths::OfInstance => {}
                }
            }
        }
        false
    }

    unsafe fn among(&self, classes: Reference, class: Reference) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL; both are live, `classes` is a tuple of classes.
        unsafe {
            (0..(api.PyTuple_Size)(classes))
                .any(|i| (api.PyType_IsSubtype)(class, (api.PyTuple_GetItem)(classes, i)) != 0)
        }
    }

    unsafe fn class(&self, class: Reference) -> Deaths {
        // SAFETY: the caller holds the GIL, `class` is a live class.
        unsafe {
            if self.among(self.suspended, class) {
                return Deaths::Loud; // its `finally` blocks
            }
            if self.among(self.streams, class) {
                return Deaths::OfInstance;
            }
            let api = &self.python.api;
            let is_class = (api.PyType_IsSubtype)(class, self.python.type_type) != 0;
            if is_class || (api.PyType_IsSubtype)(class, self.weak) != 0 {
                return Deaths::OfInstance;
            }
            if self.finalizes(class) {
                Deaths::Loud
            } else {
                Deaths::Quiet
            }
        }
    }

    /// Whether a class made at run time has a `__del__`.
    unsafe fn finalizes(&self, class: Reference) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL, `class` is a live class; slots are asked of heap types
        // only, which every version allows.
        unsafe {
            (api.PyType_GetFlags)(class) & HEAP_TYPE != 0
                && !(api.PyType_GetSlot)(class, TP_FINALIZE).is_null()
        }
    }

    unsafe fn instance(&self, object: Reference, class: Reference) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL and keeps the object alive.
        unsafe {
            if self.among(self.streams, class) {
                return self.unwritten(object);
            }
            if (api.PyType_IsSubtype)(class, self.weak) != 0 {
                let callback = (api.PyObject_GetAttrString)(object, c"__callback__".as_ptr());
                if callback.is_null() {
                    (api.PyErr_Clear)();
                    return false;
                }
                let loud = callback != self.python.none && self.of_program(callback);
                (api.Py_DecRef)(callback);
                return loud;
            }
            // A class whose instances the collector does not see: the class itself must tell.
            (api.PyType_GetFlags)(object) & HAVE_GC == 0 && self.finalizes(object)
        }
    }

    /// Whether a stream may hold bytes that its end would write.
    unsafe fn unwritten(&self, stream: Reference) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL and keeps the object alive.
        unsafe {
            if is_closed(self.python, stream) {
                return false;
            }
            if self.warnings {
                return true; // that it was left open
            }
            let method = (api.PyObject_GetAttrString)(stream, c"writable".as_ptr());
            if method.is_null() {
                (api.PyErr_Clear)();
                return true;
            }
            let writable = (api.PyObject_CallObject)(method, ptr::null_mut());
            (api.Py_DecRef)(method);
            truth(self.python, writable) != Some(false)
        }
    }

    /// Whether a function was defined by the program itself.
    unsafe fn of_program(&self, function: Reference) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL and keeps the object alive.
        unsafe {
            let module = (api.PyObject_GetAttrString)(function, c"__module__".as_ptr());
            if module.is_null() {
                (api.PyErr_Clear)();
                return true;
            }
            let ours = module != self.python.none
                && utf8(self.python, module).is_none_or(|name| name == c"__main__");
            (api.Py_DecRef)(module);
            ours
        }
    }
}

/// Where Python notes an unhandled KeyboardInterrupt, up to 3.11. Text that an exit handler evaluates
/// takes the note back, and with it the end by a signal.
fn interrupt_noted() -> Option<&'static AtomicI32> {
    // SAFETY: dlsym reads the name; the variable is an aligned C int that lives as long as the
    // process, and only the thread that holds the GIL writes it.
    unsafe {
        let place = libc::dlsym(
            libc::RTLD_DEFAULT,
            c"_Py_UnhandledKeyboardInterrupt".as_ptr(),
        );
        place.cast::<AtomicI32>().as_ref()
    }
}

/// Ends the process as Python would: C streams flushed, and by the signal if it was interrupted.
fn leave(status: i32, finalized: bool) -> ! {
    // SAFETY: fflush(null) and exit touch only the C library's own state; signal and kill take
    // numbers.
    unsafe {
        if INTERRUPTED.load(Ordering::Relaxed)
            && interrupt_noted().is_none_or(|noted| noted.load(Ordering::Relaxed) != 0)
        {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::kill(libc::getpid(), libc::SIGINT);
        }
        if finalized {
            libc::exit(status);
        }
        libc::fflush(ptr::null_mut());
    }
    sys::exit_now(status)
}
