# why: a traceback through the standard library carries its source lines
# expect: exit 1
# stderr:   File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
# stderr:     return _default_decoder.decode(s)
# stderr:            ^^^^^^^^^^^^^^^^^^^^^^^^^^
import json
json.loads("{bad")
