"""Runs notebook cells, one after the other, in one namespace. Standard library only.

Reads {"cells": [source, ...]} from standard input. Writes one JSON line a cell to descriptor 3:
{"stdout", "stderr", "display": [MIME bundle, ...], "error": [{"ename", "evalue", "traceback"}, ...]},
and at the very end the line "done". Output is caught at the descriptors, so that of child processes
is there too. A cell that raises does not stop the ones after it.

Python 3.8 or newer.
"""
import ast
import asyncio
import base64
import builtins
import inspect
import io
import json
import linecache
import os
import pprint
import re
import subprocess
import sys
import tempfile
import traceback
import types

REPORT = 3
# What one stream of one cell, and everything together, may hold; the pipe's reader has a limit too.
STREAM_BYTES = 4 << 20
TOTAL_BYTES = 14 << 20
# Ways in which an object can show itself, and what each one yields.
REPRS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_latex_", "text/latex"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
    ("_repr_pdf_", "application/pdf"),
)
# Directives about the notebook's own looks and reloading: nothing to do here.
SILENT_MAGICS = {"matplotlib", "load_ext", "reload_ext", "autoreload", "config", "pylab", "precision"}


class Display:
    """The bundles shown by the current cell."""

    def __init__(self):
        self.bundles = []

    def show(self, *objects, **options):
        for thing in objects:
            raw = options.get("raw") and isinstance(thing, dict)
            self.bundles.append(jsonable(thing) if raw else bundle_of(thing))


def bundle_of(thing):
    bundle = {}
    if not isinstance(thing, type):
        for method, mime in REPRS:
            value = call(thing, method)
            if isinstance(value, tuple):
                value = value[0]
            if isinstance(value, bytes):
                value = base64.b64encode(value).decode("ascii") + "\n"
            if value is not None:
                bundle[mime] = value
        whole = call(thing, "_repr_mimebundle_", include=None, exclude=None)
        if isinstance(whole, tuple):
            whole = whole[0]
        if isinstance(whole, dict):
            bundle.update(whole)
    bundle.setdefault("text/plain", plain(thing))
    return jsonable(bundle)


def call(thing, method, **arguments):
    try:
        found = getattr(thing, method, None)
        return found(**arguments) if callable(found) else None
    except Exception:
        return None  # a representation that fails is one that is not there


def plain(thing):
    text = repr(thing)
    if len(text) > 79 and type(thing) in (list, tuple, dict, set, frozenset):
        if sys.version_info >= (3, 8):
            return pprint.pformat(thing, width=79, sort_dicts=False)
    return text


def jsonable(bundle):
    try:
        json.dumps(bundle)
        return bundle
    except (TypeError, ValueError):
        return {str(key): value if isinstance(value, (str, int, float, bool)) else str(value)
                for key, value in bundle.items()}


class Inline:
    """Makes matplotlib show figures as bundles, once somebody imports it."""

    name = "codejury_inline"

    def __init__(self, display):
        self.display = display

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from matplotlib.backends import backend_agg
        module.FigureCanvas = backend_agg.FigureCanvasAgg
        module.new_figure_manager = getattr(backend_agg, "new_figure_manager", None)
        module.show = lambda *args, **kwargs: self.flush()

    def flush(self):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            png = io.BytesIO()
            figure.savefig(png, format="png", bbox_inches="tight")
            self.display.bundles.append({
                "text/plain": repr(figure),
                "image/png": base64.b64encode(png.getvalue()).decode("ascii") + "\n",
            })
        pyplot.close("all")


def notebook_modules(display):
    """`IPython` and `IPython.display`, as far as cells use them."""
    package = types.ModuleType("IPython")
    module = types.ModuleType("IPython.display")

    def shown_as(name, mime, binary=False):
        def __init__(self, data=None, url=None, filename=None, **options):
            if filename is not None:
                with open(filename, "rb" if binary else "r") as file:
                    data = file.read()
            self.data = data

        def __repr__(self):
            return "<IPython.core.display.%s object>" % name

        def bundle(self, include=None, exclude=None):
            data = self.data
            kind = mime
            if isinstance(data, bytes):
                if mime == "image/png" and data[:2] == b"\xff\xd8":
                    kind = "image/jpeg"
                data = base64.b64encode(data).decode("ascii") + "\n"
            return {kind: data} if data is not None else {}

        members = {"__init__": __init__, "__repr__": __repr__, "_repr_mimebundle_": bundle}
        setattr(module, name, type(name, (), members))

    for name, mime in (("HTML", "text/html"), ("Markdown", "text/markdown"), ("Latex", "text/latex"),
                       ("Math", "text/latex"), ("SVG", "image/svg+xml"), ("JSON", "application/json"),
                       ("Javascript", "application/javascript"), ("Pretty", "text/plain")):
        shown_as(name, mime)
    shown_as("Image", "image/png", binary=True)
    module.display = display.show
    module.clear_output = lambda wait=False: display.bundles.clear()
    package.display = module
    package.get_ipython = lambda: None
    package.version_info = (8, 24, 0)
    package.__version__ = "8.24.0"
    package.__path__ = []
    sys.modules["IPython"] = package
    sys.modules["IPython.display"] = module


