"""What every process of the census needs, imported once; in the interpreter where there is no GPU.

Nothing here may start a thread: processes are forked from the one that imports it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

    from workbench import interpreter

    interpreter.enable()

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import transformers.modeling_utils  # noqa: F401

import workbench.models.census  # noqa: F401
import workbench_kernels.patching  # noqa: F401
