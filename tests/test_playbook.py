"""The playbook: facts as data, probes that show them, and what becomes of a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from runs_fixtures import without_gpu

from workbench import playbook
from workbench.errors import TemplateError, UsageError
from workbench.playbook import Fact, chosen, facts, told
from workbench.playbook.check import Checked, check

SAYS = """
from workbench.playbook.probe import Found

def probe(architecture):
    print("noise")
    return Found({holds}, {{"figure": 3, "of": architecture}})
"""


def written(folder: Path, probe: str, **table: Any) -> Fact:
    """The one fact of a playbook of its own."""
    (folder / "probes").mkdir(parents=True)
    (folder / "probes" / "fact.py").write_text(probe)
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    (folder / "facts.toml").write_text("\n".join(["[fact]", 'statement = "So it is."', *lines]))
    (fact,) = facts(folder)
    return fact


def checked(fact: Fact, timeout: float = 60) -> Checked:
    (found,) = check([fact], "sm_90", timeout)
    return found


def test_every_fact_has_its_probe_and_a_statement_that_fits() -> None:
    known = facts()
    assert len(known) >= 10
    probes = {path.stem for path in known[0].probe.parent.glob("*.py")}
    assert probes == {fact.id for fact in known}
    lines = told("sm_90")
    assert lines == [fact.statement for fact in known]
    assert all("\n" not in line and "  " not in line for line in lines)


def test_what_an_author_is_told_is_of_its_architecture_and_bounded(tmp_path: Path) -> None:
    fact = written(tmp_path, SAYS.format(holds=True), architectures=["sm_80"])
    assert told("sm_80", [fact]) == ["So it is."] and told("sm_90", [fact]) == []
    long = fact.model_copy(update={"statement": "x" * 600, "architectures": ()})
    assert 0 < len("".join(told("sm_90", [long] * 99))) <= playbook.MOST_CHARACTERS


def test_the_architecture_at_hand_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert playbook.at_hand() == "sm_90"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert playbook.at_hand() == "sm_80"


def test_a_playbook_that_is_not_as_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="is no fact"):
        written(tmp_path / "a", "", needs="luck")
    (tmp_path / "facts.toml").write_text("[alone]\nstatement = 'x'\n")
    with pytest.raises(TemplateError, match="alone has no probe"):
        facts(tmp_path)
    with pytest.raises(UsageError, match="no fact nothing"):
        chosen(facts(), ["launch_defaults", "nothing"])


def test_a_probe_says_if_its_fact_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-hidden")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    sees = "import os\nassert not {'ANTHROPIC_API_KEY', 'TRITON_INTERPRET'} & set(os.environ)\n"
    found = checked(written(tmp_path, sees + SAYS.format(holds=True)))
    assert (found.verdict, found.passed) == ("holds", True)
    assert found.figures == {"figure": 3, "of": "sm_90"}


def test_a_probe_that_says_nothing_is_broken(tmp_path: Path) -> None:
    found = checked(written(tmp_path / "a", "raise RuntimeError('no compiler')"))
    assert (found.verdict, found.passed) == ("broken", False)
    assert "RuntimeError: no compiler" in found.why
    endless = written(tmp_path / "b", "import time\ntime.sleep(99)")
    assert "took more than 1 seconds" in checked(endless, timeout=1).why


def test_what_can_not_be_shown_here_is_skipped_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    needs = checked(written(tmp_path / "a", "", needs="gpu"))
    other = checked(written(tmp_path / "b", "", architectures=["sm_80", "sm_100"]))
    assert (needs.verdict, needs.why, needs.passed) == ("skipped", "there is no GPU", True)
    assert (other.verdict, other.why) == ("skipped", "it is of sm_80, sm_100")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "playbook", *arguments],
        env=without_gpu() | environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_command_lists_and_checks() -> None:
    listed = command()
    assert listed.returncode == 0, listed.stderr
    assert "launch_defaults: A launch that says nothing has 4 warps" in listed.stdout
    assert "facts of sm_90" in listed.stdout
    done = command("check", "multiple_of_one_element", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["checked"]
    assert found["verdict"] == "holds"
    assert found["figures"] == {"4 elements": "compiles", "1 elements": "fails"}


def test_a_wrong_fact_ends_the_command_with_5(tmp_path: Path) -> None:
    written(tmp_path / "playbook", SAYS.format(holds=False))
    script = tmp_path / "command.py"
    script.write_text(
        "from pathlib import Path\n"
        "from workbench import cli, playbook\n"
        f"playbook.asset = lambda name: Path({str(tmp_path)!r})\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "playbook", "check"],
        env=os.environ | without_gpu(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "refuted    fact · figure 3 · of sm_90" in done.stdout
    assert "0 holds · 1 refuted · 0 skipped · 0 broken" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_every_fact_holds(architecture: str) -> None:
    found = list(check(facts(), architecture))
    assert [one for one in found if not one.passed] == []
