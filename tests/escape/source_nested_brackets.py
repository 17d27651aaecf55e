# row:    E1
# expect: Exited(1) | Signaled(SIGSEGV) | Limit(memory) | Exited(0)
# expand: MINUS="-"*100000 TERM="+1"*50000
# why:    signs and sums nest without brackets, past the parser and into the compiler
x = MINUS1
y = 1TERM
