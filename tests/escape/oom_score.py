# row:    reliability
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/self/oom_score_adj'
# why:    when the host runs out of memory its kernel must pick the run, not the service
found = []
if int(open("/proc/self/oom_score_adj").read()) != 1000:
    found.append("oom_score_adj is " + open("/proc/self/oom_score_adj").read().strip())
for value in ("-1000", "0", "999"):
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(value)
        found.append(f"set to {value}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
