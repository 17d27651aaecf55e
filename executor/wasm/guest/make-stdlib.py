"""Makes the standard library's archive: make-stdlib.py LIB ADDITIONS ARCHIVE FOLDER

LIB is CPython's Lib folder, ADDITIONS holds modules that stand in for what WASI lacks. Each module
goes in as its text and as bytecode whose file name is below FOLDER, the archive's own path in the
guest, so that tracebacks read as they do where the library is a folder. The same input gives the
same bytes: entries are sorted, dates are fixed, bytecode carries a hash rather than a date.
"""
import importlib.util
import marshal
import os
import sys
import zipfile

# Large, and of no use to a program without a display, a network, a compiler or a package index.
LEFT_OUT = {
    "__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "venv", "lib2to3", "idle_test",
    "pydoc_data", "site-packages", "msilib", "turtle.py",
}


def sources(root):
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in files:
            if name.endswith(".py") and name not in LEFT_OUT:
                path = os.path.join(folder, name)
                yield os.path.relpath(path, root), path


def bytecode(text, file_name):
    code = compile(text, file_name, "exec", dont_inherit=True, optimize=0)
    unchecked_hash = 1
    return b"".join((
        importlib.util.MAGIC_NUMBER,
        unchecked_hash.to_bytes(4, "little"),
        importlib.util.source_hash(text),
        marshal.dumps(code),
    ))


def main():
    library, additions, archive, folder = sys.argv[1:]
    found = dict(sources(library))
    found.update(sources(additions))
    with zipfile.ZipFile(archive, "w") as out:
        def write(name, data, compression):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o444 << 16
            out.writestr(entry, data, compression, 9)

        for name in sorted(found):
            with open(found[name], "rb") as file:
                text = file.read()
            # The text is read for tracebacks only; inflating it costs less than storing it would.
            write(name, text, zipfile.ZIP_DEFLATED)
            write(name + "c", bytecode(text, f"{folder}/{name}"), COMPRESSION)


COMPRESSION = zipfile.ZIP_STORED
main()
