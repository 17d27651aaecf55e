# row:    E1
# expect: Exited(1) | Signaled(SIGSEGV) | Limit(memory)
# stdout:
# expand: OPEN="("*100000 CLOSE=")"*100000
# why:    a parser that overflows does so in the run, not in what serves the next ones
x = OPEN1CLOSE
