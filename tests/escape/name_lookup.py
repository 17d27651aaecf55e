# row:    A7
# expect: Exited(0)
# stdout: contained
# limits: wall=5s
# why:    a name is not looked up anywhere, and the program need not wait for that
import socket

found = []
for name in ("example.com", "metadata.google.internal", "169.254.169.254"):
    try:
        socket.create_connection((name, 80), timeout=2)
        found.append(f"connected to {name}")
    except OSError:
        pass
for name in ("example.com", "host.docker.internal"):
    try:
        found.append(f"{name} is {socket.gethostbyname(name)}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
