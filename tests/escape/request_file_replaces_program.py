# row:    E1
# expect: InvalidRequest
# files:  main.py=print('ESCAPED')
# why:    a file under the program's own name would be run in its place
print("never run")
