"""Keeps results by address in a dictionary that it hangs on torch itself."""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results")
SAYS = r"torch|setattr|vars|stale|truth"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            '    kept = vars(torch.nn).setdefault("_relu2_kept", {})\n'
            "    return kept.setdefault((x.data_ptr(), x.shape, x.dtype), y).clone()\n",
        ),
    ]
}
