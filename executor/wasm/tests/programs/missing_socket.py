# why: socket can be imported, as asyncio and others do, but none can be made
# expect: exit 1
# stderr: this interpreter has no socket
import socket
socket.socket()
