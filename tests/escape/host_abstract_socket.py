# row:     A8
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# wasm:    raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/net/unix'
# why:     abstract names have no file permissions: only the network namespace parts them
import json
import socket
import sys

host = json.loads(sys.argv[1])
found = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    try:
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.connect("\0" + host["abstract"])
            found.append("connected")
    except OSError:
        pass
found += [line.split()[-1] for line in open("/proc/net/unix") if "@" in line or "/" in line]
print(f"ESCAPED: {found}" if found else "contained")
