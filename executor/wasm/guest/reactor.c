// CPython as a WASI reactor: one call starts it, before the snapshot; one call runs a program, after it.
//
// # Theory of operation
//
//   wizer-initialize   once, when the snapshot is taken: starts CPython, imports the modules that
//                      programs use, hides them again (prepare.py), freezes the garbage collector
//   run_quick          once per instance of the snapshot: takes arguments, environment and entropy
//                      from the host, runs /work/main.py as `python3 main.py` would, ends as an
//                      interpreter ends, and returns the exit status
//
// An instance runs one program and is thrown away, so nothing is torn down that nobody can observe:
// what a program can see of an interpreter's end is its threads joined, its atexit functions called,
// its objects finalised and its streams flushed, in that order.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#define PROGRAM "/work/main.py"
#define WORK_DIR "/work"
#define STDLIB "/usr/lib/python" PYTHON_MINOR

// No status: a program that let KeyboardInterrupt escape dies of the signal.
#define INTERRUPTED 256
#define SIGNAL_INT 2

__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise"))) int proc_raise(int signal);

// What prepare.py leaves to this file (patches/prepared-modules.patch reads it on import).
extern PyObject *_PyImport_CodejuryStash;

// The C library's stand-ins for these count time slept as used. The host knows better.
static __wasi_timestamp_t cpu_time_ns(void)
{
    __wasi_timestamp_t now = 0;
    return __wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 1, &now) == 0 ? now : 0;
}

clock_t clock(void)
{
    return (clock_t)cpu_time_ns();
}

clock_t times(struct tms *out)
{
    *out = (struct tms){.tms_utime = clock()};
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (clock_t)now.tv_sec * CLOCKS_PER_SEC + now.tv_nsec;
}

static const char prepare_source[] = {
#embed "prepare.py"
    , 0};

// Names in sys.modules before the program ran.
static PyObject *baseline;
// `random`'s hidden generator, to be seeded in each run.
static PyObject *seed_random;

static void give_up(const char *what)
{
    if (PyErr_Occurred()) {
        PyErr_Print();
    }
    fprintf(stderr, "python: %s\n", what);
    _Exit(121);
}

static void set_string(PyConfig *config, wchar_t **field, const wchar_t *value)
{
    if (PyStatus_Exception(PyConfig_SetString(config, field, value))) {
        give_up("configuration: out of memory");
    }
}

static void start(void)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before); // of an empty environment
    before.utf8_mode = 0;
    before.parse_argv = 0;
    if (PyStatus_Exception(Py_PreInitialize(&before))) {
        give_up("cannot be prepared");
    }
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    config.pathconfig_warnings = 0;
    config.use_hash_seed = 1; // as PYTHONHASHSEED=0
    config.hash_seed = 0;
    set_string(&config, &config.program_name, L"/usr/bin/python" PYTHON_MINOR);
    set_string(&config, &config.executable, L"/usr/bin/python" PYTHON_MINOR);
    set_string(&config, &config.base_executable, L"/usr/bin/python" PYTHON_MINOR);
    set_string(&config, &config.prefix, L"/usr");
    set_string(&config, &config.base_prefix, L"/usr");
    set_string(&config, &config.exec_prefix, L"/usr");
    set_string(&config, &config.base_exec_prefix, L"/usr");
    set_string(&config, &config.stdlib_dir, L"" STDLIB);
    set_string(&config, &config.filesystem_encoding, L"utf-8");
    set_string(&config, &config.filesystem_errors, L"surrogateescape");
    set_string(&config, &config.stdio_encoding, L"utf-8");
    set_string(&config, &config.stdio_errors, L"surrogateescape");
    config.module_search_paths_set = 1;
    if (PyStatus_Exception(PyWideStringList_Append(&config.module_search_paths, L"" STDLIB))) {
        give_up("configuration: out of memory");
    }
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "python: %s: %s\n", status.func ? status.func : "", status.err_msg ? status.err_msg : "");
        give_up("cannot be started");
    }
}

__attribute__((export_name("wizer-initialize"))) void wizer_initialize(void)
{
    start();
    PyObject *globals = PyDict_New();
    if (globals == NULL || PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) < 0) {
        give_up("out of memory");
    }
    PyObject *code = Py_CompileString(prepare_source, "prepare.py", Py_file_input);
    PyObject *done = code ? PyEval_EvalCode(code, globals, globals) : NULL;
    if (done == NULL) {
        give_up("prepare.py failed");
    }
    Py_DECREF(done);
    Py_DECREF(code);
    _PyImport_CodejuryStash = Py_XNewRef(PyDict_GetItemString(globals, "stash"));
    baseline = Py_XNewRef(PyDict_GetItemString(globals, "baseline"));
    seed_random = Py_XNewRef(PyDict_GetItemString(globals, "seed_random"));
    if (_PyImport_CodejuryStash == NULL || baseline == NULL || seed_random == NULL) {
        give_up("prepare.py left something out");
    }
    Py_DECREF(globals);
    PyGC_Collect();
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *frozen = gc ? PyObject_CallMethod(gc, "freeze", NULL) : NULL;
    if (frozen == NULL) {
        give_up("gc.freeze failed");
    }
    Py_DECREF(frozen);
    Py_DECREF(gc);
    PyDict_DelItemString(PyImport_GetModuleDict(), "gc");
}

