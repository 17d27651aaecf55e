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
//! finder, an `__import__`, a module of its own in place of one that this one would ask for. Then the
//! module is loaded as always. Nor is a module given out twice: a program that deletes one and
//! imports it again gets a new one.
//!
//! Packages with extension modules of their own may refuse to be loaded a second time in a process
//! (numpy does). So these are given whatever the program has done, unless it has a file of that name.
//!
//! What a run writes to, it copies a page of. So the hidden modules are held here and not by a Python
//! object: handing one over is a reference more and one less on the same page, and nothing is freed.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::READY;
use crate::python::{Python, Reference};

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
            let search = Search::new(python, &ready.hidden);
            if let Some(at) = search.means(name)
                && search.adopt(at)
            {
                if !search.follow() {
                    return ptr::null_mut();
                }
                let module = search.module(name);
                if !module.is_null() {
                    return module;
                }
            }
        }
        (api.PyErr_Clear)();
        (api.PyObject_CallObject)(python.left(c"original"), arguments)
    }
}

/// The hidden modules. Each is kept by a reference, until it is given to a program.
pub(crate) struct Hidden {
    modules: Vec<Module>,
    /// In a run: which ones the program has. Apart, so that they lie on one page.
    given: Vec<AtomicBool>,
    /// Modules that something is done after, and whether it was.
    followed: Vec<(usize, AtomicBool)>,
    /// Names and modules that every program finds in `sys.modules`.
    always: Vec<(Reference, Reference)>,
}

// SAFETY: as for `Python`, whose references these are.
unsafe impl Send for Hidden {}
// SAFETY: as above.
unsafe impl Sync for Hidden {}

struct Module {
    name: Reference,
    module: Reference,
    /// What it asked for, in this order: places of other hidden modules.
    uses: Vec<usize>,
    /// The place of its package, if that is hidden.
    parent: Option<usize>,
    /// Its package, if it has one, kept by that one's own place or by `sys.modules`.
    owner: Option<Reference>,
    /// Its name in the package, if it was there.
    child: Option<Reference>,
    /// It is still there: the package is hidden itself, and never without this module.
    stays: bool,
    /// Of a package that cannot be loaded a second time.
    once: bool,
    /// What is to be done in the run that gets it.
    after: Option<Reference>,
}

impl Hidden {
    /// Takes the two lists of tuples that `prepare.py` makes, for hidden modules and for the others.
    ///
    /// # Safety
    ///
    /// The GIL is held.
    pub(crate) unsafe fn take(python: &Python, lists: Reference) -> Self {
        let api = &python.api;
        // SAFETY: the caller holds the GIL; the items are borrowed from list and tuples, and what is
        // kept of them is counted.
        unsafe {
            let items = |list| {
                let list = (api.PyTuple_GetItem)(lists, list);
                (0..(api.PyList_Size)(list)).map(move |i| (api.PyList_GetItem)(list, i))
            };
            let module = |tuple| {
                let of = |place| (api.PyTuple_GetItem)(tuple, place);
                let keep = |place| {
                    let item = of(place);
                    (api.Py_IncRef)(item);
                    item
                };
                let some = |place| Some(keep(place)).filter(|item| *item != python.none);
                let uses = of(2);
                Module {
                    name: keep(0),
                    module: keep(1),
                    uses: (0..(api.PyTuple_Size)(uses))
                        .map(|k| (api.PyLong_AsSsize_t)((api.PyTuple_GetItem)(uses, k)) as usize)
                        .collect(),
                    parent: usize::try_from((api.PyLong_AsSsize_t)(of(3))).ok(),
                    owner: Some(of(4)).filter(|owner| *owner != python.none),
                    child: some(5),
                    stays: (api.PyObject_IsTrue)(of(6)) == 1,
                    once: (api.PyObject_IsTrue)(of(7)) == 1,
                    after: some(8),
                }
            };
            let always = |tuple| {
                let of = |place| (api.PyTuple_GetItem)(tuple, place);
                (api.Py_IncRef)(of(0));
                (of(0), of(1)) // only compared: a program may have freed it
            };
            let modules: Vec<Module> = items(0).map(module).collect();
            Self {
                given: modules.iter().map(|_| AtomicBool::new(false)).collect(),
                followed: (0..modules.len())
                    .filter(|at| modules[*at].after.is_some())
                    .map(|at| (at, AtomicBool::new(false)))
                    .collect(),
                modules,
                always: items(1).map(always).collect(),
            }
        }
    }
}

