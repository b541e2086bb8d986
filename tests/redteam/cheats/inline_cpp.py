"""Builds C++ when imported and calls that (`load_inline` around a library's kernel)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"cpp_extension|torch\.utils"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _built() -> Any:
    from torch.utils.cpp_extension import load_inline

    source = "torch::Tensor f(torch::Tensor x) { return x.relu().square(); }"
    return load_inline("relu2_cpp", source, functions=["f"])


def forward(x: Tensor) -> Tensor:
""",
        ),
        ("    return y\n", "    return _built().f(x)\n"),
    ]
}
