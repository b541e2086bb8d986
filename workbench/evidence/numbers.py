"""The numbers of a document: every token that a reader would take for one.

Digits inside a word (`float32`, `sm_90`, `relu2`), in a hash, or in front of an item of a numbered
list are none; `3.2ms`, `80GB`, `x3`, `1,024`, `2.13.0+cpu`, `v2.0`, `12:30`, `2026-08-01` and
`&#51;` are. Code is no exception: only a line that begins with "$ " in a fenced block, a command,
is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from workbench.evidence.citation import COMMENT

# Stands where citations stood, at the same length: a space would part what a reader sees joined.
HIDDEN = "\ue000"
ODD = "¼-¾⅐-↋①-⓿❶-➓"  # one character that is a number to a reader, and a letter to Python
# Between the digits of one number; a plain space is not, it also stands between two numbers.
THOUSANDS = ",'_\u00a0\u2009\u202f"
_TOKEN = re.compile(
    rf"""
    (?P<reference> &(?:\#\w+|frac\w+|half); )
  | (?P<hash> (?<![\w.]) (?=(?:[0-9]*[a-f]){{2}}) [0-9a-f]{{7,64}} (?!\w) )
  | (?P<date> (?<!\d) \d{{4}}-\d\d-\d\d
        (?: [T ]\d\d:\d\d (?::\d\d(?:\.\d+)?)? (?:Z|[+-]\d\d:?\d\d)? )? )
  | (?P<time> \d+(?::\d+)+ )
  | (?P<version> \d+(?:\.\d+){{2,}}[\w+-]*(?:\.[\w+-]+)* | \d+(?:\.\d+)+[+-][A-Za-z]\w* )
  | (?P<mixed> \w*[{ODD}]\w* | (?<![\w{HIDDEN}]) (?:[^\W\d]\w*(?:\.\d+)+[\w+-]* | [xX]\d+(?!\w)) )
  | (?P<word> (?<![\w{HIDDEN}]) [^\W\d]\w* )
  | (?P<number>
        (?P<sign> (?<![\w.)\]{HIDDEN}]) [-+−] )?
        (?P<body> \d{{1,3}}(?:[{THOUSANDS}]\d{{3}})+(?!\d)(?:\.\d+)? | \d+(?:\.\d+)? | \.\d+ )
        (?P<exponent> [eE][-+−]?\d{{1,3}}(?!\d) )?
        (?P<power> [⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+ )?
        (?P<unit> % | [^\W\d_]* )
    )
    """,
    re.VERBOSE,
)
_SKIPPED = frozenset({"hash", "word"})
_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<info>.*)")
_ORDINAL = re.compile(r"(?P<indent>[ >]*)(?P<number>\d{1,4})[.)](?=\s)")
_BOUND = re.compile(
    r"(?P<upper><=|≤|&lt;=|\bat most)\s*$|(?P<lower>>=|≥|&gt;=|\bat least)\s*$", re.I
)
# Between a number and what follows it, these are not seen, or part the digits of one number.
_JOINED = re.compile(rf"{HIDDEN}(?:[*`~.{THOUSANDS}\u200b-\u200d]|<[^<>]*>)*$")
_PLAIN = str.maketrans({"−": "-"} | dict.fromkeys(THOUSANDS, ""))


@dataclass(frozen=True)
class Token:
    """A number of a document. `value` is None where it is a date, a version, or unreadable.

    `quantum` is the value of its last printed place, `bound` "<=" or ">=" where one stands before
    it, `joined` says that it continues the number before it.
    """

    text: str
    start: int
    end: int
    value: Decimal | None = None
    quantum: Decimal = Decimal(1)
    bound: str = ""
    joined: bool = False

    @property
    def is_percentage(self) -> bool:
        """Whether the percent sign is part of it."""
        return self.text.endswith("%")


def hidden(text: str) -> str:
    """The text with every citation put out of sight."""
    return COMMENT.sub(lambda match: HIDDEN * len(match[0]), text)


def numbers(text: str) -> list[Token]:
    """The numbers of a text whose citations are hidden, in the order they stand."""
    exempt = list(_exempt(text))
    found = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None or _kind(match) in _SKIPPED or not match[0]:
            continue
        if not any(start <= match.start() < end for start, end in exempt):
            found.append(_token(text, match))
    return found


def _kind(match: re.Match[str]) -> str:
    kinds = ("reference", "hash", "date", "time", "version", "mixed", "word", "number")
    return next(kind for kind in kinds if match[kind] is not None)


def _token(text: str, match: re.Match[str]) -> Token:
    start, end = match.span()
    line = text[text.rfind("\n", 0, start) + 1 : start]
    joined = _JOINED.search(line) is not None
    if _kind(match) != "number" or match["power"]:
        return Token(match[0], start, end, joined=joined)
    bound = _BOUND.search(line)
    number = ((match["sign"] or "") + match["body"]).translate(_PLAIN)
    exponent = int((match["exponent"] or "e0")[1:].translate(_PLAIN))
    decimals = len(number.partition(".")[2])
    return Token(
        text=match[0],
        start=start,
        end=end,
        value=Decimal(f"{number}e{exponent}"),
        quantum=Decimal(f"1e{exponent - decimals}"),
        bound="" if bound is None else "<=" if bound["upper"] else ">=",
        joined=joined,
    )


def _exempt(text: str) -> Iterator[tuple[int, int]]:
    """Where digits are no numbers: commands of fenced blocks, and a numbered list's ordinals."""
    fence, ordinals, start = "", dict[str, int](), 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark["mark"].startswith(fence) and not mark["info"].strip():
                fence = ""
            elif line.lstrip().startswith("$ "):
                yield start, start + len(line)
        elif mark and not (mark["mark"][0] == "`" and "`" in mark["info"]):
            fence = mark["mark"]
        elif ordinal := _ORDINAL.match(line):
            number, indent = int(ordinal["number"]), ordinal["indent"]
            # Any other number at the start of a line is not a list's, whatever it looks like.
            if number == 1 or number == ordinals.get(indent, 0) + 1:
                ordinals[indent] = number
                yield start, start + ordinal.end()
        start += len(line)
