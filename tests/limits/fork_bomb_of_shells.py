# row:    C1, D4
# expect: Limit(wall_time) | Limit(cpu_time) | Exited(0) | Exited(1) | Exited(2) | Limit(memory)
# limits: wall=1s
# why:    the classic, in the shell, whose processes start others in the background and end
import subprocess

subprocess.run(["sh", "-c", "b() { b | b & }; b; sleep 5"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
