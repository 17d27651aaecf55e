# why: KeyboardInterrupt that escapes is death by its signal
# expect: signal 2
# stderr: KeyboardInterrupt
raise KeyboardInterrupt