class UsageError(Exception):
    """A notebook directive that is not known here."""


def run_shell(command):
    return subprocess.call(["/bin/bash", "-c", command])


def run_magic(name, rest, namespace):
    """`%name rest`. Returns a value to show, or None."""
    if name in SILENT_MAGICS:
        return None
    if name == "pwd":
        return os.getcwd()
    if name == "cd":
        os.chdir(os.path.expanduser(rest.strip() or "~"))
        return None
    if name in ("pip", "conda", "ls", "cat", "mkdir", "rm", "cp", "mv"):
        line = "%s %s" % (name, rest)
        run_shell("%s -m %s" % (sys.executable, line) if name == "pip" else line)
        return None
    if name == "env":
        if "=" in rest:
            key, value = rest.split("=", 1)
            os.environ[key.strip()] = value.strip()
            return None
        return dict(os.environ)
    if name in ("time", "timeit"):
        import timeit
        timer = timeit.Timer(rest, globals=namespace)
        seconds = timer.timeit(1)
        print("%s: %.6f s" % ("Wall time" if name == "time" else "1 loop", seconds))
        return None
    raise UsageError("Line magic function `%%%s` not found." % name)


CELL_SHELLS = {"bash": "/bin/bash", "sh": "/bin/sh", "script": "/bin/bash"}


