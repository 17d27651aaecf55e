# row:    D11, D8
# expect: Exited(44)
# why:    an exit status is taken modulo 256, as every shell does, and means what the program says
raise SystemExit(300)
