# row:    B1, B7, warm
# expect: Exited(0)
# stdout: contained
# wasm:   not: files have no modes
# why:    where one id is mapped the program's own file is also the run's: its mode and times are part of the proof
import os

for attempt in (lambda: os.chmod("main.py", 0o757), lambda: os.truncate("main.py", 0)):
    try:
        attempt()
    except OSError:
        pass
print("planted")
# --- then, in the next run ---
import os
import stat

mode = stat.S_IMODE(os.stat("main.py").st_mode)
print(f"ESCAPED: mode {mode:o}" if mode != 0o644 else "contained")
