"""The fused loss in models of transformers: nothing but the logits' memory tells it from theirs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tiny_models import VOCABULARY, batch, build, difference, step
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from workbench_kernels.patching.lazy import LazyLogits
from workbench_kernels.patching.loss import accuracy_of, head_of, install, prove

# Plain; softcap; logits divided, multiplied; bias of the head; tied, shifted by itself; experts and
# their loss; explicit CrossEntropyLoss; bias after the head.
KINDS = "llama gemma2 granite cohere phi gpt2 qwen3_moe bert bart".split()


@cache
def _built(kind: str) -> nn.Module:
    return build(kind, {})


@pytest.fixture
def llama() -> nn.Module:
    return copy.deepcopy(_built("llama"))


def _patched(model: nn.Module, **options: Any) -> tuple[nn.Module, nn.Module]:
    """A copy with the fused loss, and its head."""
    patched = copy.deepcopy(model)
    found = head_of(patched)
    assert not isinstance(found, str), found
    install(patched, found[1], **options)
    return patched, found[1]


def _is_fused(output: Any) -> bool:
    logits = output.logits
    return isinstance(logits, LazyLogits) and logits.deferred.fused and logits.deferred.pending()


def _assert_same(model: nn.Module, **inputs: Any) -> Any:
    """That a step is the same, and fused; the output."""
    patched, _ = _patched(model)
    theirs, ours = step(model, **inputs), step(patched, **inputs)
    assert _is_fused(ours[0])
    assert not difference(theirs, ours)
    return ours[0]


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_the_same(kind: str) -> None:
    _assert_same(copy.deepcopy(_built(kind)))


@pytest.mark.parametrize("items", [7, 7.0, torch.tensor(7)], ids=str)
def test_items_in_batch(llama: nn.Module, items: Any) -> None:
    _assert_same(llama, num_items_in_batch=items)


def test_items_in_batch_leave_no_gradient_to_multiply(llama: nn.Module) -> None:
    """The fused loss is the last thing that is computed: its gradients are ready."""
    patched, _ = _patched(llama)
    output = patched(**batch(), num_items_in_batch=7)
    assert "linear_cross_entropy" in output.loss.grad_fn.name()


def test_labels_shifted_already(llama: nn.Module) -> None:
    shifted = F.pad(batch()["labels"], (0, 1), value=-100)[..., 1:].contiguous()
    output = _assert_same(llama, shift_labels=shifted)
    assert output.loss == _assert_same(llama).loss


def test_logits_of_the_last_tokens(llama: nn.Module) -> None:
    inputs = {**batch(), "labels": batch()["labels"][:, -5:], "logits_to_keep": 5}
    assert _assert_same(llama, **inputs).logits.shape == (2, 5, VOCABULARY)


def test_all_labels_ignored(llama: nn.Module) -> None:
    labels = torch.full_like(batch()["labels"], -100)
    patched, _ = _patched(llama)
    assert (
        step(patched, labels=labels)[0].loss.isnan() and step(llama, labels=labels)[0].loss.isnan()
    )
    loss, gradients = step(patched, labels=labels, num_items_in_batch=3)
    assert loss.loss == 0 and not any(g.any() for g in gradients.values())


def test_evaluation_and_generation_have_real_logits(llama: nn.Module) -> None:
    patched, _ = _patched(llama)
    with torch.no_grad():
        assert type(patched(**batch()).logits) is Tensor
    expected, found = llama.eval()(**batch()), patched.eval()(**batch())
    assert type(found.logits) is Tensor
    assert torch.equal(found.logits, expected.logits) and found.loss == expected.loss
    options = {"max_new_tokens": 4, "do_sample": False}
    tokens = batch()["input_ids"]
    assert torch.equal(patched.generate(tokens, **options), llama.generate(tokens, **options))


def test_logits_can_be_had_after_the_step(llama: nn.Module) -> None:
    patched, _ = _patched(llama)
    expected, found = step(llama)[0].logits, step(patched)[0].logits
    assert found.shape == expected.shape and torch.equal(found.argmax(-1), expected.argmax(-1))
    assert torch.equal(found.detach(), expected.detach())


def test_logits_without_labels_are_the_users(llama: nn.Module) -> None:
    """Who computes the loss from them gets a fused one too."""
    patched, _ = _patched(llama)
    inputs, labels = batch()["input_ids"], batch()["labels"]
    losses = []
    for model in (llama, patched):
        logits = model(input_ids=inputs).logits
        losses.append(F.cross_entropy(logits.view(-1, VOCABULARY), labels.view(-1)))
    assert logits.deferred.fused and logits.deferred.pending()
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_undone_exactly(llama: nn.Module) -> None:
    _, head = head_of(llama)
    before = {name: dict(vars(m)) for name, m in llama.named_modules()}
    undo = install(llama, head)
    assert {name: dict(vars(m)) for name, m in llama.named_modules()} != before
    undo()
    assert {name: dict(vars(m)) for name, m in llama.named_modules()} == before
    assert type(step(llama)[0].logits) is Tensor


def test_a_loss_function_of_the_user_stays(llama: nn.Module) -> None:
    def loss(logits: Tensor, labels: Tensor, vocab_size: int, **_: Any) -> Tensor:
        return 2.0 * F.cross_entropy(logits.view(-1, vocab_size), labels.view(-1))

    llama.loss_function = loss
    patched, _ = _patched(llama)
    assert patched.loss_function is loss
    _assert_same(llama)


def _only(model: nn.Module, wanted: Callable[[str], bool]) -> nn.Module:
    for name, p in model.named_parameters():
        p.requires_grad_(wanted(name))
    return model


@pytest.mark.parametrize("wanted", [True, False], ids=["head only", "body only"])
def test_frozen_parts(llama: nn.Module, wanted: bool) -> None:
    _assert_same(_only(llama, lambda name: (name == "lm_head.weight") == wanted))


def test_tied_weights_get_both_gradients() -> None:
    model = copy.deepcopy(_built("gpt2"))
    assert model.lm_head.weight is model.transformer.wte.weight
    _assert_same(model)


def test_accumulated_steps(llama: nn.Module) -> None:
    patched, _ = _patched(llama)
    for model in (llama, patched):
        model(**batch()).loss.backward()
        (0.5 * model(**batch()).loss).backward()
    for p, q in zip(llama.parameters(), patched.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-7)


def test_checkpointed_layers(llama: nn.Module) -> None:
    llama.gradient_checkpointing_enable({"use_reentrant": False})
    _assert_same(llama, use_cache=False)


def test_autocast(llama: nn.Module) -> None:
    """Not the same: theirs rounds the logits to bfloat16, to 3 digits."""
    patched, _ = _patched(llama)
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = llama(**batch()), patched(**batch())
    assert ours.logits.dtype is torch.bfloat16 and ours.loss.dtype is torch.float32
    assert _is_fused(ours)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-3, atol=0)
    ours.loss.backward()
    assert all(p.grad is not None and p.grad.dtype is p.dtype for p in patched.parameters())


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "pickle"],
)
def test_a_patched_model_s_copy_is_patched(llama: nn.Module, copied: Any) -> None:
    patched, _ = _patched(llama)
    twin = copied(patched)
    patched.lm_head.weight.data.zero_()
    ours = step(twin)
    assert _is_fused(ours[0]) and not difference(step(llama), ours)


def test_token_accuracy(llama: nn.Module) -> None:
    patched, head = _patched(llama, token_accuracy=True)
    assert accuracy_of(head) is None
    output, labels = step(patched)[0], batch()["labels"][:, 1:]
    right = (output.logits[:, :-1].argmax(-1) == labels)[labels != -100]
    assert accuracy_of(head) == right.float().mean()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(("kind", "fused"), [("llama", True), ("gemma2", True), ("bart", False)])
def test_compiled_in_one_graph(kind: str, fused: bool) -> None:
    model = copy.deepcopy(_built(kind))
    patched, _ = _patched(model)
    compiled = torch.compile(patched, backend="aot_eager", fullgraph=True)
    theirs, ours = step(model, use_cache=False), step(compiled, use_cache=False)
    assert _is_fused(ours[0]) == fused  # Bart makes a CrossEntropyLoss
    ours_by_name = {n.removeprefix("_orig_mod."): g for n, g in ours[1].items()}
    assert not difference(theirs, (ours[0], ours_by_name))
    torch.testing.assert_close(ours[0].logits.detach(), theirs[0].logits.detach())


class Broken(nn.Module):
    """A model whose graph a compiler breaks between head and loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 11)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        logits = self.head(self.body(x))
        torch._dynamo.graph_break()
        return F.cross_entropy((2.0 * logits).float(), target)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_in_two_graphs() -> None:
    torch.manual_seed(0)
    model, x, target = Broken(), torch.randn(6, 8), torch.arange(6)
    expected = model(x, target)
    expected.backward()
    wanted = [p.grad for p in model.parameters()]
    install(model, model.head)
    model.zero_grad()
    loss = torch.compile(model, backend="aot_eager")(x, target)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close([p.grad for p in model.parameters()], wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_loss_of_lazy_logits() -> None:
    torch.manual_seed(0)
    model, x, target = Broken(), torch.randn(6, 8), torch.arange(6)
    install(model, model.head)
    expected = F.cross_entropy(F.linear(x, model.head.weight, model.head.bias) / 3.0, target)
    compiled = torch.compile(lambda u: F.cross_entropy(u / 3.0, target), backend="aot_eager")
    loss = compiled(model.head(x))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    wanted = torch.autograd.grad(expected, model.head.weight)
    torch.testing.assert_close(torch.autograd.grad(loss, model.head.weight), wanted)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """Of this process alone."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def _whole(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the names they have without a wrapper, and gathered."""
    return {
        name.removeprefix("module."): g.full_tensor() if isinstance(g, DTensor) else g
        for name, g in gradients.items()
    }


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("head_alone", [False, True])
def test_sharded_by_fsdp(llama: nn.Module, head_alone: bool) -> None:
    """A head that is sharded for itself takes its weights away after its forward: real logits."""
    patched, head = _patched(llama)
    for part in [*patched.model.layers, *([head] if head_alone else []), patched]:
        fully_shard(part)
    output, gradients = step(patched)
    assert _is_fused(output) != head_alone
    assert not difference(step(llama), (output, _whole(gradients)))


@pytest.mark.usefixtures("process_group")
def test_replicated_by_ddp(llama: nn.Module) -> None:
    patched, _ = _patched(llama)
    output, gradients = step(DistributedDataParallel(patched))
    assert _is_fused(output) and not difference(step(llama), (output, _whole(gradients)))


class LoraLinear(nn.Module):
    """As peft wraps a layer: in its place is a module that calls it, and adds to what it gives."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, 4, bias=False)
        self.lora_B = nn.Linear(4, base_layer.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = self.base_layer(x, *args, **kwargs)
        return result + self.lora_B(self.lora_A(x)) * 2.0


@pytest.mark.parametrize("patched_first", [True, False])
def test_an_adapter_on_the_head_is_not_lost(llama: nn.Module, patched_first: bool) -> None:
    adapted = copy.deepcopy(llama)
    torch.manual_seed(0)
    adapted.lm_head = LoraLinear(adapted.lm_head)
    patched = copy.deepcopy(adapted)
    base = patched.lm_head.base_layer
    if patched_first:
        install(patched, base)
    else:
        assert head_of(patched) == "its head is test_loss.LoraLinear, not nn.Linear"
    theirs, ours = step(adapted), step(patched)
    assert not difference(theirs, ours) and "lm_head.lora_B.weight" in ours[1]


class SavedCopy(nn.Module):
    """As peft trains a whole layer: a copy of it, in a dict by the adapter's name."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original_module = original.requires_grad_(False)
        self.modules_to_save = nn.ModuleDict({"default": copy.deepcopy(original)})
        self.modules_to_save.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.modules_to_save["default"](x)
        return result


class Wrapping(nn.Module):
    """A module around a model, as peft's."""

    def __init__(self, base_model: nn.Module) -> None:
        super().__init__()
        self.base_model = base_model

    def forward(self, **inputs: Any) -> Any:
        return self.base_model(**inputs)

    def get_output_embeddings(self) -> Any:
        return self.base_model.get_output_embeddings()


def test_the_trained_copy_of_a_head_in_a_wrapped_model(llama: nn.Module) -> None:
    llama.lm_head = SavedCopy(llama.lm_head)
    wrapped = Wrapping(copy.deepcopy(llama))
    name, head = head_of(wrapped)
    assert name == "base_model.lm_head.modules_to_save.default"
    before = dict(vars(wrapped.base_model))
    undo = install(wrapped, head)
    output, gradients = step(wrapped, num_items_in_batch=7)
    ours = output, {n.removeprefix("base_model."): g for n, g in gradients.items()}
    assert _is_fused(output) and not difference(step(llama, num_items_in_batch=7), ours)
    assert "linear_cross_entropy" in output.loss.grad_fn.name()
    undo()
    assert vars(wrapped.base_model) == before


class Quantised(nn.Linear):
    """A linear layer that computes in its own way."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.round(decimals=1), self.bias)


def test_a_head_that_computes_in_another_way_is_left_alone(llama: nn.Module) -> None:
    llama.lm_head = Quantised(32, VOCABULARY)
    assert head_of(llama) == "its head is test_loss.Quantised, not nn.Linear"


def test_a_head_with_hooks_gives_them_real_logits(llama: nn.Module) -> None:
    patched, head = _patched(llama)
    seen: list[Any] = []
    head.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    ours = step(patched)
    assert type(seen[0]) is Tensor and not difference(step(llama), ours)
    llama.lm_head.register_forward_hook(lambda *_: None)  # type: ignore[operator, union-attr]
    assert "the head has hooks" in head_of(llama)


def test_a_model_that_is_no_transformers_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = type("Config", (), {"vocab_size": 11})()
            self.body, self.out = nn.Embedding(11, 8), nn.Linear(8, 11)

        def forward(self, tokens: Tensor) -> Tensor:
            return F.cross_entropy(self.out(self.body(tokens)), tokens)

    model = Model()
    found = head_of(model)
    assert found == ("out", model.out)
    tokens = torch.arange(9)
    expected = model(tokens)
    install(model, model.out, token_accuracy=True)
    torch.testing.assert_close(model(tokens), expected, rtol=1e-6, atol=0)
    assert accuracy_of(model.out) is not None
    model.extra = nn.Linear(8, 11)
    assert head_of(model) == "2 of its linear layers have 11 outputs, as its vocabulary"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["llama", "phi", "bart"])
def test_proved_as_exact_as_pytorch(kind: str, dtype: torch.dtype) -> None:
    model = copy.deepcopy(_built(kind)).to(dtype)
    before = torch.get_rng_state()
    ratio = prove(model, head_of(model)[1])
    assert isinstance(ratio, float) and 0 < ratio <= 2.0
    assert torch.equal(torch.get_rng_state(), before)


def test_not_proved_in_a_dtype_that_is_not_served(llama: nn.Module) -> None:
    assert prove(llama.double(), llama.lm_head).endswith("isn't served, or of two")
