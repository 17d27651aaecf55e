//! Imports done beforehand: modules that lie ready in the zygote, and that a program gets at the
//! moment at which it imports them.
//!
//! `prepare.py` imports them once, notes which module asked for which, and takes them out of
//! `sys.modules` again, with the names that they left in their packages. In a run, the import
//! system's own `_find_and_load` is called only for what is not in `sys.modules`. It is replaced by
//! a function that first looks among the hidden modules: one that is there moves into `sys.modules`
//! with everything that it had asked for, in the order in which loading would have put them there.
//!
//! A program may see to it that a name means something else: a file beside it, another path, a
//! finder. Then the module is loaded as always. Nor is a module given out twice: a program that
//! deletes one and imports it again gets a new one.

use std::ffi::CStr;
use std::ptr;

use crate::READY;
use crate::python::{Python, Reference};

// Places in the tuple that `prepare.py` makes for each hidden module.
const MODULE: isize = 0;
const USES: isize = 1;
const PARENT: isize = 2;
const OWNER: isize = 3;
const CHILD: isize = 4;
const AFTER: isize = 5;

/// What stands in place of `_find_and_load(name, import_)`.
pub(crate) extern "C" fn find_and_load(_: Reference, arguments: Reference) -> Reference {
    let Some(ready) = READY.get() else {
        return ptr::null_mut();
    };
    let python = &ready.python;
    let api = &python.api;
    // SAFETY: Python calls this with the GIL held and a tuple of arguments that outlives the call.
    unsafe {
        let name = (api.PyTuple_GetItem)(arguments, 0);
        if !name.is_null() {
            let hidden = Hidden::new(python);
            if hidden.means(name) && hidden.adopt(name) {
                return hidden.module(name);
            }
        }
        (api.PyErr_Clear)();
        (api.PyObject_CallObject)(python.left(c"original"), arguments)
    }
}

struct Hidden<'a> {
    python: &'a Python,
    hidden: Reference,
    modules: Reference,
}

impl<'a> Hidden<'a> {
    fn new(python: &'a Python) -> Self {
        Self {
            python,
            hidden: python.left(c"hidden"),
            modules: python.left(c"modules"),
        }
    }

    unsafe fn get(&self, dict: Reference, name: Reference) -> Option<Reference> {
        // SAFETY: the caller holds the GIL; both are live, and `name` can be hashed.
        let found = unsafe { (self.python.api.PyDict_GetItem)(dict, name) };
        (!found.is_null()).then_some(found)
    }

    /// The module of this name in `sys.modules`, as a new reference.
    unsafe fn module(&self, name: Reference) -> Reference {
        // SAFETY: the caller holds the GIL; the lookup borrows.
        unsafe {
            let module = self.get(self.modules, name).unwrap_or(ptr::null_mut());
            if !module.is_null() {
                (self.python.api.Py_IncRef)(module);
            }
            module
        }
    }

    /// Whether the module hidden under this name is the one that the program would load now.
    unsafe fn means(&self, name: Reference) -> bool {
        // SAFETY: the caller holds the GIL; lookups borrow from tuples that the dictionary keeps.
        unsafe {
            let api = &self.python.api;
            let Some(entry) = self.get(self.hidden, name) else {
                return false;
            };
            if self.get(self.modules, name).is_some() {
                return false; // such as None, which forbids the import
            }
            let parent = (api.PyTuple_GetItem)(entry, PARENT);
            let owner = (api.PyTuple_GetItem)(entry, OWNER);
            if owner != self.python.none {
                match self.get(self.modules, parent) {
                    Some(module) if module == owner => {}
                    Some(_) => return false,
                    None if !self.means(parent) => return false,
                    None => {}
                }
            }
            let text = (api.PyUnicode_AsUTF8)(name);
            !text.is_null()
                && self.finders_are_pythons()
                && !self.may_be_shadowed(CStr::from_ptr(text))
        }
    }

