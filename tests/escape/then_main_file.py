# row:    B1, B7, warm
# expect: Exited(0)
# stdout: contained
# why:    the program's own file is the cell's: a run that changes it would speak in the next run's name
import os

for attempt in (
    lambda: open("main.py", "a").write("\nprint('ESCAPED: appended')\n"),
    lambda: os.chmod("main.py", 0o777),
    lambda: os.unlink("main.py"),
    lambda: os.rename("main.py", "away.py"),
    lambda: os.symlink("/etc/passwd", "main.py"),
    lambda: os.mkdir("__pycache__"),
    lambda: open("sitecustomize.py", "w").write("print('ESCAPED: sitecustomize')"),
    lambda: open("random.py", "w").write("print('ESCAPED: a module of the working directory')"),
    lambda: open("pyvenv.cfg", "w").write("home = /tmp\n"),
):
    try:
        attempt()
    except OSError:
        pass
print("planted")
# --- then, in the next run ---
import os
import random
import sys

found = []
if sys.argv[0] != "main.py":
    found.append(f"started as {sys.argv[0]}")
if set(os.listdir(".")) != {"main.py"}:
    found.append(f"the folder holds {os.listdir('.')}")
if "found.append" not in open("main.py").read():
    found.append("another program's text")
if random.__file__.startswith(os.getcwd()):
    found.append(random.__file__)
print(f"ESCAPED: {found}" if found else "contained")
