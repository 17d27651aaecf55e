# row:    E1
# expect: Exited(1) | Exited(0)
# stdout:
# expand: NUL="\x00"*1
# why:    a NUL in the source is the program's error: from 3.12 a SyntaxError, before that the end of the text
x = "NUL"
NUL
