# why: what the snapshot has imported shows only to a program that imports it
# expect: exit 0
import sys
print(len(sys.modules) < 40, "collections" in sys.modules, "asyncio" in sys.modules)
import json
print("json.decoder" in sys.modules, "re" in sys.modules, "asyncio" in sys.modules)
import xml
print(hasattr(xml, "etree"))
import xml.etree.ElementTree as tree
print(xml.etree.ElementTree is tree, hasattr(xml, "etree"))
import collections
print(collections.abc.Iterable.__name__)
import concurrent
print(hasattr(concurrent, "futures"))
from concurrent import futures
print(futures.__file__, json.__file__)
import os
print(os.__file__, os.getcwd(), sys.argv, __file__, __name__, sys.maxsize)
# stdout: True False False
# stdout: True True False
# stdout: False
# stdout: True True
# stdout: Iterable
# stdout: False
# stdout: /usr/lib/python3.11/concurrent/futures/__init__.py /usr/lib/python3.11/json/__init__.py
# stdout: /usr/lib/python3.11/os.py /work ['main.py'] /work/main.py __main__ 9223372036854775807
