# row:     B1, B7
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# why:     neither files, nor modules, nor settings of one run are there in the next run of the same worker
import builtins
import json
import os
import sys

builtins.planted = json.planted = sys.planted = True
sys.modules["planted"] = os
for place in (".", "/usr/lib/python3.11", "/", "/work", "/tmp" if sys.platform == "wasi" else "."):
    try:
        os.mkdir(place + "/planted-folder")
        open(place + "/planted-folder/file", "w").write("planted")
    except OSError:
        pass
os.environ["PLANTED"] = "1"
os.chdir("/tmp")
sys.setrecursionlimit(123)
print("planted")
# --- then, in the next run ---
import builtins
import json
import os
import sys

found = []
for module in (builtins, json, sys):
    if hasattr(module, "planted"):
        found.append(module.__name__)
if "planted" in sys.modules or "PLANTED" in os.environ or sys.getrecursionlimit() != 1000:
    found.append("state of the interpreter")
if os.path.basename(os.getcwd()) != os.path.basename(os.path.dirname(os.path.abspath(sys.argv[0]))):
    found.append(f"in {os.getcwd()}")
for place in (".", "/tmp", "/usr/lib/python3.11", "/", "/work"):
    if os.path.isdir(place):
        found += [f"{place}/{name}" for name in os.listdir(place) if name.startswith("planted")]
print(f"ESCAPED: {found}" if found else "contained")
