"""What each ATen operation is to us: its category for the tier rule, and its name in the arithmetic
graph.
"""

from __future__ import annotations

from typing import Any

from torch import fx

# Same name here and there, one result, point-wise.
POINTWISE = frozenset(
    (
        "add sub mul div neg abs exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos "
        "tan tanh sinh cosh asinh acosh atanh asin acos atan sigmoid erf erfc floor ceil round "
        "trunc sign relu maximum minimum where eq ne lt le gt ge logical_and logical_or "
        "logical_not bitwise_and bitwise_or bitwise_not isnan isinf pow square "
        "clamp clamp_min clamp_max rsub "
        "fma addcmul addcdiv leaky_relu copysign logical_xor signbit"
    ).split()
)
# They move or repeat values and compute none.
VIEWS = frozenset("alias clone detach view reshape unsqueeze squeeze expand _unsafe_view".split())
CASTS = frozenset("convert_element_type _to_copy to".split())
# They make values out of nothing.
CONSTANTS = frozenset(
    (
        "full full_like scalar_tensor zeros zeros_like ones ones_like new_zeros new_ones new_full "
        "empty"
    ).split()
)
REDUCTIONS = frozenset("sum mean amax amin var var_mean any all prod argmax argmin".split())
MATMULS = frozenset("mm bmm addmm baddbmm dot mv convolution _scaled_dot_product_attention".split())
GATHERS = frozenset(
    (
        "gather index index_select scatter scatter_add index_put embedding "
        "embedding_dense_backward select slice slice_scatter select_scatter "
        "split split_with_sizes cat "
        "take "
        "_unsafe_index "
        "_unsafe_index_put"
    ).split()
)
SORTS = frozenset("sort topk kthvalue median mode searchsorted unique".split())
SCANS = frozenset("cumsum cumprod logcumsumexp cummax cummin associative_scan".split())


def op_name(node: fx.Node) -> str:
    """`aten.add.Tensor` -> `add`; a Python function's own name for the rest."""
    packet = getattr(node.target, "_opname", None) or getattr(node.target, "overloadpacket", None)
    if packet is not None:
        return str(getattr(packet, "__name__", packet)).split(".")[-1]
    return str(getattr(node.target, "__name__", node.target))


def describe(node: fx.Node) -> str:
    """How messages name a node: its name in the graph and its ATen operation."""
    return f"{node.name} = {node.target}"


def is_tensor(node: fx.Node) -> bool:
    return hasattr(node.meta.get("val"), "dtype")


def table_category(name: str) -> str | None:
    """The category of an operation known by name alone; None for reductions and for what isn't
    known.
    """
    tables = {
        "pointwise": POINTWISE | CONSTANTS | CASTS,
        "broadcast": VIEWS,
        "matmul": MATMULS,
        "gather": GATHERS,
        "sort": SORTS,
        "scan": SCANS,
    }
    return next((category for category, names in tables.items() if name in names), None)


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument given by position or by keyword."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
