# why: random numbers are seeded in each run, and the same in each
# expect: exit 0
import random
import uuid
print(random.random() != 0.8444218515250481, uuid.uuid4().version, hash("a") == hash("a"))
random.seed(1)
print(random.randint(1, 10**6))
# stdout: True 4 True
# stdout: 140892
