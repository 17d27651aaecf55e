"""What the standard library needs of sockets to be imported. There is no network."""
import errno

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6 = 0, 1, 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET = 1, 2, 3, 4, 5
SOCK_NONBLOCK, SOCK_CLOEXEC = 0o4000, 0o2000000
SOL_SOCKET, SOL_IP, SOL_TCP, SOL_UDP = 1, 0, 6, 17
SO_DEBUG, SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST = 1, 2, 3, 4, 5, 6
SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_OOBINLINE, SO_LINGER, SO_REUSEPORT = 7, 8, 9, 10, 13, 15
SO_RCVLOWAT, SO_SNDLOWAT, SO_RCVTIMEO, SO_SNDTIMEO, SO_ACCEPTCONN = 18, 19, 20, 21, 30
SOMAXCONN = 4096
IPPROTO_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_RAW = 0, 1, 6, 17, 41, 255
IPV6_V6ONLY = 26
TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = 1, 2, 4, 5, 6
MSG_OOB, MSG_PEEK, MSG_DONTROUTE, MSG_TRUNC, MSG_WAITALL, MSG_DONTWAIT, MSG_NOSIGNAL = 1, 2, 4, 32, 256, 64, 16384
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
AI_PASSIVE, AI_CANONNAME, AI_NUMERICHOST, AI_V4MAPPED, AI_ALL, AI_ADDRCONFIG, AI_NUMERICSERV = 1, 2, 4, 8, 16, 32, 1024
EAI_BADFLAGS, EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_FAMILY, EAI_SOCKTYPE, EAI_SERVICE = -1, -2, -3, -4, -6, -7, -8
EAI_MEMORY, EAI_OVERFLOW = -10, -12
NI_NUMERICHOST, NI_NUMERICSERV, NI_NOFQDN, NI_NAMEREQD, NI_DGRAM = 1, 2, 4, 8, 16
INADDR_ANY, INADDR_BROADCAST, INADDR_LOOPBACK, INADDR_NONE = 0, 0xFFFFFFFF, 0x7F000001, 0xFFFFFFFF
has_ipv6 = True
error = OSError
timeout = TimeoutError
CAPI = None


class herror(OSError):
    pass


class gaierror(OSError):
    pass


def _missing():
    return OSError(errno.ENOTSUP, "Not supported: this interpreter has no socket")


class socket:
    """Cannot be made."""

    __slots__ = ("_closed",)
    family, type, proto, timeout = AF_INET, SOCK_STREAM, 0, None

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        raise _missing()

    def _none(self, *args, **kwargs):
        raise _missing()

    accept = _accept = bind = connect = connect_ex = getpeername = getsockname = getsockopt = listen = _none
    recv = recv_into = recvfrom = recvfrom_into = recvmsg = recvmsg_into = send = sendall = sendmsg = sendto = _none
    setblocking = setsockopt = settimeout = gettimeout = shutdown = getblocking = _none

    def close(self):
        pass

    def detach(self):
        return -1

    def fileno(self):
        return -1


SocketType = socket
_default_timeout = None


def getdefaulttimeout():
    return _default_timeout


def setdefaulttimeout(timeout):
    global _default_timeout
    _default_timeout = timeout


def gethostname():
    return "localhost"


def _no_host(*args, **kwargs):
    raise _missing()


getaddrinfo = gethostbyname = gethostbyname_ex = gethostbyaddr = getnameinfo = socketpair = dup = close = _no_host
getservbyname = getservbyport = getprotobyname = if_nameindex = if_nametoindex = if_indextoname = _no_host


def ntohs(x):
    return int.from_bytes(x.to_bytes(2, "little"), "big")


def ntohl(x):
    return int.from_bytes(x.to_bytes(4, "little"), "big")


htons, htonl = ntohs, ntohl


def inet_aton(address):
    parts = address.split(".")
    if len(parts) != 4 or not all(part.isdigit() and int(part) < 256 for part in parts):
        raise OSError("illegal IP address string passed to inet_aton")
    return bytes(map(int, parts))


def inet_ntoa(packed):
    if len(packed) != 4:
        raise OSError("packed IP wrong length")
    return ".".join(map(str, bytes(packed)))


def inet_pton(family, address):
    import ipaddress
    try:
        return (ipaddress.IPv4Address if family == AF_INET else ipaddress.IPv6Address)(address).packed
    except ValueError:
        raise OSError("illegal IP address string passed to inet_pton") from None


def inet_ntop(family, packed):
    import ipaddress
    return str((ipaddress.IPv4Address if family == AF_INET else ipaddress.IPv6Address)(bytes(packed)))
