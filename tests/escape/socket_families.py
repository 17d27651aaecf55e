# row:     A9
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    not: there are no sockets; wasm/host_network tries them
# why:     vsock, netlink, alg, packet and forty others have no use in a judge and a history of holes
import errno
import socket

found = []
for family in [number for number in range(50) if number != socket.AF_UNIX]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET, 10):
        try:
            socket.socket(family, kind).close()
            found.append((family, kind))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EAFNOSUPPORT):
                found.append((family, kind, errno.errorcode[error.errno]))
    try:
        for end in socket.socketpair(family):
            end.close()
        found.append((family, "pair"))
    except (OSError, ValueError):
        pass
print(f"ESCAPED: {found}" if found else "contained")
