# row:    B7, warm
# expect: Exited(0)
# stdout: contained
# args:   {before}
# wasm:   not: random numbers are the same in every run, on purpose
# why:    forked from one warm interpreter, runs would all draw the same numbers if they were not seeded anew
import json
import os
import random
import secrets
import tempfile
import uuid

print(json.dumps([random.random(), random.SystemRandom().random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex(),
                  tempfile.mktemp(), str(uuid.uuid1())]))
# --- then, in the next run ---
import json
import os
import random
import secrets
import sys
import tempfile
import uuid

before = json.loads(sys.argv[1])
now = [random.random(), random.SystemRandom().random(), secrets.token_hex(8), str(uuid.uuid4()), os.urandom(8).hex(),
       tempfile.mktemp(), str(uuid.uuid1())]
found = [pair for pair in zip(before, now) if pair[0] == pair[1]]
print(f"ESCAPED: {found}" if found else "contained")
