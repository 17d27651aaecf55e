# why: modes and times can be set, or so it seems, and trees can be copied
# expect: exit 0
import os
import shutil
os.makedirs("a/b")
with open("a/b/c", "w") as file:
    file.write("x")
os.chmod("a/b/c", 0o600)
os.utime("a/b/c", ns=(1, 2))
shutil.copytree("a", "d")
shutil.rmtree("a")
print(os.listdir("d/b"), os.path.exists("a"), open("d/b/c").read())
# stdout: ['c'] False x
