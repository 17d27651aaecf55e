# why: so have their bytes, and holes count for nothing that is not there
# expect: exit 0
# stdout: ENOSPC True
import errno

n = 0
try:
    while n < 10_000:
        with open(f"/tmp/{n}", "wb") as file:
            file.write(bytes(1 << 20))
        n += 1
except OSError as error:
    print(errno.errorcode[error.errno], 100 < n < 300)
