# row:    E1
# expect: InvalidRequest | Exited(0) | Exited(1) | Signaled(SIGSEGV) | Signaled(SIGKILL) | Signaled(SIGABRT) | Limit(memory)
# limits: memory=0
# why:    no memory at all is refused, or the program's bad luck, but no failure of the sandbox
print("contained")
