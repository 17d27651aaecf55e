//! The interpreter that this library is loaded into: its functions by name, and its preparation.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::ptr;

use crate::ending;
use crate::imports::{self, Hidden};
use crate::protocol::SetupFailure;
use crate::step::Step;

/// Any Python object; only the interpreter looks inside.
#[repr(C)]
pub(crate) struct Object {
    references: isize,
    kind: *mut Object,
}

/// A reference as C code holds it: owned or borrowed, as each function's page says.
pub(crate) type Reference = *mut Object;

macro_rules! api {
    ($($name:ident: fn($($argument:ty),* $(; $variadic:tt)?) $(-> $result:ty)?;)*) => {
        /// The functions of CPython that are called here. All are in 3.8 to 3.14, by these types.
        #[allow(non_snake_case, reason = "they are called as CPython calls them")]
        pub(crate) struct Api {
            $(pub(crate) $name: unsafe extern "C" fn($($argument,)* $($variadic)?) $(-> $result)?,)*
        }

        impl Api {
            fn find() -> Step<Self> {
                Ok(Self {
                    $($name: {
                        let address = symbol(stringify!($name))?;
                        // SAFETY: CPython documents the function of this name with this type.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($argument,)* $($variadic)?) $(-> $result)?,
                            >(address)
                        }
                    },)*
                })
            }
        }
    };
}

api! {
    PyGILState_Ensure: fn() -> c_int;
    PyOS_BeforeFork: fn();
    PyOS_AfterFork_Child: fn();
    Py_FinalizeEx: fn() -> c_int;
    Py_IncRef: fn(Reference);
    Py_DecRef: fn(Reference);
    PyDict_New: fn() -> Reference;
    PyDict_GetItem: fn(Reference, Reference) -> Reference;
    PyDict_SetItem: fn(Reference, Reference, Reference) -> c_int;
    PyDict_GetItemString: fn(Reference, *const c_char) -> Reference;
    PyDict_SetItemString: fn(Reference, *const c_char, Reference) -> c_int;
    PyDict_DelItemString: fn(Reference, *const c_char) -> c_int;
    PyList_New: fn(isize) -> Reference;
    PyList_Append: fn(Reference, Reference) -> c_int;
    PyList_Size: fn(Reference) -> isize;
    PyList_GetItem: fn(Reference, isize) -> Reference;
    PyTuple_New: fn(isize) -> Reference;
    PyTuple_SetItem: fn(Reference, isize, Reference) -> c_int;
    PyTuple_Size: fn(Reference) -> isize;
    PyTuple_GetItem: fn(Reference, isize) -> Reference;
    PyUnicode_DecodeFSDefault: fn(*const c_char) -> Reference;
    PyUnicode_AsUTF8: fn(Reference) -> *const c_char;
    PyLong_AsLong: fn(Reference) -> c_long;
    PyLong_AsSsize_t: fn(Reference) -> isize;
    PyImport_AddModule: fn(*const c_char) -> Reference;
    PyModule_GetDict: fn(Reference) -> Reference;
    PyEval_GetBuiltins: fn() -> Reference;
    Py_CompileStringExFlags: fn(*const c_char, *const c_char, c_int, *mut Flags, c_int) -> Reference;
    PyEval_EvalCode: fn(Reference, Reference, Reference) -> Reference;
    PyRun_FileExFlags: fn(
        *mut libc::FILE, *const c_char, c_int, Reference, Reference, c_int, *mut Flags
    ) -> Reference;
    PyBytes_FromStringAndSize: fn(*const c_char, isize) -> Reference;
    PyMarshal_ReadObjectFromString: fn(*const c_char, isize) -> Reference;
    PyCFunction_NewEx: fn(*const Method, Reference, Reference) -> Reference;
    PyObject_SetAttr: fn(Reference, Reference, Reference) -> c_int;
    PyObject_GetAttrString: fn(Reference, *const c_char) -> Reference;
    PyObject_CallObject: fn(Reference, Reference) -> Reference;
    PyObject_Str: fn(Reference) -> Reference;
    PyObject_IsTrue: fn(Reference) -> c_int;
    PyFile_WriteObject: fn(Reference, Reference, c_int) -> c_int;
    PySys_GetObject: fn(*const c_char) -> Reference;
    PySys_WriteStderr: fn(*const c_char; ...);
    PyType_IsSubtype: fn(Reference, Reference) -> c_int;
    PyType_GetFlags: fn(Reference) -> u64;
    PyType_GetSlot: fn(Reference, c_int) -> *mut c_void;
    PyErr_Occurred: fn() -> Reference;
    PyErr_ExceptionMatches: fn(Reference) -> c_int;
    PyErr_Fetch: fn(*mut Reference, *mut Reference, *mut Reference);
    PyErr_Restore: fn(Reference, Reference, Reference);
    PyErr_PrintEx: fn(c_int);
    PyErr_Clear: fn();
}

