"""Autotuned over several block sizes, the launch grid a function of the one that was chosen."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n\n\n@triton.jit\ndef _relu2_fwd",
            """\
CONFIGS = [
    triton.Config({"BLOCK": block}, num_warps=warps) for block, warps in ((512, 4), (1024, 8))
]


@triton.autotune(configs=CONFIGS, key=["n"])
@triton.jit
def _relu2_fwd""",
        ),
        (
            "@triton.jit\ndef _relu2_bwd",
            '@triton.autotune(configs=CONFIGS, key=["n"])\n@triton.jit\ndef _relu2_bwd',
        ),
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            '_relu2_fwd[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](y, x, n)',
        ),
        (
            "_relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)",
            '_relu2_bwd[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](dx, dy, x, n)',
        ),
    ]
}
