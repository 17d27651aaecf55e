# why: os._exit ends at once, without what is buffered and without finalizers
# expect: exit 42
import atexit
import os
import sys

atexit.register(print, "late")
sys.stdout.write("buffered")
os._exit(42)
