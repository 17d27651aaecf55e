# row:     B6
# expect:  Exited(0)
# stdout:  contained
# network: loopback
# control: escapes
# wasm:    not: there are no sockets; wasm/host_network tries them
# why:     two runs with a loopback have two of them
import socket
import time

listener = socket.create_server(("127.0.0.1", 50557), backlog=100)
time.sleep(1)
# --- beside it, in another run ---
import socket

found = []
try:
    socket.create_connection(("127.0.0.1", 50557), timeout=1)
    found.append("connected")
except OSError:
    pass
try:
    socket.create_server(("127.0.0.1", 50557))
except OSError as error:
    found.append(f"the port is taken: {error}")
print(f"ESCAPED: {found}" if found else "contained")
