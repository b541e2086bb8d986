"""What was proven before: verdicts by the hash of all that they depend on.

A module's verdict depends on the code of its methods and of what they call in their file, the
numbers it keeps, the shapes and dtype of its parameters, its children's classes, where it runs, and
on this library. Any of that another, it is proven anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
import triton
from torch import Tensor, nn

from workbench_kernels.launch import interpreted
from workbench_kernels.patching.rule import Rule, Verdict, where

_PLAIN = (bool, int, float, str, type(None))


class Verdicts:
    """Verdicts in memory, and in a file if there is one. A file that can't be read is not there."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        self._changed = False
        if path is not None:
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                self._known = {}

    @classmethod
    def of_the_user(cls) -> Verdicts:
        """Those in the user's cache."""
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(home) / "workbench_kernels" / "verdicts.json")

    def find(self, rule: Rule, module: nn.Module) -> Verdict:
        """What was proven of a module like this one, or is now. What a proof raises is a reason."""
        told = getattr(rule, "told", None)  # by a recipe, beside what the module shows
        key = key_of(rule.kind, module, "" if told is None else told(module))
        if key not in self._known:
            try:
                with _plainly():
                    verdict = rule.prove(module)
            except Exception as error:  # it runs a model's own code
                verdict = Verdict(reason=f"{type(error).__name__}: {error}")
            self._known[key] = asdict(verdict)
            self._changed = True
        return Verdict(**self._known[key])

    def save(self) -> None:
        """Write what is new; where that is not allowed, it is proven again next time."""
        if self._path is None or not self._changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            new.write_text(json.dumps(self._known, indent=1, sort_keys=True), encoding="utf-8")
            new.replace(self._path)
        except OSError:
            pass
        self._changed = False


@contextmanager
def _plainly() -> Iterator[None]:
    """As if nobody had said how to compute: a model that is patched when it is first called may be
    called without gradients, under autocast, or where a checkpoint counts what is saved.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cuda", enabled=False),
        torch.autocast("cpu", enabled=False),
        torch.autograd.graph.saved_tensors_hooks(_itself, _itself),
    ):
        yield


def _itself(t: Tensor) -> Tensor:
    return t


def key_of(kind: str, module: nn.Module, told: str = "") -> str:
    """A hash of all that a verdict on the module depends on."""
    digest = hashlib.sha256()
    for part in (kind, told, _library(), _place(module), *_described(module)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _described(module: nn.Module, depth: int = 0) -> Iterator[str]:
    """The module in words: code, numbers, parameters, children; not the values of tensors."""
    yield f"{type(module).__module__}.{type(module).__qualname__}"
    yield from _methods(type(module))
    for name, value in sorted(vars(module).items()):
        if name == "training":
            continue
        if isinstance(value, _PLAIN) or (isinstance(value, tuple | list) and depth == 0):
            yield f"{name}={value!r}"
        elif hasattr(value, "to_dict"):
            # What of it is not saved decides, too, how experts are called.
            yield f"{name}={value.to_dict()!r} {getattr(value, '_experts_implementation', None)}"
        elif isinstance(value, FunctionType):
            yield from _code(value, set())
    for name, parameter in module.named_parameters(recurse=False):
        yield f"{name} {tuple(parameter.shape)} {parameter.dtype}"
    for name, buffer in module.named_buffers(recurse=False):
        yield f"{name} {tuple(buffer.shape)} {buffer.dtype}"
    for name, child in module.named_children():
        yield name
        yield from _described(child, depth + 1)


def _methods(kind: type[nn.Module]) -> Iterator[str]:
    """The code of a class, without that of all modules."""
    seen: set[CodeType] = set()
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        for name, value in sorted(vars(base).items()):
            if isinstance(function := getattr(value, "__func__", value), FunctionType):
                yield name
                yield from _code(function, seen)


def code_of(function: Any) -> str:
    """A digest of what a function does: its bytecode, what it is by default, and that of what it
    names.
    """
    return hashlib.sha256("\0".join(_code(function, set())).encode()).hexdigest()


def _code(function: Any, seen: set[CodeType]) -> Iterator[str]:
    """A function's bytecode, with its decorators', and of the globals it names the numbers, and the
    functions but for PyTorch's.
    """
    if isinstance(function, nn.Module):  # the kernels library makes one of a function
        function = type(function).forward
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        yield repr(getattr(function, "__qualname__", type(function)))
        return
    seen.add(code)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    yield repr([d if isinstance(d, (*_PLAIN, tuple)) else type(d) for d in defaults])
    for part in _nested(code):
        yield part.co_code.hex()
        yield repr([c for c in part.co_consts if not isinstance(c, CodeType)])
        yield repr(part.co_names)
    known = function.__globals__
    named = [known.get(name) for part in _nested(code) for name in part.co_names]
    for value in [*named, *inspect.getclosurevars(function).nonlocals.values()]:
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif _is_code(value):
            yield from _code(value, seen)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)


def _is_code(value: object) -> bool:
    if isinstance(value, nn.Module):
        return not any(True for _ in value.parameters())
    return isinstance(value, FunctionType) and not value.__module__.startswith("torch.")


def _place(module: nn.Module) -> str:
    devices = {p.device for p in module.parameters()} or {where(module)}
    names = sorted(torch.cuda.get_device_name(d) if d.type == "cuda" else d.type for d in devices)
    return (
        f"{names} interpreted={interpreted()} torch={torch.__version__} triton={triton.__version__}"
    )


@cache
def _library() -> str:
    """A digest of this library's files."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
