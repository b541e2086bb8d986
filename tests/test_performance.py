"""The performance table of README.md is what the committed evidence says, here and anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from measured import OP, document, measurement, repository, static_report

from workbench.bench import export, performance
from workbench.errors import EvidenceError, UsageError
from workbench.layout import evidence_path

ROOT = Path(__file__).parents[1]


def test_the_readmes_table_is_what_the_evidence_says() -> None:
    assert not performance.update(ROOT / "README.md", ROOT, check=True)


def test_a_table_is_written_and_held_against_the_evidence(tmp_path: Path) -> None:
    root = repository(tmp_path / "library")
    file = root / "README.md"
    with pytest.raises(UsageError, match="no single place"):
        performance.update(file, root, check=False)
    before, after = "# It\n\n", "\nThe end.\n"
    file.write_text(f"{before}{performance.BEGIN}\n{performance.END}{after}")
    assert performance.update(file, root, check=False)
    assert performance.EMPTY in file.read_text()

    document(root, static_report().model_copy(update={"failures": ()}))
    assert not performance.update(file, root, check=False)  # compiled is not measured
    made = document(root, measurement()).evidence[-1]
    with pytest.raises(EvidenceError, match="is not what the evidence says"):
        performance.update(file, root, check=True)
    assert performance.update(file, root, check=False)
    text = file.read_text()
    assert text.startswith(before) and text.endswith(after)
    row = next(line for line in text.splitlines() if line.startswith(f"| `{OP}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    in_both = sum("both" in point.lost() for point in measurement().points)
    lost = f"{in_both} (backward 1, forward 2)"
    assert cells[1:6] == ["NVIDIA H200 (made up)", "bfloat16", "6", lost, "forward + backward"]
    assert cells[-1] == f"`{made.id[:12]}`"
    shares = [r.floor_share for r in export.rows(made) if r.is_ours and r.direction == "both"]
    known = [share for share in shares if share is not None]
    assert cells[6] == f"{min(known):.2f} – {max(known):.2f}"
    assert not performance.update(file, root, check=True)

    file.write_text(text.replace(cells[6], "0.99 – 1.00"))
    with pytest.raises(EvidenceError, match="is not what the evidence says"):
        performance.update(file, root, check=True)
    (root / evidence_path(OP)).write_text("{}\n")
    with pytest.raises(EvidenceError):
        performance.table(root)
