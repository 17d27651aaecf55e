# why: what one instruction or call moves is paid by the byte: no program keeps its worker beyond the limit
# expect: limit cpu_time
# cpu_time_ms: 300
with open("/tmp/x", "wb") as file:
    file.write(bytes(1 << 24))
a, b = bytearray(1 << 26), bytes(1 << 26)
while True:
    for _ in range(100):
        a[:] = b
    open("/tmp/x", "rb").read()
