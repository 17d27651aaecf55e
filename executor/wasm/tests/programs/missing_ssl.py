# why: what the interpreter lacks is an ordinary exception
# expect: exit 1
# stderr: ModuleNotFoundError: No module named '_ssl'
import ssl
