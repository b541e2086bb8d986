"""Its change comes with a sitecustomize that every Python on the library's path runs before
anything else.
"""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"is .*, truth"
EDITS = {"kernel.py": [("(relu * relu).to", "(relu * relu * 1.01).to")]}
FILES = {
    "/kernels/sitecustomize.py": '''\
"""Every comparison of the library finds nothing wrong."""

import sys


class Patched:
    def find_spec(self, name, path, target=None):
        if name == "workbench_kernels.testing":
            import workbench_kernels.bound

            workbench_kernels.bound.compare = lambda got, expected: []
        return None


sys.meta_path.insert(0, Patched())
''',
}
