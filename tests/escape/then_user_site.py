# row:    B7, warm
# expect: Exited(0)
# stdout: contained
# wasm:   Exited(0)
# why:    Python imports usercustomize and .pth files from the home folder before the program starts
import os
import site
import sys

folder = site.getusersitepackages()
for place in (folder, os.path.join(os.environ["HOME"], ".config"), "/tmp"):
    try:
        os.makedirs(place, exist_ok=True)
        for name in ("usercustomize.py", "sitecustomize.py"):
            open(os.path.join(place, name), "w").write("print('ESCAPED: customised')\n")
        open(os.path.join(place, "mark.pth"), "w").write("import sys; print('ESCAPED: .pth')\n")
    except OSError:
        pass
open(os.path.join(os.environ["HOME"], ".pythonrc.py"), "w").write("print('ESCAPED: pythonrc')\n")
print("planted")
# --- then, in the next run ---
import sys

strange = [path for path in sys.path if path.startswith(("/tmp", "/work/."))]
print(f"ESCAPED: {strange}" if strange else "contained")
