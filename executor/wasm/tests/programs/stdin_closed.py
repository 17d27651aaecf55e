# Once closed, standard input is gone under each of its names; whatever takes its place is there instead.
# stdin: some text\n
# stdout: b'so'
# stdout: FileNotFoundError
# stdout: 0 b'' b''
# stdout: 0 b'other' b'other'
# expect: exit 0
import os

print(os.read(0, 2))
os.close(0)
try:
    os.open("/dev/stdin", os.O_RDONLY)
except OSError as error:
    print(type(error).__name__)
with open("/tmp/other", "w") as file:
    file.write("other")
for name in ("/dev/null", "/tmp/other"):
    number = os.open(name, os.O_RDONLY)
    again = os.open("/dev/stdin", os.O_RDONLY)
    print(number, os.read(number, 100), os.read(again, 100))
    os.close(again)
    os.close(number)
