# row:    C3
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=64MiB
# why:    what waits in a socket is kernel memory, whoever sent it
import socket

got = 0
pairs = []
try:
    while len(pairs) < 4000:
        pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
except OSError:
    pass
for one, other in pairs:
    for end in (one, other):
        end.setblocking(False)
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        except OSError:
            pass
        try:
            while True:
                got += end.send(b"x" * 65536)
        except OSError:
            pass
print("contained" if got >> 20 <= 96 else f"ESCAPED: {got >> 20} MiB in {len(pairs)} pairs")
