# row:     A8, B6
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    not: there are no sockets; wasm/host_network tries them
# why:     an abstract name of one run means nothing to another that runs at the same time
import socket
import time

listener = socket.socket(socket.AF_UNIX)
listener.bind("\0codejury-hostile-rendezvous")
listener.listen(100)
time.sleep(1)
# --- beside it, in another run ---
import socket

found = []
try:
    socket.socket(socket.AF_UNIX).connect("\0codejury-hostile-rendezvous")
    found.append("connected")
except OSError:
    pass
try:
    socket.socket(socket.AF_UNIX).bind("\0codejury-hostile-rendezvous")
except OSError as error:
    found.append(f"the name is taken: {error}")
print(f"ESCAPED: {found}" if found else "contained")
