"""The referee: the process that knows what is right. It runs an op's spec and never its kernels.

It belongs to the judge's side, in a process of its own because a spec is somebody's code too: what
it could forge is the reference, which a person confirms, and not the comparison or the verdict.
"""