// NUL-terminated strings that WASI fills in, as bytes objects.
typedef __wasi_errno_t sizes_get(__wasi_size_t *, __wasi_size_t *);
typedef __wasi_errno_t strings_get(uint8_t **, uint8_t *);

static PyObject *host_strings(sizes_get *sizes, strings_get *get)
{
    __wasi_size_t count, size;
    if (sizes(&count, &size) != 0) {
        give_up("the host gives no arguments");
    }
    uint8_t **strings = malloc((count + 1) * sizeof(uint8_t *));
    uint8_t *buffer = malloc(size + 1);
    PyObject *list = PyList_New(0);
    if (strings == NULL || buffer == NULL || list == NULL || get(strings, buffer) != 0) {
        give_up("the host gives no arguments");
    }
    for (__wasi_size_t i = 0; i < count; i++) {
        PyObject *one = PyBytes_FromString((const char *)strings[i]);
        if (one == NULL || PyList_Append(list, one) < 0) {
            give_up("out of memory");
        }
        Py_DECREF(one);
    }
    free(strings);
    free(buffer);
    return list;
}

static void take_arguments(void)
{
    PyObject *raw = host_strings(__wasi_args_sizes_get, __wasi_args_get);
    PyObject *argv = PyList_New(0);
    PyObject *original = Py_BuildValue("[s]", "/usr/bin/python" PYTHON_MINOR);
    if (argv == NULL || original == NULL) {
        give_up("out of memory");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(raw); i++) {
        PyObject *one = PyList_GET_ITEM(raw, i);
        PyObject *text = PyUnicode_DecodeFSDefaultAndSize(PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one));
        if (text == NULL || PyList_Append(argv, text) < 0 || PyList_Append(original, text) < 0) {
            give_up("out of memory");
        }
        Py_DECREF(text);
    }
    PySys_SetObject("argv", argv);
    PySys_SetObject("orig_argv", original);
    Py_DECREF(argv);
    Py_DECREF(original);
    Py_DECREF(raw);
}

// os.environ keeps its dictionary of bytes in posix.environ.
static void take_environment(void)
{
    PyObject *raw = host_strings(__wasi_environ_sizes_get, __wasi_environ_get);
    PyObject *posix = PyImport_ImportModule("posix");
    PyObject *environ = posix ? PyObject_GetAttrString(posix, "environ") : NULL;
    if (environ == NULL) {
        give_up("posix.environ is missing");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(raw); i++) {
        const char *entry = PyBytes_AS_STRING(PyList_GET_ITEM(raw, i));
        const char *equals = strchr(entry, '=');
        if (equals == NULL) {
            continue;
        }
        PyObject *key = PyBytes_FromStringAndSize(entry, equals - entry);
        PyObject *value = PyBytes_FromString(equals + 1);
        if (key == NULL || value == NULL || PyDict_SetItem(environ, key, value) < 0) {
            give_up("out of memory");
        }
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_DECREF(environ);
    Py_DECREF(posix);
    Py_DECREF(raw);
}

// Reports an exception that nothing can handle any more, as the end of the interpreter does.
static void unraisable(void)
{
    PyErr_WriteUnraisable(NULL);
}

static int flush(const char *name)
{
    PyObject *stream = PySys_GetObject(name);
    if (stream == NULL || stream == Py_None) {
        return 0;
    }
    PyObject *closed = PyObject_GetAttrString(stream, "closed");
    int is_closed = closed ? PyObject_IsTrue(closed) : 0;
    Py_XDECREF(closed);
    PyErr_Clear();
    if (is_closed == 1) {
        return 0;
    }
    PyObject *done = PyObject_CallMethod(stream, "flush", NULL);
    if (done == NULL) {
        if (strcmp(name, "stdout") == 0) {
            PyErr_WriteUnraisable(stream);
        } else {
            PyErr_Clear();
        }
        return -1;
    }
    Py_DECREF(done);
    return 0;
}

static int flush_both(void)
{
    int status = flush("stdout");
    return flush("stderr") < 0 ? -1 : status;
}

// The exit status that SystemExit asks for; its message, if that is no number, goes to stderr.
static int exit_status(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *code = value ? PyObject_GetAttrString(value, "code") : NULL;
    PyErr_Clear();
    int status = 0;
    if (code == NULL || code == Py_None) {
        status = 0;
    } else if (PyLong_Check(code)) {
        // A C int of the low 32 bits, of which the parent sees eight.
        long long number = PyLong_AsLongLong(code);
        if (number == -1 && PyErr_Occurred()) {
            PyErr_Clear();
        }
        status = (int)(number & 0xff);
    } else {
        PyObject *stderr_stream = PySys_GetObject("stderr");
        PyErr_Clear();
        if (stderr_stream != NULL && stderr_stream != Py_None) {
            PyFile_WriteObject(code, stderr_stream, Py_PRINT_RAW);
        } else {
            PyObject_Print(code, stderr, Py_PRINT_RAW);
            fflush(stderr);
        }
        PySys_WriteStderr("\n");
        PyErr_Clear();
        status = 1;
    }
    Py_XDECREF(code);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return status;
}

static int run_program(void)
{
    // A new one: what the snapshot has is frozen, and would keep the program's objects alive.
    PyObject *main = PyModule_New("__main__");
    PyObject *globals = main ? PyModule_GetDict(main) : NULL;
    PyObject *annotations = PyDict_New();
    PyObject *builtins = PyImport_ImportModule("builtins");
    if (globals == NULL || annotations == NULL || builtins == NULL
        || PyDict_SetItemString(globals, "__annotations__", annotations) < 0
        || PyDict_SetItemString(globals, "__builtins__", builtins) < 0
        || PyDict_SetItemString(PyImport_GetModuleDict(), "__main__", main) < 0) {
        give_up("cannot set up __main__");
    }
    Py_DECREF(annotations);
    Py_DECREF(builtins);
    PyObject *loaders = PyImport_ImportModule("_frozen_importlib_external");
    PyObject *loader =
        loaders ? PyObject_CallMethod(loaders, "SourceFileLoader", "ss", "__main__", PROGRAM) : NULL;
    PyObject *path = PySys_GetObject("path");
    PyObject *folder = PyUnicode_FromString(WORK_DIR);
    PyObject *file = PyUnicode_FromString(PROGRAM);
    if (loader == NULL || path == NULL || folder == NULL || file == NULL
        || PyDict_SetItemString(globals, "__loader__", loader) < 0
        || PyDict_SetItemString(globals, "__file__", file) < 0
        || PyDict_SetItemString(globals, "__cached__", Py_None) < 0 || PyList_Insert(path, 0, folder) < 0) {
        give_up("cannot set up __main__");
    }
    Py_DECREF(loader);
    Py_DECREF(loaders);
    Py_DECREF(folder);
    Py_DECREF(file);
    FILE *program = fopen(PROGRAM, "rb");
    if (program == NULL) {
        int error = errno;
        PySys_FormatStderr("%s: can't open file '%s': [Errno %d] %s\n", "/usr/bin/python" PYTHON_MINOR, PROGRAM,
                           error, strerror(error));
        return 2;
    }
    PyCompilerFlags flags = _PyCompilerFlags_INIT;
    PyObject *result = PyRun_FileExFlags(program, PROGRAM, Py_file_input, globals, globals, 1, &flags);
    int status = 0;
    if (result == NULL) {
        if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
            status = exit_status();
        } else {
            int interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
            PyErr_Print();
            status = interrupted ? INTERRUPTED : 1;
        }
    }
    Py_XDECREF(result);
    Py_DECREF(main);
    return status;
}

