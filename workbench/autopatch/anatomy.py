"""What one has to know of a model to patch it: twelve decisions, none of them taken from a name of
the model, each from its structure or from what its modules do to numbers.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from workbench.autopatch import Anatomy, Part, Unseen
from workbench.models import tiny
from workbench_kernels.patching.hinted import HintedNorms
from workbench_kernels.patching.loss import head_of
from workbench_kernels.patching.recipe import class_name
from workbench_kernels.patching.report import Entry, Report, alike_paths

# An epsilon is as small as this.
_SMALL = 1e-2
# Logits as large as this show what caps them.
_LARGE = 100.0


def anatomy(
    kind: str, model: nn.Module, report: Report, hints: Mapping[str, Mapping[str, str | float]]
) -> Anatomy:
    """What is in a model that was patched with this report, and with hints for some classes."""
    parts = tuple(_parts(model, report.entries, hints))
    return Anatomy(
        type=kind,
        model=class_name(model),
        versions={name: version(name) for name in ("transformers", "torch", "triton")},
        decisions=dict(_decisions(model, parts)),
        parts=parts,
        unseen=tuple(unseen(model, report)),
        sources=dict(_sources(model)),
    )


def _parts(
    model: nn.Module,
    entries: Sequence[Entry],
    hints: Mapping[str, Mapping[str, str | float]],
) -> Iterator[Part]:
    """Modules that fare alike, in one."""
    alike = defaultdict[tuple[Any, ...], list[Entry]](list)
    for entry in entries:
        verdict = entry.verdict
        name = class_name(model.get_submodule(entry.path))
        alike[name, entry.kind, verdict.kernel, verdict.mode, verdict.reason].append(entry)
    for (name, kind, kernel, mode, reason), group in alike.items():
        same = [e.verdict.same for e in group if e.verdict.same is not None]
        yield Part(
            name=name,
            kind=kind,
            count=len(group),
            paths=tuple(alike_paths(entry.path for entry in group)),
            kernel="" if reason else kernel,
            mode=mode,
            ratio=max(entry.verdict.ratio for entry in group),
            same=min(same, default=None),
            reason=reason,
            hint=hints.get(name, {}) if kind == HintedNorms.kind else {},
        )


def _decisions(model: nn.Module, parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
    """The twelve."""
    config: Any = getattr(model, "config", None)
    norms = [part for part in parts if part.kind == "norm"]
    shown = _shown(model)
    yield "norm", _by_class(norms, lambda part: part.kernel or "none of the library's")
    yield "casting", _by_class(norms, lambda part: part.mode or "not known")
    yield "offset", _by_class(norms, lambda part: "1" if "weight + 1" in part.mode else "0")
    yield "in place", in_place(model, parts)
    yield "activation", _by_class([p for p in parts if p.kind in ("mlp", "experts")], _fate)
    experts = sum(part.count for part in parts if part.kind == "experts")
    yield "experts", f"in {experts} layers" if experts else "none: dense"
    yield "vision", ", ".join(_others(config)) or "none: text alone"
    yield "rotary", _by_class([part for part in parts if part.kind == "rope"], _fate)
    yield "output", shown["output"]
    yield "head", _head(model)
    yield "between head and loss", shown["between"]
    yield (
        "names of norms",
        ", ".join(sorted({p.rpartition(".")[2] for n in norms for p in n.paths})),
    )


def _fate(part: Part) -> str:
    return part.mode or part.reason


def _by_class(parts: Sequence[Part], what: Any) -> str:
    """What holds for which class; said once where it holds for all."""
    said: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        said[what(part)].append(part.short)
    if not said:
        return "none"
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{', '.join(dict.fromkeys(names))}: {words}" for words, names in said.items())


def _others(config: Any) -> list[str]:
    """The parts of a model for more than text."""
    names = getattr(config, "sub_configs", None) or ()
    return [n for n in names if "text" not in n and getattr(config, n, None) is not None]


def in_place(model: nn.Module, parts: Sequence[Part]) -> str:
    """The modules of those found that write to what they are given, seen in a step."""
    found, versions = set[str](), dict[nn.Module, list[tuple[Tensor, int]]]()
    known = {part.name for part in parts}

    def before(module: nn.Module, given: tuple[Any, ...]) -> None:
        versions[module] = [(t, t._version) for t in given if isinstance(t, Tensor)]

    def after(module: nn.Module, given: Any, got: Any) -> None:
        if any(t._version != seen for t, seen in versions.pop(module, ())):
            found.add(type(module).__name__)

    hooks = []
    for module in model.modules():
        if class_name(module) in known:
            hooks += [module.register_forward_pre_hook(before)]
            hooks += [module.register_forward_hook(after)]
    try:
        with torch.no_grad():
            model(**tiny.batch(next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return ", ".join(sorted(found)) or "no module writes to what it is given"


def _shown(model: nn.Module) -> dict[str, str]:
    """What the model gives, and what it makes of its head's logits."""
    heads: list[Tensor] = []

    def large(module: nn.Module, given: Any, got: Tensor) -> Tensor:
        heads.append(got * (_LARGE / got.abs().max()))
        return heads[-1]

    found = head_of(model)
    hook = None if isinstance(found, str) else found[1].register_forward_hook(large)
    model.eval()
    try:
        with torch.no_grad():
            given = {"input_ids": tiny.batch(next(model.parameters()).device)["input_ids"]}
            output = model(**given)
    finally:
        model.train()
        if hook is not None:
            hook.remove()
    fields = ", ".join(output.keys()) if hasattr(output, "keys") else "no fields"
    logits = getattr(output, "logits", None)
    between = "its head is not known" if not heads or logits is None else _made(heads[-1], logits)
    return {"output": f"{type(output).__name__}: {fields}", "between": between}


