# why: an exit status is what a parent process would see
# expect: exit 255
exit(-1)
