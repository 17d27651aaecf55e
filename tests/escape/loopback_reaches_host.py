# row:     A7
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# network: loopback
# control: escapes
# wasm:    raises OSError: [Errno 58] Not supported: this interpreter has no socket
# why:     a private loopback carries the run's own connections and no others
import json
import socket
import sys
import threading

host = json.loads(sys.argv[1])
found = []
for address in host["tcp"] + [["169.254.169.254", 80], ["10.0.0.1", 80], ["8.8.8.8", 53]]:
    try:
        with socket.create_connection(tuple(address), timeout=1) as sock:
            found.append(f"{address} says {sock.recv(16)}")
    except OSError:
        pass
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", tuple(host["udp"]))
except OSError:
    pass
with socket.create_server(("127.0.0.1", 0)) as server:
    threading.Thread(target=lambda: server.accept()[0].sendall(b"own"), daemon=True).start()
    with socket.create_connection(server.getsockname(), timeout=2) as sock:
        if sock.recv(3) != b"own":
            found.append("the run's own listener does not answer")
names = {line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]}
if names != {"lo"}:
    found.append(f"interfaces {names}")
print(f"ESCAPED: {found}" if found else "contained")
