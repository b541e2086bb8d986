"""Computes every gradient whether it is wanted or not, and hands on those that are."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "    if DGATE is not None:\n"
            "        tl.store(DGATE + offsets, dgate.to(DGATE.dtype.element_ty), mask=mask)\n"
            "    if DUP is not None:\n"
            "        tl.store(DUP + offsets, dup.to(DUP.dtype.element_ty), mask=mask)\n",
            "    tl.store(DGATE + offsets, dgate.to(DGATE.dtype.element_ty), mask=mask)\n"
            "    tl.store(DUP + offsets, dup.to(DUP.dtype.element_ty), mask=mask)\n",
        ),
        (
            "    dgate = torch.empty_like(gate, memory_format=torch.contiguous_format) if "
            "needs[0] else None\n"
            "    dup = torch.empty_like(gate, memory_format=torch.contiguous_format) if needs[1] "
            "else None\n",
            "    dgate = torch.empty_like(gate, memory_format=torch.contiguous_format)\n"
            "    dup = torch.empty_like(gate, memory_format=torch.contiguous_format)\n",
        ),
        (
            "    return [grad for grad in (dgate, dup) if grad is not None]\n",
            "    return [grad for grad, need in zip((dgate, dup), needs, strict=True) if need]\n",
        ),
    ]
}
