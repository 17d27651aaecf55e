# why: files in memory have a quota of their own
# expect: exit 0
# stdout: ENOSPC True
import errno

n = 0
try:
    while n < 1_000_000:
        open(f"/tmp/{n}", "w").close()
        n += 1
except OSError as error:
    print(errno.errorcode[error.errno], 1000 < n <= 10_000)
