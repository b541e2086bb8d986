"""Registers the same name under a dispatch key that nobody watched: what it computes there with
operators is not seen.
"""

BASE = "relu2"
REJECTED_BY = ("work", "source")
SAYS = r"gt|mul|NonFunctional"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "def _forward_fake",
            """\
def _simply(x: Any) -> Any:
    y = (x > 0) * x * x
    _relu2_fwd[(1,)](y, x, 0, BLOCK=BLOCK)
    return y


def _forward_fake""",
        ),
        (
            'relu2 = op.define("relu2", forward, fake=_forward_fake)\n',
            """\
LIBRARY = torch.library.Library("workbench_kernels", "FRAGMENT")
LIBRARY.define(
    "relu2(Tensor x) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order),
)
LIBRARY.impl("relu2", _simply, "CompositeExplicitAutogradNonFunctional")
torch.library.register_fake("workbench_kernels::relu2", _forward_fake, lib=LIBRARY)
relu2 = torch.ops.workbench_kernels.relu2.default
""",
        ),
        (
            'op.autograd("relu2", save=_save, backward=_differentiate)\n',
            "torch.library.register_autograd(\n"
            '    "workbench_kernels::relu2", _differentiate, setup_context=_save, lib=LIBRARY\n)\n',
        ),
    ]
}
