# row:     A7, A8, A9
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# why:     there is no socket to be had, so nothing that listens on the host is reached
import json
import os
import sys

host = json.loads(sys.argv[1])
found = []
try:
    import socket
    kinds = [(socket.AF_INET, tuple(tcp)) for tcp in host["tcp"][:1]]
    kinds += [(socket.AF_UNIX, host["unix"]), (socket.AF_UNIX, "\0" + host["abstract"])]
    for family, address in kinds:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            found.append(f"{family}")
            sock.settimeout(1)
            sock.connect(address)
            found.append(sock.recv(16))
except (ImportError, AttributeError, OSError) as error:
    pass
# Nor through the calls below it, on whatever descriptor.
try:
    import _socket
    for name in ("socket", "socketpair", "getaddrinfo", "gethostbyname"):
        try:
            getattr(_socket, name)(*(("localhost", 80) if name == "getaddrinfo" else ("localhost",) if name == "gethostbyname" else ()))
            found.append(name)
        except (AttributeError, OSError, ImportError):
            pass
except ImportError:
    pass
try:
    import urllib.request
    urllib.request.urlopen(f"http://127.0.0.1:{host['tcp'][0][1]}", timeout=1)
    found.append("urllib")
except Exception as error:
    if "BadStatusLine" in repr(error) or "RemoteDisconnected" in repr(error):
        found.append("urllib reached something")
for path in ("/proc/net/tcp", "/sys/class/net", "/etc/resolv.conf", "/etc/hosts", host["unix"]):
    if os.path.exists(path):
        found.append(path)
print(f"ESCAPED: {found}" if found else "contained")
