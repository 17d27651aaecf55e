# Compiles a submission and, for function tasks, runs it under its tests.
#
# Theory of operation
#
#   judge                                    this process
#     | -- stdin: job ----------------------->| compile the submission     -> "compiled" / "rejected"
#     |                                       | (if that is all: its code)  -> "code"
#     |                                       | run its module level       -> "fatal" if it raises
#     |           tests ..................... | read only now, compiled under a file name of their own
#     |           proof 0, proof 1 .......... | read after test 0, after test 1 -> "result" each
#     |<- descriptor 3: records --------------|
#
# Before the submission runs, descriptor 0 becomes an empty stdin and the pipe with the rest moves
# away. So when the submission is loaded, its process holds neither tests nor proofs; and whoever
# leaves early (exit, atexit, a thread, a signal) leaves without the proof that the current test
# demands. A record is a netstring of netstrings. Everything used after the submission has run is
# bound before: it may replace builtins and modules, and it may not touch ours.
#
# The tests see their own namespace: the submission's names, but builtins and the modules they
# import as they were before it ran. What one process cannot hide from Python code in it (frames,
# `gc`, `ctypes`, `/proc/self`) is not hidden here; the judge says `integrity: shared` for it.
#
# The part above `run` is the same for all runs: on the warm path it is done once, before any of them.
#
# Runs on CPython 3.8 and later; imports nothing that the interpreter has not loaded at start, since
# every run would pay for it.