def _made(given: Tensor, got: Tensor) -> str:
    """What became of logits, by their numbers."""
    if given.shape != got.shape:
        return f"shape {tuple(given.shape)} becomes {tuple(got.shape)}"
    x, y = given.double(), got.double()
    if torch.equal(x, y):
        return "nothing"
    scale = float((x * y).sum() / (x * x).sum())
    if torch.allclose(y, scale * x, rtol=1e-4, atol=1e-6):
        return f"times {scale:.4g}"
    rises = bool((y.flatten()[x.flatten().argsort()].diff() >= 0).all())
    if rises and y.abs().max() < x.abs().max():
        return f"a soft cap: {_LARGE:g} becomes {float(y.abs().max()):.4g}"
    return "something else"


def _head(model: nn.Module) -> str:
    found = head_of(model)
    if isinstance(found, str):
        return found
    name, head = found
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    facts = [name]
    if embedding is not None and getattr(embedding, "weight", None) is head.weight:
        facts.append("tied to the embedding")
    if getattr(head, "bias", None) is not None:
        facts.append("with a bias")
    if "logits_to_keep" in inspect.signature(type(model).forward).parameters:
        facts.append("of the last logits_to_keep hidden states")
    return ", ".join(facts)


def unseen(model: nn.Module, report: Report) -> Iterator[Unseen]:
    """Classes no rule found, by their name, or by what they have: parameters of one dimension and
    nothing else.
    """
    found = {entry.path for entry in report.entries}
    classes: dict[str, list[nn.Module]] = defaultdict(list)
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        flat = bool(own) and all(p.dim() == 1 and p.numel() > 1 for p in own.values())
        leaf = not any(True for _ in module.children())
        if leaf and path not in found and (flat or _is_norm(module)):
            classes[class_name(module)].append(module)
    for name, modules in classes.items():
        own = dict(modules[0].named_parameters(recurse=False))
        if any(p.dim() != 1 for p in own.values()):
            continue  # an embedding that is called normed
        yield Unseen(
            name=name,
            count=len(modules),
            looks="a norm by its name" if _is_norm(modules[0]) else "a norm by its parameters",
            eps=tuple(dict.fromkeys(_small_numbers(type(modules[0])))),
            parameters=tuple(own),
        )


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _small_numbers(kind: type[nn.Module]) -> Iterator[float]:
    """The numbers in the code of a class that may be an epsilon."""
    codes: list[CodeType] = [f.__code__ for f in vars(kind).values() if inspect.isfunction(f)]
    for code in codes:
        yield from (c for c in code.co_consts if isinstance(c, float) and 0 < c <= _SMALL)


def _sources(model: nn.Module) -> Iterator[tuple[str, str]]:
    """The hash of the code of each class in the model that is not PyTorch's."""
    classes = {class_name(module): type(module) for module in model.modules()}
    for name in sorted(name for name in classes if not name.startswith("torch.")):
        text = "".join(inspect.getsource(classes[name]).split())
        yield name, hashlib.sha256(text.encode()).hexdigest()