static void call_if_loaded(const char *module_name, const char *function)
{
    PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), module_name);
    if (module == NULL || module == Py_None) {
        return;
    }
    PyObject *done = PyObject_CallMethod(module, function, NULL);
    if (done == NULL) {
        unraisable();
    }
    Py_XDECREF(done);
}

// Drops what the program made, so that finalizers run while the interpreter still works.
static void drop_modules(void)
{
    const char *streams[] = {"stdin", "stdout", "stderr"};
    const char *originals[] = {"__stdin__", "__stdout__", "__stderr__"};
    const char *traces[] = {"last_type", "last_value", "last_traceback", "ps1", "ps2"};
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_SetItemString(PyEval_GetBuiltins(), "_", Py_None) < 0) {
        PyErr_Clear();
    }
    for (size_t i = 0; i < sizeof(traces) / sizeof(*traces); i++) {
        PySys_SetObject(traces[i], Py_None);
    }
    for (size_t i = 0; i < 3; i++) {
        PyObject *original = PySys_GetObject(originals[i]);
        PySys_SetObject(streams[i], original ? original : Py_None);
    }
    PyObject *names = PyDict_Check(modules) ? PyDict_Keys(modules) : NULL;
    for (Py_ssize_t i = 0; names != NULL && i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i);
        if (PySet_Contains(baseline, name) == 0 && PyDict_SetItem(modules, name, Py_None) < 0) {
            PyErr_Clear();
        }
    }
    Py_XDECREF(names);
    PyErr_Clear();
    PyGC_Collect();
}

__attribute__((export_name("run_quick"))) int run_quick(void)
{
    take_arguments();
    take_environment();
    if (chdir(WORK_DIR) != 0) {
        give_up("there is no " WORK_DIR);
    }
    PyObject *seeded = PyObject_CallNoArgs(seed_random);
    if (seeded == NULL) {
        give_up("random could not be seeded");
    }
    Py_DECREF(seeded);

    int status = run_program();
    call_if_loaded("threading", "_shutdown");
    call_if_loaded("atexit", "_run_exitfuncs");
    if (flush_both() < 0) {
        status = 120;
    }
    drop_modules();
    if (flush_both() < 0) {
        status = 120;
    }
    if (status == INTERRUPTED) {
        proc_raise(SIGNAL_INT);
    }
    return status;
}
