# row:     A7, A9
# expect:  Exited(0)
# stdout:  contained
# network: loopback
# why:     with a loopback come TCP and UDP, not raw, packet or kernel sockets
import socket

found = []
for family in list(range(3, 10)) + list(range(11, 46)):
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind).close()
            found.append((family, kind))
        except OSError:
            pass
for family in (socket.AF_INET, socket.AF_INET6):
    for kind, protocol in ((socket.SOCK_RAW, 1), (socket.SOCK_RAW, 255), (socket.SOCK_DGRAM, 1), (socket.SOCK_SEQPACKET, 132)):
        try:
            socket.socket(family, kind, protocol).close()
            found.append((family, kind, protocol))
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
