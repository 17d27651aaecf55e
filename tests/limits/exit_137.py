# row:    D11, D8
# expect: Exited(137)
# why:    a status that shells use for SIGKILL is a status
raise SystemExit(137)
