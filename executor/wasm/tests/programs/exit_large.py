# why: of a large exit status the low eight bits remain
# expect: exit 7
import sys
sys.exit(2**40 + 7)
