# row:     A8
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# why:     a socket file of the host that anyone may connect to (X11, docker, a database) is not there
import json
import os
import socket
import sys

host = json.loads(sys.argv[1])
found = []
for path in (host["unix"], "/proc/self/root" + host["unix"], "/var/run/docker.sock", "/run/docker.sock",
             "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/tmp/.X11-unix/X0", "/run/systemd/private"):
    if os.path.exists(path):
        found.append(f"{path} is there")
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            found.append(f"{path} answers {sock.recv(16)}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
