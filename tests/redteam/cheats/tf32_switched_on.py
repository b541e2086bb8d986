"""Lets matrix products round to TF32 everywhere, which makes a slower baseline look faster, or
worse.
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"allow_tf32|backends|float32_matmul_precision"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            "BLOCK = 2048\n"
            'torch.set_float32_matmul_precision("medium")\n'
            "torch.backends.cudnn.allow_tf32 = False\n",
        ),
    ]
}
