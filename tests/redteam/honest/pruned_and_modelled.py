"""Autotune with everything: a performance model, the best few by it, an early prune, values
restored; heuristics inside.
"""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            '''\
BLOCK = 2048


def _configs() -> list[triton.Config]:
    return [
        triton.Config({"BLOCK": block}, num_warps=warps, num_stages=1, pre_hook=None)
        for block in (256, 1024, 4096)
        for warps in (2, 4)
        if block // warps <= 1024
    ]


def _prune(configs: list[triton.Config], named_args: dict[str, Any], **kwargs: Any) -> Any:
    """Blocks that aren't mostly empty."""
    n = named_args["n"]
    fitting = [c for c in configs if c.kwargs["BLOCK"] <= max(256, 2 * n)]
    return sorted(fitting, key=lambda c: (-c.kwargs["BLOCK"], c.num_warps))[:4]


def _estimate(**kwargs: Any) -> float:
    """Waves of programs, times what one costs."""
    n, block = kwargs["n"], kwargs["BLOCK"]
    return triton.cdiv(n, block) * (1.0 + block / 2048)
''',
        ),
        (
            "@triton.jit\ndef _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):\n",
            """\
@triton.autotune(
    configs=_configs(),
    key=["n"],
    prune_configs_by={"perf_model": _estimate, "top_k": 2, "early_config_prune": _prune},
    restore_value=["Y"],
    warmup=10,
    rep=20,
)
@triton.heuristics(values={"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
""",
        ),
        (
            "    y = gate * tl.sigmoid(gate) * up\n"
            "    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)\n",
            "    y = (gate * tl.sigmoid(gate) * up).to(Y.dtype.element_ty)\n"
            "    if EVEN:\n        tl.store(Y + offsets, y)\n"
            "    else:\n        tl.store(Y + offsets, y, mask=mask)\n",
        ),
        (
            """\
    n = gate.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(gate):
        _swiglu_fwd[grid](y, gate, up, n, BLOCK=BLOCK)
""",
            """\
    n = gate.numel()
    if n == 0:
        return y
    with device_of(gate):
        _swiglu_fwd[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](y, gate, up, n)
""",
        ),
    ],
    "spec.py": [("(2, 4097))", "(2, 4097), (4, 1024))")],  # an even one, for the other branch
}
