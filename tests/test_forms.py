"""What `new` is given: a class of a package, a snippet, and what no run begins with."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from messages_api import MessagesAPI, call, turn
from runs_fixtures import APPROVER, library
from test_profile_gate import GOOD, OP, api, engine, here

from workbench import modules, proposal
from workbench.errors import BadReference, RunError, UsageError
from workbench.judge import jail
from workbench.runs import State, forms, gate, stages

__all__ = ["api", "library"]


# From a class


def test_a_plain_forward_needs_no_model(library: Path, api: MessagesAPI) -> None:
    target = "transformers:models.llama.modeling_llama.LlamaRMSNorm"
    asked = forms.request(OP, *forms.taken_from(target, OP), None, False, "draft", {})
    runs = engine(library)
    run = runs.start(asked)
    assert (run.state, api.requests) == (State.PROFILE, [])
    profile = gate.page(run, runs.store.folder_of(run.id)).profile
    assert [(t["name"], t["kind"]) for t in profile["inputs"]] == [
        ("hidden_states", "element"),
        ("weight", "column"),
    ]
    assert (profile["tier"], profile["parameters"]) == (2, {"variance_epsilon": 1e-6})
    assert runs.confirm(run.id, APPROVER).state is State.REVIEW


def test_any_other_forward_is_shown_to_a_model(library: Path, api: MessagesAPI) -> None:
    target = "transformers:activations.MishActivation"
    origin, commission = forms.taken_from(target, OP)
    assert commission.derived == ""
    with pytest.raises(UsageError, match="asks no model") as caught:
        forms.request(OP, origin, commission, None, False, "draft", {})
    assert "--author claude" in caught.value.hint
    api.script[:] = [turn(call("write", text=GOOD)), turn(call("submit"))]
    run = engine(library).start(forms.request(OP, origin, commission, None, False, "claude", {}))
    assert run.state is State.PROFILE
    assert "class MishActivation(nn.Module)" in json.dumps(api.requests[0]["messages"])


@pytest.mark.parametrize(
    ("source", "derives"),
    [
        ("def forward(self, x):\n        return torch.relu(x) * self.scale", True),
        ("def forward(self, x):\n        return self.act(x)", False),
        ("def forward(self, x):\n        self.scale = 2.0\n        return x * self.scale", False),
        ("def forward(self, x, *more):\n        return x * self.scale", False),
        ("def forward(self, x):\n        return helper(x) * self.scale", True),
        ("def forward(self, x):\n        return foreign.f(x) * self.scale", False),
        ("def forward(self, x):\n        return x * self.scale + len(vars(self))", False),
        ("def forward(self, x):\n        scale = 1\n        return x * self.scale + scale", False),
        ("def forward(self, x):\n        return x * self.switched", False),
        ("@compiled\n    def forward(self, x):\n        return x * self.scale", False),
    ],
)
def test_what_is_a_plain_function(tmp_path: Path, source: str, derives: bool) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import torch\nfrom torch import nn\nfrom . import foreign\n\n"
        "def helper(x):\n    return x + 1\n\n"
        "class Act(nn.Module):\n"
        "    def __init__(self, scale: float = 2.0, on=True):\n"
        "        super().__init__()\n        self.scale = scale\n        self.act = on\n"
        f"        self.switched = on\n\n    {source}\n"
    )
    tree = modules.ast.parse(file.read_text())
    node = next(n for n in tree.body if isinstance(n, modules.ast.ClassDef))
    found = modules.derive(modules.Module("pkg:module.Act", file, file.read_text(), node), OP)
    assert bool(found) is derives
    if derives:
        assert here(found, OP, "pkg:module.Act").profile.parameters == {"scale": 2.0}


# What can't begin


@pytest.mark.parametrize(
    ("forms_given", "says"),
    [
        ({"describe": "  "}, "the description is empty"),
        ({"describe": "x" * 20_001}, "20,001 characters"),
        ({"describe": "x", "reference": "a.py:f"}, "--reference and --describe each say"),
        ({"from_class": "transformers"}, "PACKAGE:MODULE.CLASS"),
        ({"from_class": "../x:y.z"}, "PACKAGE:MODULE.CLASS"),
        ({"from_class": "no_such_package:a.B"}, "no_such_package is not installed"),
        ({"from_class": "transformers:nowhere.B"}, "has no module nowhere"),
        ({"from_class": "transformers:activations.Nothing"}, "has no class Nothing"),
    ],
)
def test_what_no_run_begins_with(forms_given: dict[str, str], says: str) -> None:
    given: dict[str, Any] = {"reference": None, "describe": None, "from_class": None}
    with pytest.raises((UsageError, BadReference), match=says):
        forms.wanted(OP, **(given | forms_given))


def test_a_snippet_is_a_persons_own(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD.replace("def soft_gate", "def mine")))
    run = engine(library).start(stages.request(OP, "-", None, False, "draft"))
    assert run.state is State.REVIEW
    assert "confirm" not in [record.stage for record in run.records]
    assert run.request.origin == "a snippet"
    with pytest.raises(RunError, match="it needs no confirmation"):
        engine(library).confirm(run.id, APPROVER)
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(f"{GOOD}\ndef other(x): return x\n".replace("soft_gate", "mine"))
    )
    with pytest.raises(BadReference, match="<stdin> has mine, other") as caught:
        stages.request(OP, "-", None, False, "draft")
    assert f"called {OP}" in caught.value.hint


def test_a_text_is_examined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "Jail", MagicMock())
    monkeypatch.setattr(proposal, "_ask", lambda *_: b"")
    monkeypatch.setattr(proposal, "_proposal", lambda *_: object())
    once, again, other = (proposal.examine(text, OP, "") for text in ("a", "a", "b"))
    assert once is again is not other
