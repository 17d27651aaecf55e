build_time_vars = {
    "ABIFLAGS": "",
    "EXT_SUFFIX": ".cpython-311-wasm32-wasi.so",
    "MULTIARCH": "wasm32-wasi",
    "Py_DEBUG": 0,
    "Py_ENABLE_SHARED": 0,
    "SIZEOF_VOID_P": 4,
    "SOABI": "cpython-311-wasm32-wasi",
    "VERSION": "3.11",
    "WITH_DOC_STRINGS": 1,
    "WITH_PYMALLOC": 1,
}
