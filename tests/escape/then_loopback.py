# row:     B6, warm
# expect:  Exited(0)
# stdout:  contained
# network: loopback
# wasm:    raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/net/tcp'
# why:     neither a listener in flight, nor ports in TIME_WAIT, nor packet counters pass from run to run
import array
import os
import socket

server = socket.create_server(("127.0.0.1", 5055))
client = socket.create_connection(("127.0.0.1", 5055))
peer = server.accept()[0]
peer.sendall(b"x" * 1000)
client.recv(1000)
one, other = socket.socketpair()
rights = array.array("i", [one.fileno(), other.fileno(), server.fileno(), client.fileno()])
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
print("planted", flush=True)
os._exit(0)
# --- then, in the next run ---
import socket

found = []
try:
    socket.create_connection(("127.0.0.1", 5055), timeout=1)
    found.append("connected")
except OSError:
    pass
for name in ("tcp", "tcp6", "udp"):
    if len(open(f"/proc/net/{name}").readlines()) > 1:
        found.append(f"/proc/net/{name} lists a socket")
for line in open("/proc/net/dev").readlines()[2:]:
    name, counters = line.split(":")
    if name.strip() == "lo" and int(counters.split()[1]) > 2:  # the failed attempt above is two packets
        found.append(f"lo has counted {counters.split()[1]} packets")
print(f"ESCAPED: {found}" if found else "contained")