/// How source is compiled (`PyCompilerFlags`).
#[repr(C)]
pub(crate) struct Flags {
    flags: c_int,
    feature_version: c_int,
}

/// A function of ours that Python can call (`PyMethodDef`).
#[repr(C)]
pub(crate) struct Method {
    name: *const c_char,
    function: extern "C" fn(Reference, Reference) -> Reference,
    flags: c_int,
    doc: *const c_char,
}

const ARGUMENTS: c_int = 1; // METH_VARARGS
const NO_ARGUMENTS: c_int = 4; // METH_NOARGS
/// Grammar start for a file's content (`Py_file_input`).
const FILE_INPUT: c_int = 257;
/// The file name of `prepare.py`: to Python, its frames are those of the import system.
const PREPARE: &CStr = c"<frozen importlib._bootstrap>";

struct Shared(Method);
// SAFETY: the pointers lead to static strings; nobody writes through them.
unsafe impl Sync for Shared {}
static FINISH: Shared = Shared(Method {
    name: c"finish".as_ptr(),
    function: ending::finish,
    flags: NO_ARGUMENTS,
    doc: ptr::null(),
});
static FIND_AND_LOAD: Shared = Shared(Method {
    name: c"_find_and_load".as_ptr(),
    function: imports::find_and_load,
    flags: ARGUMENTS,
    doc: ptr::null(),
});

/// The prepared interpreter.
pub(crate) struct Python {
    pub(crate) api: Api,
    pub(crate) none: Reference,
    pub(crate) long_type: Reference,
    pub(crate) type_type: Reference,
    pub(crate) base_exception: Reference,
    pub(crate) system_exit: Reference,
    pub(crate) keyboard_interrupt: Reference,
    /// The program's path as Python opened it.
    pub(crate) path: CString,
    /// `__main__`, and its namespace. Borrowed: a run keeps them while it needs them.
    pub(crate) main_module: Reference,
    pub(crate) main: Reference,
    /// Namespace of `prepare.py`: what it leaves is read by `ending.rs`.
    pub(crate) prepared: Reference,
}

// SAFETY: one thread uses it: the zygote's, or in a forked run its main thread, with the GIL held.
unsafe impl Send for Python {}
// SAFETY: as above.
unsafe impl Sync for Python {}

fn symbol(name: &str) -> Step<*mut c_void> {
    let c_name = CString::new(name).unwrap_or_default();
    // SAFETY: dlsym reads the name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c_name.as_ptr()) };
    if address.is_null() {
        return Err(SetupFailure {
            step: format!("finding {name} in the interpreter"),
            errno: libc::ENOSYS,
        });
    }
    Ok(address)
}

/// A global variable that holds a reference.
fn variable(name: &str) -> Step<Reference> {
    let address = symbol(name)?;
    // SAFETY: CPython documents the variable of this name as a `PyObject *`, set before `main.py`.
    Ok(unsafe { *address.cast::<Reference>() })
}

impl Python {
    /// Finds everything by name, and takes the GIL for good: from 3.10 on, Python lets go of it while
    /// it opens its program.
    pub(crate) fn find(path: &CStr) -> Step<Self> {
        let api = Api::find()?;
        // SAFETY: the interpreter has started, in this thread. `__main__` exists and is never
        // replaced before it runs.
        let (main_module, main, prepared) = unsafe {
            (api.PyGILState_Ensure)();
            let module = (api.PyImport_AddModule)(c"__main__".as_ptr());
            (module, (api.PyModule_GetDict)(module), (api.PyDict_New)())
        };
        Ok(Self {
            none: symbol("_Py_NoneStruct")?.cast(),
            long_type: symbol("PyLong_Type")?.cast(),
            type_type: symbol("PyType_Type")?.cast(),
            base_exception: variable("PyExc_BaseException")?,
            system_exit: variable("PyExc_SystemExit")?,
            keyboard_interrupt: variable("PyExc_KeyboardInterrupt")?,
            path: path.to_owned(),
            main_module,
            main,
            prepared,
            api,
        })
    }

