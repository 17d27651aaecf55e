# row:     A7
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# wasm:    not: there are no sockets; wasm/host_network tries them
# why:     an internet socket is refused when it is made, with the exception a program expects, at once
import json
import socket
import sys
import time

host = json.loads(sys.argv[1])
found = []
begun = time.monotonic()
for family, address in [(socket.AF_INET, host["tcp"][0])] + [(socket.AF_INET6, tcp) for tcp in host["tcp"][1:]]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(family, kind) as sock:
                found.append(f"{sock.family.name} {sock.type.name}")
                sock.settimeout(1)
                sock.connect(tuple(address))
                found.append(sock.recv(16))
        except PermissionError:
            pass
        except OSError as error:
            found.append(f"not a PermissionError: {error!r}")
if time.monotonic() - begun > 1:
    found.append("it took a while")
print(f"ESCAPED: {found}" if found else "contained")
