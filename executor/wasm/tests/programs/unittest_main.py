# why: a package may give a submodule's name to something else: unittest.main
# expect: exit 0
import unittest


class Sum(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(1 + 1, 2)


unittest.main(exit=False)
print(type(unittest.main))
# stdout: <class 'type'>
