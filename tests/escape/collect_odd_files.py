# row:     A1, D5, E1
# expect:  Exited(0)
# stdout:  done
# collect: fifo folder socket missing private
# collected: private
# limits:  wall=3s
# wasm:    raises AttributeError: module 'os' has no attribute 'mkfifo'
# why:     a FIFO, a folder or a socket in place of a result neither blocks the collector nor comes back
import os
import socket

os.mkfifo("fifo")
os.mkdir("folder")
socket.socket(socket.AF_UNIX).bind("socket")
with open("private", "w") as file:
    file.write("owner's business")
os.chmod("private", 0)
print("done", flush=True)
