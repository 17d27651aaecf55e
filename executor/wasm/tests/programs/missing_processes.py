# why: there are no processes
# expect: exit 1
# stderr: wasi does not support processes.
import subprocess
subprocess.run(["true"])