def plain_python(source):
    """Turns `!command`, `%magic` and `value = !command` lines into calls. Lines inside brackets or
    strings keep their meaning: a cell that compiles as it is, is left alone."""
    try:
        compile(source, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        return source
    except (SyntaxError, ValueError):
        pass
    lines = []
    for line in source.split("\n"):
        indent, body = re.match(r"(\s*)(.*)", line, re.S).groups()
        assigned = re.match(r"([A-Za-z_]\w*)\s*=\s*!(.*)", body)
        if body.startswith("!"):
            line = "%s__codejury_shell__(%r)" % (indent, body[1:])
        elif assigned:
            line = "%s%s = __codejury_output__(%r)" % (indent, assigned.group(1), assigned.group(2))
        elif re.match(r"%[A-Za-z]", body):
            name, _, rest = body[1:].partition(" ")
            line = "%s__codejury_magic__(%r, %r)" % (indent, name, rest)
        elif re.match(r"[\w.]+\?\??$", body):
            line = "%shelp(%s)" % (indent, body.rstrip("?"))
        lines.append(line)
    return "\n".join(lines)


class Notebook:
    def __init__(self):
        self.display = Display()
        self.inline = Inline(self.display)
        self.loop = None
        self.count = 0
        self.main = types.ModuleType("__main__")
        self.names = self.main.__dict__
        self.names.update(__builtins__=builtins, display=self.display.show, In=[""], Out={}, _="", __="", ___="")
        self.names["__codejury_shell__"] = lambda command: run_shell(command) and None
        self.names["__codejury_output__"] = lambda command: subprocess.run(
            ["/bin/bash", "-c", command], stdout=subprocess.PIPE, text=True).stdout.splitlines()
        self.names["__codejury_magic__"] = lambda name, rest: run_magic(name, rest, self.names)
        # What cells define is pickled as a part of `__main__`.
        sys.modules["__main__"] = self.main
        sys.meta_path.insert(0, self.inline)
        os.environ["MPLBACKEND"] = "module://" + self.inline.name
        notebook_modules(self.display)
        sys.displayhook = self.displayhook

    def displayhook(self, value):
        if value is None:
            return
        self.names["___"], self.names["__"], self.names["_"] = self.names["__"], self.names["_"], value
        self.names["Out"][self.count] = value
        self.display.show(value)

    def run(self, source):
        """Runs one cell. Returns Jupyter's content of the error, or None."""
        self.count += 1
        self.names["In"].append(source)
        cell_shell = re.match(r"\s*%%(\w+)[^\n]*\n?", source)
        try:
            if cell_shell and cell_shell.group(1) in CELL_SHELLS:
                shell = CELL_SHELLS[cell_shell.group(1)]
                subprocess.run([shell, "-c", source[cell_shell.end():]], check=True)
                return None
            if cell_shell and cell_shell.group(1) in ("time", "timeit", "capture"):
                source = source[cell_shell.end():]
            elif cell_shell and cell_shell.group(1) == "writefile":
                first, _, rest = source.lstrip().partition("\n")
                with open(first.split(None, 1)[1].strip(), "w") as file:
                    file.write(rest)
                return None
            elif cell_shell:
                raise UsageError("Cell magic `%%%%%s` not found." % cell_shell.group(1))
            self.execute(plain_python(source))
            return None
        except BaseException as error:
            return self.content_of(error)

    def execute(self, source):
        name = "<ipython-input-%d>" % self.count
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, name, "exec", flags=flags | ast.PyCF_ONLY_AST)
        body = tree.body
        quiet = source.rstrip().endswith(";")
        last = body.pop() if body and isinstance(body[-1], ast.Expr) and not quiet else None
        parts = []
        if body:
            parts.append(compile(tree, name, "exec", flags=flags))
        if last is not None:
            parts.append(compile(ast.Interactive([last]), name, "single", flags=flags))
        for code in parts:
            result = eval(code, self.names)
            if code.co_flags & inspect.CO_COROUTINE:
                if self.loop is None:
                    self.loop = asyncio.new_event_loop()
                    asyncio.set_event_loop(self.loop)
                self.loop.run_until_complete(result)

    def content_of(self, error):
        frames = error.__traceback__
        while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<ipython-input"):
            frames = frames.tb_next
        try:
            lines = traceback.format_exception(type(error), error, frames)
        except Exception:
            lines = ["%s\n" % type(error).__name__]
        try:
            value = str(error)
        except Exception:
            value = "<unprintable %s object>" % type(error).__name__
        text = "".join(lines).rstrip("\n")
        return {"ename": type(error).__name__, "evalue": value, "traceback": text.split("\n")}


class Streams:
    """Standard output and error of one cell, caught at the descriptors."""

    def __enter__(self):
        self.files = {}
        for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            self.files[fd] = tempfile.TemporaryFile(dir="/tmp")
            os.dup2(self.files[fd].fileno(), fd)
        return self

    def __exit__(self, *_):
        self.text = {}
        for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
            try:
                stream.flush()
            except Exception:
                pass
            file = self.files[fd]
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            text = file.read(STREAM_BYTES).decode("utf-8", "replace")
            if size > STREAM_BYTES:
                text += "\n[codejury: cut, %d bytes in all]\n" % size
            self.text[fd] = text
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, fd)
            os.close(null)
            file.close()


def main():
    cells = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))["cells"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.set_inheritable(REPORT, False)
    # Line by line, so that what children print stands where it was printed.
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), "utf-8", "surrogateescape",
                                  write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), "utf-8", "backslashreplace",
                                  write_through=True)
    notebook = Notebook()
    left = TOTAL_BYTES
    for source in cells:
        notebook.display.bundles = []
        streams = Streams()
        own_stdout, own_stderr = sys.stdout, sys.stderr
        with streams:
            error = notebook.run(source)
            sys.stdout, sys.stderr = own_stdout, own_stderr
            try:
                notebook.inline.flush()
            except Exception as failure:
                error = error or notebook.content_of(failure)
        cell = {
            "stdout": streams.text[1],
            "stderr": streams.text[2],
            "display": notebook.display.bundles,
            "error": [error] if error else [],
        }
        line = json.dumps(cell, default=str).encode("ascii") + b"\n"
        if len(line) > left:
            cell.update(stdout="", display=[], stderr="[codejury: the cells' output together is too large]\n")
            line = json.dumps(cell, default=str).encode("ascii") + b"\n"
        left -= len(line)
        write(line)
    write(b'"done"\n')
    # Threads and atexit handlers of cells end with the process.
    os._exit(0)


def write(data):
    while data:
        data = data[os.write(REPORT, data):]


main()
