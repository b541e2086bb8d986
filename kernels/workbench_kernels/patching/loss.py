"""The fused loss in any model whose logits come of an `nn.Linear`, without a word about its class.

The head's forward, of this one module, gives lazy logits in training (`lazy.py`); the model's own
forward scales, caps, slices and shifts them, and what it computes of them in the end, a cross-
entropy, is fused. Evaluation and generation get real logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from workbench_kernels.patching.causal import causal_loss, is_causal
from workbench_kernels.patching.lazy import Meter
from workbench_kernels.patching.lazy_head import HOOKED, LazyHead
from workbench_kernels.patching.loss_proof import prove
from workbench_kernels.patching.rule import Undo, Verdict

__all__ = ["FusedLoss", "accuracy_of", "head_of", "install", "prove"]


class FusedLoss:
    """The head of a language model, whose logits are not computed where only their loss is."""

    kind = "loss"

    def __init__(self) -> None:
        # A model holds its head; held by it in turn, neither would ever be freed.
        self._models: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """The head; the model itself where it should have one and there is none to serve."""
        found = head_of(model)
        if not isinstance(found, str):
            name, head = found
            self._models[head] = ref(_with_loss(model))
            yield name, head
        elif any(map(_computes_a_loss, model.modules())):
            yield "", model

    def prove(self, module: nn.Module) -> Verdict:
        """The loss and its gradients, of a head like this one."""
        if module not in self._models:
            return Verdict(reason=str(head_of(module)))
        found = prove(self._model_of(module), module)
        if isinstance(found, str):
            return Verdict(reason=found)
        return Verdict("linear_cross_entropy", "from lazy logits", {}, found)

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """It gives lazy logits in training, and the model's loss takes them."""
        return install(self._model_of(module), module)

    def _model_of(self, head: nn.Module) -> nn.Module:
        model = self._models[head]()
        assert model is not None  # it is being patched
        return model


def head_of(model: nn.Module) -> tuple[str, nn.Module] | str:
    """The name and the module of the linear layer that gives the logits, or why there is none."""
    names = {id(module): name for name, module in model.named_modules()}
    told = model if hasattr(model, "config") else _with_loss(model)  # DDP hides its attributes
    get = getattr(told, "get_output_embeddings", None)
    head = get() if callable(get) else None
    if id(head) not in names:
        found = _as_wide_as_vocabulary(told)
        if isinstance(found, str):
            return found
        head = found
    head = _trained(head)
    if not isinstance(head, nn.Linear) or type(head).forward is not nn.Linear.forward:
        return f"its head is {type(head).__module__}.{type(head).__name__}, not nn.Linear"
    if "forward" in vars(head):
        return "its head's forward is replaced already"
    if head._forward_hooks or head._forward_pre_hooks:
        return HOOKED
    if _is_replaced(_with_loss(model)):
        return "the model's forward was replaced by one that may not call its head"
    return names[id(head)], head


def _computes_a_loss(module: nn.Module) -> bool:
    """Whether it is a model of transformers with a head: all of them have a loss's function."""
    known = hasattr(type(module), "loss_function")
    return known and "labels" in inspect.signature(type(module).forward).parameters


def _is_replaced(model: nn.Module) -> bool:
    """Whether the instance's forward is another's, and nothing that is around its class's."""
    own, forward = type(model).forward, vars(model).get("forward")
    return forward is not None and inspect.unwrap(forward) is not inspect.unwrap(own)


def _trained(head: Any) -> Any:
    """The copy of a head that is trained in its place, where peft keeps one (`modules_to_save`)."""
    copies = getattr(head, "modules_to_save", None)
    return next(iter(copies.values())) if isinstance(copies, nn.ModuleDict) and copies else head


def _as_wide_as_vocabulary(model: nn.Module) -> nn.Module | str:
    """The one linear layer with an output for each token of the vocabulary."""
    config: Any = getattr(model, "config", None)
    text: Any = config.get_text_config() if hasattr(config, "get_text_config") else config
    classes = getattr(text, "vocab_size", None)
    if classes is None:
        return "its config says nothing of a vocabulary"
    found = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    if len(found) != 1:
        return f"{len(found)} of its linear layers have {classes} outputs, as its vocabulary"
    return found[0]


def install(
    model: nn.Module, head: nn.Module, *, token_accuracy: bool = False
) -> Callable[[], None]:
    """Have the losses of the model's logits fused. Returns what undoes it.

    token_accuracy: measure it with each fused loss, for `accuracy_of`.
    """
    assert isinstance(head, nn.Linear)
    owner = _with_loss(model)
    forward = LazyHead(head, Meter(token_accuracy), compiled=_loss_is_seen(owner))
    head.forward = forward  # type: ignore[method-assign]
    restore_loss = _install_loss(owner)

    def undo() -> None:
        if vars(head).get("forward") is forward:
            del head.forward
        restore_loss()

    return undo


def _with_loss(model: nn.Module) -> nn.Module:
    """The model of transformers that computes the loss: this one, or what wraps it says which."""
    of_theirs = (m for m in model.modules() if hasattr(type(m), "loss_function"))
    return next(of_theirs, model)


def _loss_is_seen(model: nn.Module) -> bool:
    """Whether a compiler that traces the model asks its lazy logits for their loss. It does not for
    a `CrossEntropyLoss` made in the forward, which Dynamo computes itself.
    """
    code = getattr(inspect.unwrap(type(model).forward), "__code__", None)
    names = set() if code is None else set(code.co_names)
    return "CrossEntropyLoss" not in names and bool(names & {"loss_function", "cross_entropy"})


def _install_loss(model: nn.Module) -> Callable[[], None]:
    """Replace the model's loss function if it is transformers' causal one, by the official setter.
    Returns what undoes it.
    """
    original = getattr(model, "loss_function", None)
    if original is None or not is_causal(original):
        return lambda: None
    attributes = vars(model)
    before = dict(attributes)
    ours = partial(causal_loss, original)
    model.loss_function = ours  # type: ignore[assignment]
    # Where the setter put it: the model may have had one of its own there.
    places = [name for name, value in attributes.items() if value is ours]

    def undo() -> None:
        for name in places:
            if attributes.get(name) is not ours:
                continue
            if name in before:
                attributes[name] = before[name]
            else:
                del attributes[name]

    return undo


def accuracy_of(head: nn.Module) -> Tensor | None:
    """The share of the targets kept that the logits were largest for, in the head's last fused
    loss; None if it wasn't asked for, or no loss was fused.
    """
    forward = vars(head).get("forward")
    return forward.meter.accuracy if isinstance(forward, LazyHead) else None
