"""Registers the op as a composite of PyTorch's: its own implementation is never reached."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu|square|Composite|kernel"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            'relu2 = op.define("relu2", forward, fake=_forward_fake)\n'
            'relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)\n'
            'op.autograd("relu2", save=_save, backward=_differentiate)\n',
            'LIBRARY = torch.library.Library("workbench_kernels", "FRAGMENT")\n'
            'LIBRARY.define("relu2(Tensor x) -> Tensor")\n'
            'LIBRARY.impl("relu2", lambda x: torch.relu(x).square(), "CompositeImplicitAutograd")\n'
            "relu2 = torch.ops.workbench_kernels.relu2.default\n",
        ),
    ]
}