    /// Runs `prepare.py`: what python does before its program, and the functions called later.
    pub(crate) fn prepare(&self) -> Step<()> {
        let api = &self.api;
        let source = CString::new(include_str!("prepare.py")).unwrap_or_default();
        // SAFETY: the GIL is held; every reference comes from the call that the API says makes it,
        // and the namespace outlives the process.
        let done = unsafe {
            let set = |name: &CStr, value| {
                (api.PyDict_SetItemString)(self.prepared, name.as_ptr(), value)
            };
            let function = |method: &'static Shared| {
                (api.PyCFunction_NewEx)(&raw const method.0, ptr::null_mut(), ptr::null_mut())
            };
            set(c"__builtins__", (api.PyEval_GetBuiltins)());
            set(c"path", (api.PyUnicode_DecodeFSDefault)(self.path.as_ptr()));
            set(c"finish", function(&FINISH));
            set(c"find_and_load", function(&FIND_AND_LOAD));
            let code = (api.Py_CompileStringExFlags)(
                source.as_ptr(),
                PREPARE.as_ptr(),
                FILE_INPUT,
                ptr::null_mut(),
                -1,
            );
            match code.is_null() {
                true => code,
                false => (api.PyEval_EvalCode)(code, self.prepared, self.prepared),
            }
        };
        self.done("preparing the interpreter", done)
    }

    /// Imports modules, to be hidden by [`Python::settle`].
    pub(crate) fn warm(&self, names: &[String]) -> Step<()> {
        let api = &self.api;
        // SAFETY: the GIL is held; list and tuple take the references made for them.
        let done = unsafe {
            let list = (api.PyList_New)(0);
            for name in names {
                let name = CString::new(name.as_str()).unwrap_or_default();
                (api.PyList_Append)(list, (api.PyUnicode_DecodeFSDefault)(name.as_ptr()));
            }
            let arguments = (api.PyTuple_New)(1);
            (api.PyTuple_SetItem)(arguments, 0, list);
            (api.PyObject_CallObject)(self.left(c"warm"), arguments)
        };
        self.done("importing beforehand", done)
    }

    /// Hides what was imported, and keeps the collector away from everything so far.
    pub(crate) fn settle(&self) -> Step<Hidden> {
        let api = &self.api;
        let call = |name| {
            // SAFETY: the GIL is held; `prepare.py` left the functions of these names.
            let result = unsafe { (api.PyObject_CallObject)(self.left(name), ptr::null_mut()) };
            self.done("settling the interpreter", result)?;
            Ok(result)
        };
        let lists = call(c"settle")?;
        // SAFETY: the GIL is held; what came back is ours, and nobody else's.
        let hidden = unsafe {
            let hidden = Hidden::take(self, lists);
            (api.Py_DecRef)(lists);
            hidden
        };
        call(c"freeze_all")?;
        Ok(hidden)
    }

    /// Runs a marshalled module, whose function `run` will be the program of runs.
    pub(crate) fn load_resident(&self, code: &[u8]) -> Step<()> {
        let api = &self.api;
        // SAFETY: the GIL is held; the dictionary takes the reference made for it, and what is left
        // of the others lives as long as the process.
        let done = unsafe {
            let bytes = (api.PyBytes_FromStringAndSize)(code.as_ptr().cast(), code.len() as isize);
            let arguments = (api.PyTuple_New)(1);
            (api.PyTuple_SetItem)(arguments, 0, bytes);
            (api.PyObject_CallObject)(self.left(c"load_resident"), arguments)
        };
        self.done("loading the resident program", done)
    }

    /// Writes out what Python's streams hold.
    pub(crate) fn flush(&self) {
        let api = &self.api;
        // SAFETY: the GIL is held; streams are borrowed from sys; what is new is given back, since a
        // reference would keep a stream from its last flush.
        unsafe {
            for name in [c"stdout", c"stderr"] {
                let stream = (api.PySys_GetObject)(name.as_ptr());
                if stream.is_null() || stream == self.none {
                    continue;
                }
                let flush = (api.PyObject_GetAttrString)(stream, c"flush".as_ptr());
                if flush.is_null() {
                    continue;
                }
                (api.Py_DecRef)((api.PyObject_CallObject)(flush, ptr::null_mut()));
                (api.Py_DecRef)(flush);
            }
            (api.PyErr_Clear)(); // a failure is none of ours
        }
    }

    fn done(&self, what: &str, result: Reference) -> Step<()> {
        if result.is_null() {
            // SAFETY: the GIL is held; the description is text that lives until it is copied.
            let text = unsafe { self.describe_error() };
            return Err(SetupFailure {
                step: format!("{what} ({text})"),
                errno: libc::ENOEXEC,
            });
        }
        Ok(())
    }

    unsafe fn describe_error(&self) -> String {
        let api = &self.api;
        let [mut kind, mut value, mut traceback] = [ptr::null_mut(); 3];
        // SAFETY: the GIL is held; the three are written by the call, and may be null.
        unsafe {
            (api.PyErr_Fetch)(&raw mut kind, &raw mut value, &raw mut traceback);
            let text = if value.is_null() {
                ptr::null_mut()
            } else {
                (api.PyObject_Str)(value)
            };
            if text.is_null() {
                return "no message".to_owned();
            }
            let bytes = (api.PyUnicode_AsUTF8)(text);
            if bytes.is_null() {
                return "no message".to_owned();
            }
            CStr::from_ptr(bytes).to_string_lossy().into_owned()
        }
    }

    /// A value that `prepare.py` left.
    pub(crate) fn left(&self, name: &CStr) -> Reference {
        // SAFETY: the GIL is held by whoever uses this type; the namespace lives for ever.
        unsafe { (self.api.PyDict_GetItemString)(self.prepared, name.as_ptr()) }
    }

    /// Takes the locks that fork demands, for good: pid 1 runs no Python any more.
    pub(crate) fn before_fork(&self) {
        // SAFETY: the interpreter runs, this thread holds the GIL.
        unsafe { (self.api.PyOS_BeforeFork)() };
    }

    /// In the child: gives its locks back and runs what modules registered (new random seeds).
    pub(crate) fn after_fork(&self) {
        // SAFETY: this process was forked after `before_fork`, by the thread that holds the GIL.
        unsafe { (self.api.PyOS_AfterFork_Child)() };
    }

    /// The class of an object.
    ///
    /// # Safety
    ///
    /// `object` is a live object of a build with the usual object header (`prepare.py` refuses the
    /// free-threaded ones).
    pub(crate) unsafe fn class(object: Reference) -> Reference {
        // SAFETY: the caller's word.
        unsafe { (*object).kind }
    }

    /// Whether an object is an instance of a class, by its own class alone.
    ///
    /// # Safety
    ///
    /// Both are live objects; the GIL is held.
    pub(crate) unsafe fn is(&self, object: Reference, class: Reference) -> bool {
        // SAFETY: the caller's word.
        unsafe { (self.api.PyType_IsSubtype)(Self::class(object), class) != 0 }
    }

    /// Runs `main.py` from its file, in `__main__`. Null: it raised.
    pub(crate) fn run_file(&self) -> Reference {
        let mut flags = Flags {
            flags: 0,
            feature_version: 0,
        };
        // SAFETY: the GIL is held; the file is closed by the call; path, namespace and flags outlive
        // it.
        unsafe {
            let file = libc::fopen(self.path.as_ptr(), c"rb".as_ptr());
            if file.is_null() {
                crate::sys::exit_now(126);
            }
            (self.api.PyRun_FileExFlags)(
                file,
                self.path.as_ptr(),
                FILE_INPUT,
                self.main,
                self.main,
                1,
                &raw mut flags,
            )
        }
    }

    /// Calls the program that lies ready. Null: it raised.
    pub(crate) fn run_resident(&self) -> Reference {
        // SAFETY: the GIL is held; `load_resident` in `prepare.py` left both.
        unsafe {
            let namespace = self.left(c"resident");
            (self.api.PyEval_EvalCode)(self.left(c"call_resident"), namespace, namespace)
        }
    }

    /// Runs marshalled code in `__main__`. Null: it raised.
    pub(crate) fn run_code(&self, code: &[u8]) -> Reference {
        // SAFETY: the GIL is held; the bytes outlive the call. They are the submission's own and
        // are read in its own process: whatever they do there, it could do anyway.
        unsafe {
            let code = (self.api.PyMarshal_ReadObjectFromString)(
                code.as_ptr().cast(),
                code.len() as isize,
            );
            if code.is_null() {
                return code;
            }
            let result = (self.api.PyEval_EvalCode)(code, self.main, self.main);
            (self.api.Py_DecRef)(code);
            result
        }
    }
}