def harness():
    import builtins
    import marshal
    import os
    import sys

    SUBMISSION, TESTS = "submission.py", "tests.py"
    ONLY_AST = 0x400
    REPORT = 3
    PROOF_SIZE = 16
    MAX_DEPTH = 400

    read, write, leave = os.read, os.write, os._exit
    loads, dumps = marshal.loads, marshal.dumps
    modules, settrace, setprofile, exc_info = sys.modules, sys.settrace, sys.setprofile, sys.exc_info
    unlimited_digits = getattr(sys, "set_int_max_str_digits", None)
    module_type = type(sys)
    name_of = type.__dict__["__name__"].__get__
    mro_of = type.__dict__["__mro__"].__get__
    dict_of = type.__dict__["__dict__"].__get__
    exit_code_of = SystemExit.__dict__["code"].__get__
    slot_type = type(object.__eq__)
    pristine = dict(vars(builtins))
    builtins_of_tests = dict(pristine)
    channel, ahead = 0, []

    # The wire.

    def take(size):
        parts = []
        while size:
            if ahead:
                part, ahead[0] = ahead[0][:size], ahead[0][size:]
            else:
                part = read(channel, size if size < 65536 else 65536)
            if not part:
                leave(0)  # Somebody else has read it: without proof, nothing is believed.
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def receive():
        return loads(take(int(take(8), 16)))

    def send(*fields):
        record = b"".join([b"%d:%b," % (len(field), field) for field in fields])
        record = b"%d:%b," % (len(record), record)
        while record:
            record = record[write(REPORT, record):]

    # How a piece of foreign code ended, as fields of a record.

    class Forged(BaseException):
        pass

    def utf8(text, limit=300):
        return str.encode(str.__getitem__(text, slice(0, limit)), "utf-8", "surrogatepass")

    def message_of(error):
        try:
            return utf8(str(error))  # May run code of the submission, and may fail.
        except BaseException:
            return b""

    def raised(error, traceback):
        where, line = b"tests", 0
        while traceback is not None:  # The innermost frame of the two files decides.
            name = traceback.tb_frame.f_code.co_filename
            if name == SUBMISSION:
                where, line = b"submission", traceback.tb_lineno
            elif name == TESTS:
                where, line = b"tests", traceback.tb_lineno
            traceback = traceback.tb_next
        kind = type(error)
        if issubclass(kind, AssertionError):
            family = b"assertion"
        elif issubclass(kind, MemoryError):
            family = b"memory"
        else:
            family = b"other"
        return (b"raised", where, family, utf8(name_of(kind)), b"%d" % line, message_of(error))

    def exit_status(code):
        if code is None:
            return 0
        return int.__and__(code, 255) if issubclass(type(code), int) else 1

    def attempt(function, *arguments):
        try:
            return (b"ended",), function(*arguments)
        except Forged as error:
            return (b"forged", error.args[0]), None
        except SystemExit as error:
            return (b"exit", b"%d" % exit_status(exit_code_of(error))), None
        except BaseException as error:
            return raised(error, exc_info()[2]), None
        finally:
            settrace(None)
            setprofile(None)

    # The submission.

    def compiled(source, filename=SUBMISSION, flags=0):
        return compile(source, filename, "exec", flags, True)

    def defines(statements, name):
        for node in statements:
            kind = type(node).__name__
            if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
                if node.name == name:
                    return True
            elif kind == "Assign":
                if any(getattr(target, "id", None) == name for target in node.targets):
                    return True
            elif kind in ("Import", "ImportFrom"):
                if any((alias.asname or alias.name) == name for alias in node.names):
                    return True
            else:
                blocks = [getattr(node, block, ()) for block in ("body", "orelse", "finalbody")]
                blocks += [handler.body for handler in getattr(node, "handlers", ())]
                if any(defines(block, name) for block in blocks):
                    return True
        return False

    def stands_alone(source, name):
        try:
            compiled(source)
            return defines(compiled(source, flags=ONLY_AST).body, name)
        except Exception:
            return False

    def head(prompt, name):
        # The prompt's imports and helpers, for a program that does not repeat them.
        for text in (prompt, prompt + b"\n    pass\n"):
            try:
                tree = compiled(text, flags=ONLY_AST)
                tree.body = [node for node in tree.body if getattr(node, "name", None) != name]
                return [compiled(tree)] if tree.body else []
            except (SyntaxError, ValueError):
                pass
        return []

    # One call: the result goes out by value, and the answer never comes in.

    class Unserialisable(Exception):
        pass

    def encode(value, out, depth):
        kind = type(value)
        if depth > MAX_DEPTH:
            raise Unserialisable(b"nested too deep")
        if value is None or value is True or value is False:
            out.append(b"N" if value is None else b"T" if value else b"F")
        elif issubclass(kind, int):
            out.append(b"i%b;" % int.__repr__(value).encode())
        elif issubclass(kind, float):
            out.append(b"f%b;" % float.__repr__(value).encode())
        elif issubclass(kind, str):
            text = str.encode(value, "utf-8", "surrogatepass")
            out.append(b"s%d:%b" % (len(text), text))
        elif issubclass(kind, (list, tuple)):
            out.append(b"[")
            for item in (list if issubclass(kind, list) else tuple).__iter__(value):
                encode(item, out, depth + 1)
            out.append(b"]")
        elif issubclass(kind, dict):
            out.append(b"{")
            for key, item in dict.items(value):
                encode(json_key(key), out, depth + 1)
                encode(item, out, depth + 1)
            out.append(b"}")
        else:
            raise Unserialisable(utf8(name_of(kind)))

    def json_key(key):
        if key is None or key is True or key is False:
            return "null" if key is None else "true" if key else "false"
        for base in (int, float):
            if issubclass(type(key), base):
                return base.__repr__(key)
        if issubclass(type(key), str):
            return key
        raise Unserialisable(utf8(name_of(type(key))))

    # Tests. Operators that the tests would trust, on objects that the tests do not know, are the
    # oldest cheat: a result that brings its own is refused.

    OPERATORS = frozenset(
        "__%s__" % name
        for name in (
            "eq ne lt le gt ge bool len iter getitem contains hash abs round float int index neg "
            "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow "
            "class getattribute instancecheck subclasscheck"
        ).split()
    )
    PLAIN = {type(None), bool, int, float, complex, str, bytes, bytearray, range, type(Ellipsis)}
    function_type, code_type = type(attempt), type(attempt.__code__)

    def own_operators(kind, known):
        if known.get(name_of(kind)) is kind:
            return False  # The tests name this class: its operators are what they ask about.
        for base in mro_of(kind):
            if base.__flags__ & 1 << 9 == 0:
                continue  # Not made at run time: one of the interpreter's own.
            for name, value in dict_of(base).items():
                if name not in OPERATORS or value is None:
                    continue
                if type(value) is function_type:
                    file = value.__code__.co_filename
                    if file != SUBMISSION and (file[:1] != "<" or file[:7] == "<frozen"):
                        continue
                elif type(value) is slot_type and value.__objclass__ is base:
                    continue
                return True
        return False

    def inspect(value, known):
        stack, seen = [value], set()
        while stack:
            item = stack.pop()
            kind = type(item)
            if kind in PLAIN or id(item) in seen:
                continue
            seen.add(id(item))
            if issubclass(kind, dict):
                parts = list(dict.keys(item)) + list(dict.values(item))
            else:
                parts = ()
                for base in (list, tuple, set, frozenset):
                    if issubclass(kind, base):
                        parts = list(base.__iter__(item))
            if not PLAIN.issuperset(map(type, parts)):
                stack.extend(parts)
            if kind not in (list, tuple, dict, set, frozenset) and own_operators(kind, known):
                raise Forged(utf8(name_of(kind)))

    def guarded(function, known):
        def candidate(*arguments, **named):
            value = function(*arguments, **named)
            inspect(value, known)
            return value

        return candidate

    def names_in(code, found):
        found.update(code.co_names)
        for constant in code.co_consts:
            if type(constant) is code_type:
                names_in(constant, found)

    # One run.

    def run():
        nonlocal channel
        job = receive()
        kind, entry_point, prompt = job["kind"], job["entry_point"], job["prompt"]
        form, code = job["form"], job["code"]
        if form == "either":
            form = "program" if stands_alone(job["source"], entry_point) else "continuation"
        try:
            source = prompt + job["source"] if form == "continuation" else job["source"]
            program = loads(code) if code else [compiled(source, job["script"] or SUBMISSION)]
        except BaseException as error:
            line = getattr(error, "lineno", None) or 0
            message = getattr(error, "msg", None)
            message = utf8(message) if type(message) is str else message_of(error)
            send(b"rejected", utf8(type(error).__name__), b"%d" % line, message)
            leave(0)
        if job["head"] and form == "program" and not code:
            program = head(prompt, entry_point) + program
        if job["setup"] and not code:
            program = [compiled(job["setup"], TESTS)] + program
        send(b"compiled", utf8(form))
        if kind == "compile":
            send(b"code", dumps(program[0] if job["script"] else program))
            leave(0)

        kept = {}
        for name in job["modules"]:
            try:
                __import__(name)
            except Exception:
                continue
            while name:
                if name not in kept:
                    kept[name] = module_type(name)
                    kept[name].__dict__.update(vars(modules[name]))
                name = name.rpartition(".")[0]
        kept_by_identity = {id(modules[name]): copy for name, copy in kept.items()}

        reseed = None
        if job["random"]:
            from random import seed as reseed

            reseed(0)

        try:
            moved, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
            os.dup2(empty, 0)
            os.close(empty)
            channel = moved
        except (AttributeError, OSError):
            # No such calls under WASI, where standard input is a file that can be read again. What is
            # left is taken now, and the submission gets an empty one in its place.
            parts = []
            while not parts or parts[-1]:
                parts.append(read(channel, 65536))
            ahead.append(b"".join(parts))
            os.close(0)
            if os.open(os.devnull, os.O_RDONLY) != 0:
                leave(0)

        submission = module_type("submission")
        scope = submission.__dict__
        scope["__builtins__"] = builtins
        modules["submission"] = modules["__main__"] = submission

        def load():
            for code in program:
                exec(code, scope)

        how, _ = attempt(load)
        if how[0] != b"ended":
            send(b"fatal", *how)
            leave(0)

        def call():
            solution = scope.get("Solution")
            if issubclass(type(solution), type) and hasattr(solution, entry_point):
                return getattr(solution(), entry_point)(*job["args"])
            if entry_point not in scope:
                raise NameError("name %r is not defined" % entry_point)
            return scope[entry_point](*job["args"])

        if kind == "call":
            if reseed:
                reseed(0)
            how, value = attempt(call)
            if how[0] == b"ended":
                if unlimited_digits:
                    unlimited_digits(0)
                out = []
                try:
                    encode(value, out, 0)
                    how = (b"returned", b"".join(out))
                except Unserialisable as error:
                    how = (b"unserialisable", error.args[0])
            send(*how)
            leave(0)

        def import_for_tests(name, globals=None, locals=None, fromlist=(), level=0):
            module = pristine["__import__"](name, globals, locals, fromlist, level)
            if level:
                return module
            return kept.get(name if fromlist else name.partition(".")[0], module)

        tests = receive()
        try:
            before = [compiled(source, TESTS) for source in tests["before"]]
            cases = [compiled(source, TESTS) for source in tests["cases"]]
            if kind == "check" and tests["calls"] and "check" not in cases[0].co_names:
                raise ValueError("the test defines no `check`")
        except (SyntaxError, ValueError) as error:
            send(b"bad tests", take(PROOF_SIZE), message_of(error))
            leave(0)

        mentioned = set()
        for code in before + cases:
            names_in(code, mentioned)
        public = set(tests["public"])
        if not public and not any(name in scope and name not in pristine for name in mentioned):
            # Nothing says what is asked for, and it can only be named like a builtin.
            public = mentioned
        view = {}
        known = {}
        for name, value in scope.items():
            if name in pristine and name not in public:
                continue  # The tests' `len` stays `len`, whatever the submission calls so.
            if id(value) in kept_by_identity:
                value = kept_by_identity[id(value)]
            elif issubclass(type(value), type):
                if name in mentioned:
                    known[name_of(value)] = value
            elif type(value) is function_type or name == entry_point and callable(value):
                value = guarded(value, known)
            view[name] = value
        view["__name__"] = "tests"
        builtins_of_tests["__import__"] = import_for_tests
        view["__builtins__"] = builtins_of_tests

        def run_check():
            exec(cases[0], view)
            if tests["calls"]:
                if entry_point not in view:
                    raise NameError("name %r is not defined" % entry_point)
                view["check"](view[entry_point])

        if reseed:
            reseed(0)
        for code in before:
            how, _ = attempt(exec, code, view)
            if how[0] != b"ended":
                send(b"fatal", *how)
                leave(0)
        for code in cases:
            how, _ = attempt(run_check) if kind == "check" else attempt(exec, code, view)
            send(b"result", take(PROOF_SIZE), *how)
        leave(0)

    return run


# In globals of its own, and with builtins that nobody else can reach.
def apart():
    import builtins

    scope = {"__builtins__": dict(vars(builtins)), "__name__": "harness"}
    return type(harness)(harness.__code__, scope)()


run = apart()
