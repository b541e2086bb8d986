"""Evidence: an immutable record of what the judge or the compiler saw of exactly these files.

A record is named by the hash of its own text, so a byte changed later is found wherever it is
read: in the run store, or in `evidence.json` beside the op. Infinity and NaN, which JSON has no
numbers for, are the words "Infinity", "-Infinity" and "NaN".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from workbench.errors import EvidenceError


def plain(value: Any) -> Any:
    """The value as JSON has it: lists, words for what is no number, only text that is Unicode.

    Raises:
        TypeError: it has something JSON can't say.
    """
    if isinstance(value, Mapping):
        return {_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"a record can't hold {type(value).__name__}")


def _text(value: str) -> str:
    # A message of a candidate may hold half a surrogate pair, which no file could.
    return value.encode("utf-8", "replace").decode()


def canonical(record: Mapping[str, Any]) -> str:
    """The one text of a record: sorted keys, no white space, floats as Python's `repr`."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


Data = Annotated[dict[str, Any], BeforeValidator(plain)]


class Machine(BaseModel):
    """Where something was seen. `sandbox` says how far the candidate was kept from the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    os: str
    cpu: str
    cores: int
    gpus: tuple[str, ...]
    driver: str
    sandbox: str


class Evidence(BaseModel):
    """One record. `files` are the op's own, `library` the shared ones it was judged with.

    Both map paths to SHA-256 digests. `recipe` says which inputs it took, `workbench` which
    version and commit of the engine, `summary` what it comes to in one line; `data` is all that was
    found: a `Verdict` or a `StaticReport`, every sample of it. `commit` is the one that has these
    files, "" for files on a disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["verification", "compilation", "measurement"]
    op: str
    files: dict[str, str]
    library: dict[str, str]
    seed: int | None
    recipe: Data
    machine: Machine
    versions: dict[str, str]
    created: datetime
    workbench: dict[str, str]
    summary: tuple[str, ...]
    data: Data
    commit: str = ""

    @cached_property
    def text(self) -> str:
        """The record as it is hashed and stored."""
        # A field that comes later has a default, is not set in old records, and changes no hash.
        return canonical(plain(self.model_dump(mode="json", exclude_unset=True)))

    @cached_property
    def id(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def record(self) -> dict[str, Any]:
        """The record as plain JSON with its id, which is what a citation points into."""
        return {"id": self.id} | dict(json.loads(self.text))

    @property
    def passed(self) -> bool:
        """Whether what was seen lets the op in."""
        if self.kind == "verification":
            return self.data.get("passed") is True
        return not self.data.get("failures")

    @classmethod
    def read(cls, text: str, id_: str) -> Evidence:
        """The record of this text, which must have this id.

        Raises:
            EvidenceError: it was changed, or is no record.
        """
        found = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if found != id_:
            raise EvidenceError(
                f"the record {id_[:12]} was changed: its content's hash is {found[:12]}",
                "evidence is never edited; restore it, or verify the op again",
            )
        try:
            evidence = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = "/".join(map(str, first["loc"]))
            raise EvidenceError(
                f"the record {id_[:12]} is no evidence this workbench knows: {where}: "
                f"{first['msg']}",
                "a newer workbench may have written it",
            ) from error
        if evidence.id != id_:
            raise EvidenceError(
                f"the record {id_[:12]} is not written the way records are",
                "evidence is never edited; restore it, or verify the op again",
            )
        return evidence