    unsafe fn finders_are_pythons(&self) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL; what is looked up is borrowed from lists and a tuple.
        unsafe {
            let now = (api.PySys_GetObject)(c"meta_path".as_ptr());
            let then = self.python.left(c"finders");
            let count = (api.PyTuple_Size)(then);
            !now.is_null()
                && (api.PyList_Size)(now) == count
                && (0..count)
                    .all(|i| (api.PyList_GetItem)(now, i) == (api.PyTuple_GetItem)(then, i))
        }
    }

    /// Whether a folder that the program controls could hold a module of this name: its own, the
    /// first of the path, and all that it has added.
    unsafe fn may_be_shadowed(&self, name: &CStr) -> bool {
        let api = &self.python.api;
        let top = name.to_bytes().split(|&byte| byte == b'.').next();
        let top = top.unwrap_or_default();
        // SAFETY: the caller holds the GIL; entries are borrowed from the list and the tuple.
        unsafe {
            let now = (api.PySys_GetObject)(c"path".as_ptr());
            let then = self.python.left(c"path_entries");
            if now.is_null() {
                return true;
            }
            let (count, known) = ((api.PyList_Size)(now), (api.PyTuple_Size)(then));
            if count < 0 {
                return true; // no list
            }
            let mut found = 0;
            for i in 0..count {
                let entry = (api.PyList_GetItem)(now, i);
                let is_old = (1..known).any(|k| (api.PyTuple_GetItem)(then, k) == entry);
                if is_old {
                    found += 1;
                    continue;
                }
                let text = (api.PyUnicode_AsUTF8)(entry);
                if text.is_null() || holds(CStr::from_ptr(text), top) {
                    (api.PyErr_Clear)();
                    return true;
                }
            }
            // One of Python's own folders is gone: perhaps that of the module.
            found != known - 1
        }
    }

    /// Moves a module into `sys.modules`, with all that loading it would put there. False: an error
    /// is set.
    unsafe fn adopt(&self, name: Reference) -> bool {
        let python = self.python;
        let api = &python.api;
        // SAFETY: the caller holds the GIL. The entry is kept by a reference of our own while it is
        // used; what is looked up in it is borrowed.
        unsafe {
            let Some(entry) = self.get(self.hidden, name) else {
                return true;
            };
            (api.Py_IncRef)(entry);
            let parent = (api.PyTuple_GetItem)(entry, PARENT);
            // A package comes before its parts, and may bring this one along.
            let adopted = (self.get(self.hidden, parent).is_none() || self.adopt(parent))
                && (self.get(self.hidden, name).is_none()
                    || (api.PyDict_DelItem)(self.hidden, name) == 0 && self.place(name, entry));
            (api.Py_DecRef)(entry);
            adopted
        }
    }

    unsafe fn place(&self, name: Reference, entry: Reference) -> bool {
        let python = self.python;
        let api = &python.api;
        // SAFETY: as in `adopt`, whose reference keeps the entry.
        unsafe {
            if self.get(self.modules, name).is_some() {
                return true; // the program has put its own there
            }
            let of = |place| (api.PyTuple_GetItem)(entry, place);
            let uses = of(USES);
            for i in 0..(api.PyTuple_Size)(uses) {
                if !self.adopt((api.PyTuple_GetItem)(uses, i)) {
                    return false;
                }
            }
            // After what it asked for: Python moves a module to the end once it is loaded.
            if (api.PyDict_SetItem)(self.modules, name, of(MODULE)) != 0 {
                return false;
            }
            if of(CHILD) != python.none
                && (api.PyObject_SetAttr)(of(OWNER), of(CHILD), of(MODULE)) != 0
            {
                return false;
            }
            if of(AFTER) == python.none {
                return true;
            }
            let done = (api.PyObject_CallObject)(of(AFTER), ptr::null_mut());
            if done.is_null() {
                return false;
            }
            (api.Py_DecRef)(done);
            true
        }
    }
}

/// Whether a folder has an entry that a module of this name could come from. What is no folder may
/// be an archive, and hold anything.
fn holds(folder: &CStr, top: &[u8]) -> bool {
    let folder = if folder.is_empty() { c"." } else { folder };
    let Ok(folder) = folder.to_str() else {
        return true;
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    entries.flatten().any(|entry| {
        use std::os::unix::ffi::OsStrExt;
        let name = entry.file_name();
        name.as_bytes()
            .strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'.')
    })
}
