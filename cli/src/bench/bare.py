# What a sandboxed run is measured against, in a process of its own: `bare.py HOW FILE RUNS`.
# Runs the program in FILE that often, on the standard input in FILE.in, and prints the CPU seconds
# of itself and its children, and the seconds that it took.
#
# fork: the least that anything built on fork can cost. The program's imports are done; each run forks,
# runs code that is compiled already, flushes and leaves. No sandbox, no limits, no pipes.
# subprocess: Python's own subprocess.run of the file.
import gc, os, resource, subprocess, sys, time

how, file, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])


def cpu():
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


with open(file) as f:
    text = f.read()
with open(file + ".in", "rb") as f:
    given = f.read()
kept = os.dup(1)
if how != "subprocess":
    exec("\n".join(line for line in text.split("\n") if line.startswith(("import", "from"))))
    code = compile(text, "main.py", "exec")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(file + ".in", os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)
    gc.collect()
    gc.freeze()


def fork():
    os.lseek(0, 0, 0)
    pid = os.fork()
    if pid == 0:
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    return pid


cpu_before, before = cpu(), time.monotonic()
if how == "fork":
    for _ in range(runs):
        assert os.waitpid(fork(), 0)[1] == 0
else:
    for _ in range(runs):
        done = subprocess.run([sys.executable, file], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.stdout == given, done
os.write(kept, b"%r %r" % (cpu() - cpu_before, time.monotonic() - before))
