# why: standard input is a file that can be read in every way
# expect: exit 0
# stdin: one\ntwo\nthree\nfour\n
import os
import sys
print(input(), sys.stdin.readline().strip(), os.fstat(0).st_size)
print(sys.stdin.read().split(), sys.stdin.isatty(), sys.stdout.encoding, sys.stdin.errors)
# stdout: one two 19
# stdout: ['three', 'four'] False utf-8 surrogateescape
