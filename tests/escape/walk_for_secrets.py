# row:     A1
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# limits:  wall=20s
# control: escapes
# why:     no folder of the whole root shows a file planted on the host, under whatever name it is mounted
import json
import os
import sys

name = json.loads(sys.argv[1])["file_name"]
begin = [place for place in ("/tmp", "/var", "/home", "/srv", "/opt", "/run", "/dev", "/mnt") if os.path.isdir(place)]
for top in begin + ["/"]:
    for folder, folders, files in os.walk(top):
        if folder == "/proc" or folder.startswith(("/usr/", "/sys/")):
            folders.clear()
        if name in files:
            print("ESCAPED:", folder)
            sys.exit()
print("contained")
