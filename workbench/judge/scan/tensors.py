"""What an op may do with a tensor outside a kernel: describe, view, allocate, copy and cast it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

# Answer with plain data: a shape, a number, a dtype.
DESCRIBES = frozenset(
    """shape dtype device ndim dim size stride numel nelement element_size itemsize nbytes layout
    is_contiguous is_cuda is_cpu is_meta is_floating_point is_complex is_signed is_inference
    is_sparse is_nested is_quantized is_conj is_neg is_same_size is_pinned is_xpu
    requires_grad storage_offset get_device dim_order ndimension name names index values""".split()
)
# Give another view of the same memory.
VIEWS = frozenset(
    """view view_as reshape reshape_as flatten ravel unflatten expand expand_as broadcast_to permute
    transpose t swapaxes swapdims movedim moveaxis squeeze unsqueeze narrow select as_strided
    diagonal unfold detach adjoint squeeze_ unsqueeze_ transpose_ t_ detach_ requires_grad_ T mT
    """.split()
)
SPLITS = frozenset("split chunk unbind tensor_split split_with_sizes".split())
# Allocate, copy or cast.
MOVES = frozenset(
    """contiguous clone to float half bfloat16 double type type_as copy_ zero_ fill_ new_empty
    new_zeros new_ones new_full new_tensor new_empty_strided int long short bool cuda""".split()
)
# Names of `torch.` that give tensors an op may make.
MAKERS = frozenset(
    """empty empty_like empty_strided zeros zeros_like ones ones_like full full_like tensor
    as_tensor scalar_tensor broadcast_to clone""".split()
)
# Attributes that only a tensor has: a value with one of them is taken for a tensor.
TELLING = frozenset(
    """contiguous stride data_ptr is_contiguous new_empty new_zeros new_full element_size
    storage_offset is_cuda view_as expand_as requires_grad""".split()
)
WRITES = frozenset("copy_ zero_ fill_".split())

_READS = frozenset(
    """item tolist cpu numpy any all equal allclose is_nonzero nonzero argwhere count_nonzero
    is_set_to hash_tensor""".split()
)
_ADDRESSES = frozenset(
    """data_ptr const_data_ptr untyped_storage storage _typed_storage _version _cdata _base
    _use_count set_ resize_ share_memory_ pin_memory record_stream""".split()
)
_AUTOGRAD = frozenset(
    """data grad grad_fn backward register_hook register_post_accumulate_grad_hook retain_grad
    retains_grad _grad _grad_fn _backward_hooks _post_accumulate_grad_hooks volatile
    output_nr is_leaf""".split()
)
_RANDOM = frozenset(
    """uniform_ normal_ random_ bernoulli bernoulli_ exponential_ geometric_ cauchy_ log_normal_
    multinomial _philox_normal_ _philox_uniform_""".split()
)
_SERVED = DESCRIBES | VIEWS | SPLITS | MOVES


@dataclass(frozen=True)
class Refusal:
    """The rule an attribute of a tensor breaks, and why it may not be used."""

    rule: str
    why: str


def tensor_reason(attribute: str) -> Refusal | None:
    """Why an op may not use this attribute of a tensor; None if it may, or if tensors lack it."""
    if attribute in _SERVED or attribute not in _attributes():
        return None
    if attribute in _READS:
        return Refusal(
            "value-read",
            "reads the tensor's values on the host, which waits for the GPU and lets results hang "
            "on values; decide by shape, dtype and device only",
        )
    if attribute in _ADDRESSES:
        return Refusal(
            "address",
            "tells or changes where a tensor lies, by which results can be kept; use the shape, "
            "dtype and device, or data_ptr() % 16 for the alignment",
        )
    if attribute in _AUTOGRAD:
        return Refusal(
            "autograd",
            "goes around autograd; use op.autograd or torch.autograd.Function, and x.detach()",
        )
    if attribute in _RANDOM:
        return Refusal(
            "torch-compute", "is randomness, and an op must repeat bit for bit; leave it out"
        )
    return Refusal(
        "torch-compute",
        "computes with PyTorch, outside a Triton kernel; compute it in a @triton.jit kernel",
    )


@cache
def _attributes() -> frozenset[str]:
    """What a tensor has."""
    import torch  # takes long, and who only reads verdicts scans nothing

    return frozenset(name for name in dir(torch.Tensor) if not name.startswith("__"))
