# row:    B7, warm
# expect: Exited(0)
# stdout: contained
# why:    no run sees a builtin, a module, a codec or a setting that an earlier one has changed
import atexit
import builtins
import codecs
import decimal
import gc
import json
import locale
import os
import random
import signal
import sys
import warnings

builtins.len = lambda thing: 7
builtins.planted = True
json.loads = lambda text: "planted"
sys.path.insert(0, "/tmp/planted")
sys.modules["planted"] = sys
os.environ["PLANTED"] = "1"
os.putenv("PLANTED", "1")
decimal.getcontext().prec = 3
random.seed(1)
sys.setrecursionlimit(12345)
sys.set_int_max_str_digits(1000) if hasattr(sys, "set_int_max_str_digits") else None
warnings.simplefilter("error")
gc.disable()
codecs.register(lambda name: codecs.lookup("utf-8") if name == "planted" else None)
signal.signal(signal.SIGTERM, lambda *_: None)
atexit.register(print, "ESCAPED: atexit of another run")
try:
    locale.setlocale(locale.LC_ALL, "C")
except locale.Error:
    pass
os.write(1, b"planted\n")
os._exit(0)
# --- then, in the next run ---
import builtins
import codecs
import decimal
import gc
import json
import os
import signal
import sys
import warnings

found = []
if len([]) != 0 or hasattr(builtins, "planted"):
    found.append("builtins")
if json.loads("1") != 1:
    found.append("json")
if "/tmp/planted" in sys.path or "planted" in sys.modules or "PLANTED" in os.environ:
    found.append("path, modules or environment")
if decimal.getcontext().prec != 28 or sys.getrecursionlimit() == 12345 or not gc.isenabled():
    found.append("settings")
if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
    found.append("signal handler")
if any(action == "error" for action, *_ in warnings.filters):
    found.append("warnings")
try:
    codecs.lookup("planted")
    found.append("codec")
except LookupError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