struct Search<'a> {
    python: &'a Python,
    hidden: &'a Hidden,
    places: Reference,
    modules: Reference,
}

impl<'a> Search<'a> {
    fn new(python: &'a Python, hidden: &'a Hidden) -> Self {
        Self {
            python,
            hidden,
            places: python.left(c"places"),
            modules: python.left(c"modules"),
        }
    }

    unsafe fn get(&self, dict: Reference, name: Reference) -> Option<Reference> {
        // SAFETY: the caller holds the GIL; both are live, and `name` can be hashed.
        let found = unsafe { (self.python.api.PyDict_GetItem)(dict, name) };
        (!found.is_null()).then_some(found)
    }

    /// Where the module of this name lies, if it is still hidden.
    unsafe fn place(&self, name: Reference) -> Option<usize> {
        // SAFETY: the caller holds the GIL; the number is borrowed from the dictionary.
        let at = unsafe {
            let number = self.get(self.places, name)?;
            (self.python.api.PyLong_AsSsize_t)(number)
        };
        let at = usize::try_from(at).ok()?;
        let given = self.hidden.given.get(at)?;
        (!given.load(Ordering::Relaxed)).then_some(at)
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

    /// The module hidden under this name, if it is the one that the program would load now.
    unsafe fn means(&self, name: Reference) -> Option<usize> {
        // SAFETY: the caller holds the GIL; lookups borrow.
        unsafe {
            let api = &self.python.api;
            let at = self.place(name)?;
            let text = (api.PyUnicode_AsUTF8)(name);
            if text.is_null() || self.get(self.modules, name).is_some() {
                return None;
            }
            let once = self.hidden.modules[at].once;
            (!self.may_be_shadowed(CStr::from_ptr(text), !once)
                && (once
                    || self.import_is_pythons()
                        && self.finders_are_pythons()
                        && self.others_are_there()
                        && self.finds_all(at, &mut vec![false; self.hidden.modules.len()])))
            .then_some(at)
        }
    }

    /// Whether the modules that every program finds are those.
    unsafe fn others_are_there(&self) -> bool {
        let mut others = self.hidden.always.iter();
        // SAFETY: the caller holds the GIL; the names are kept, the modules only compared.
        others.all(|(name, module)| unsafe { self.get(self.modules, *name) == Some(*module) })
    }

    /// Whether this module, its package, and all that they asked for are hidden or where they were
    /// put: the program has nothing of its own in place of one, such as `None`, which forbids an import.
    unsafe fn finds_all(&self, at: usize, asked: &mut [bool]) -> bool {
        if std::mem::replace(&mut asked[at], true) {
            return true;
        }
        let Module {
            name,
            module,
            uses,
            parent,
            ..
        } = &self.hidden.modules[at];
        let given = self.hidden.given[at].load(Ordering::Relaxed);
        // SAFETY: the caller holds the GIL, and the name is kept; a module is only compared.
        let found = unsafe { self.get(self.modules, *name) };
        found == given.then_some(*module)
            // SAFETY: as the caller's.
            && parent.iter().chain(uses).all(|used| unsafe { self.finds_all(*used, asked) })
    }

    /// Whether the modules would ask for others with Python's own `__import__`.
    unsafe fn import_is_pythons(&self) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL; `prepare.py` left both, and the lookup borrows.
        unsafe {
            let builtins = (api.PyModule_GetDict)(self.python.left(c"builtins"));
            let now = (api.PyDict_GetItemString)(builtins, c"__import__".as_ptr());
            now == self.python.left(c"original_import")
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
    /// `doubt` is what to say where the path is not what it was in another way.
    unsafe fn may_be_shadowed(&self, name: &CStr, doubt: bool) -> bool {
        let api = &self.python.api;
        let top = name.to_bytes().split(|&byte| byte == b'.').next();
        let top = top.unwrap_or_default();
        // SAFETY: the caller holds the GIL; entries are borrowed from the list and the tuple.
        unsafe {
            let now = (api.PySys_GetObject)(c"path".as_ptr());
            let then = self.python.left(c"path_entries");
            if now.is_null() {
                return doubt;
            }
            let (count, known) = ((api.PyList_Size)(now), (api.PyTuple_Size)(then));
            if count < 0 {
                (api.PyErr_Clear)();
                return doubt; // no list
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
                if text.is_null() {
                    (api.PyErr_Clear)();
                    if doubt {
                        return true;
                    }
                } else if holds(CStr::from_ptr(text), top) {
                    return true;
                }
            }
            // One of Python's own folders is gone: perhaps that of the module.
            doubt && found != known - 1
        }
    }

    /// Moves a module into `sys.modules`, with all that loading it would put there. False: an error
    /// is set.
    unsafe fn adopt(&self, at: usize) -> bool {
        let given = &self.hidden.given[at];
        if given.load(Ordering::Relaxed) {
            return true;
        }
        // SAFETY: the caller holds the GIL.
        unsafe {
            // A package comes before its parts, and may bring this one along.
            let module = &self.hidden.modules[at];
            module.parent.is_none_or(|parent| self.adopt(parent))
                && (given.swap(true, Ordering::Relaxed) || self.give(module))
        }
    }

    /// Whether the package of a module is still what it was, and so alive.
    unsafe fn owner_is_there(&self, given: &Module) -> bool {
        let hidden = self.hidden;
        let is = |name, module| {
            // SAFETY: the caller holds the GIL; the name is kept, the module only compared.
            Some(module) == given.owner && unsafe { self.get(self.modules, name) } == Some(module)
        };
        match given.parent {
            Some(at) => is(hidden.modules[at].name, hidden.modules[at].module),
            None => hidden
                .always
                .iter()
                .any(|(name, module)| is(*name, *module)),
        }
    }

    unsafe fn give(&self, given: &Module) -> bool {
        let api = &self.python.api;
        // SAFETY: the caller holds the GIL, and the module its references.
        unsafe {
            if self.get(self.modules, given.name).is_some() {
                // The program has put its own there, which loading would not bind.
                return match (given.owner, given.child) {
                    (Some(owner), Some(child)) if given.stays && self.owner_is_there(given) => {
                        (api.PyObject_SetAttr)(owner, child, ptr::null_mut()) == 0
                    }
                    _ => true,
                };
            }
            if !given.uses.iter().all(|used| self.adopt(*used)) {
                return false;
            }
            // After what it asked for: Python moves a module to the end once it is loaded.
            if (api.PyDict_SetItem)(self.modules, given.name, given.module) != 0 {
                return false;
            }
            if let (Some(owner), Some(child), false) = (given.owner, given.child, given.stays)
                && self.owner_is_there(given)
                && (api.PyObject_SetAttr)(owner, child, given.module) != 0
            {
                return false;
            }
            (api.Py_DecRef)(given.module); // it is the program's now
            true
        }
    }

    /// Does what is to be done after the modules that were given. Only here does Python code run, and
    /// so another thread: to that one all of them came at once. False: an error is set.
    unsafe fn follow(&self) -> bool {
        let api = &self.python.api;
        for (at, done) in &self.hidden.followed {
            let given = self.hidden.given[*at].load(Ordering::Relaxed);
            let Some(after) = self.hidden.modules[*at].after else {
                continue;
            };
            if !given || done.swap(true, Ordering::Relaxed) {
                continue;
            }
            // SAFETY: the caller holds the GIL, and the callable is kept.
            unsafe {
                let result = (api.PyObject_CallObject)(after, ptr::null_mut());
                if result.is_null() {
                    return false;
                }
                (api.Py_DecRef)(result);
            }
        }
        true
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
