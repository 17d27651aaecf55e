import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
import numpy
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
