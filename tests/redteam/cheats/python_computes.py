"""A loop over a list of numbers does the work; the tensor is only made of it."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)tolist|torch\.tensor|kernel"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            "    squares = [v * v if v > 0 or v != v else 0.0 for v in x.flatten().tolist()]\n"
            "    return torch.tensor(squares, dtype=torch.float64).to(x).view(x.shape)\n",
        ),
    ]
}
