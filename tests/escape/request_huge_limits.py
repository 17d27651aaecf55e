# row:    E1
# expect: InvalidRequest | Exited(0)
# stdout~: (contained\n)?
# limits: memory=18446744073709551615 scratch=18446744073709551615 inodes=18446744073709551615 file_size=18446744073709551615 stdout=18446744073709551615 stderr=18446744073709551615
# why:    sums of limits do not wrap around to small or negative ones
print("contained")
