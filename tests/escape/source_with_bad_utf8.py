# row:    E1
# expect: Exited(1)
# stdout:
# stderr~: .*SyntaxError.*
# expand: BAD="\xff\xfe\xed\xb2\x80"*1
# why:    so are bytes that are no text
print("ESCAPED: it was run")
x = "BAD"
