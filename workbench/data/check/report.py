"""What a look through a copy of a data set found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: "error" (the set is not what it should be), "warning" (looks wrong, may be right), "note".
        kind: what sort of thing, one word or two.
        file: the file or folder, relative to the root.
        message: what was found and what was expected.
    """

    level: str
    kind: str
    file: str
    message: str


@dataclass(frozen=True)
class Totals:
    """Images and people of one part of the copy.

    Attributes:
        images: number of images.
        people: number of people in the annotations that could be read.
        least: fewest people in one image, None without images.
        most: most people in one image, None without images.
        empty: images with nobody.
    """

    images: int
    people: int
    least: int | None
    most: int | None
    empty: int


def totals(images: int, counts: Sequence[int]) -> Totals:
    """The totals of so many images, of which those that could be read have these counts."""
    return Totals(images, sum(counts), min(counts, default=None), max(counts, default=None), list(counts).count(0))


@dataclass(frozen=True)
class Report:
    """Everything found in a copy of a data set, and its totals.

    Attributes:
        name: the data set.
        root: where the copy lies.
        findings: what was found, in the order of the files.
        measured: the totals of each part, and of "all".
        published: the published figures of each part, None where they are not verified.
    """

    name: str
    root: str
    findings: list[Finding]
    measured: dict[str, Totals]
    published: dict[str, dict[str, int | None]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: there may be warnings and notes, but no errors."""
        return not any(finding.level == ERROR for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON knows it."""
        return {**asdict(self), "ok": self.ok}

    def to_text(self) -> str:
        """The report as a table of totals and a list of findings."""
        columns = ("images", "people", "least", "most")
        table = [["part", *columns]]
        for part, found in self.measured.items():
            wanted = self.published.get(part, {})
            table.append([part, *(_cell(getattr(found, column), wanted.get(column)) for column in columns)])
        counted = {level: sum(f.level == level for f in self.findings) for level in (ERROR, WARNING, NOTE)}
        return "\n".join(
            [
                f"{self.name} in {self.root}",
                "",
                *_aligned(table, ">"),
                "",
                ", ".join(f"{number} {level}{'' if number == 1 else 's'}" for level, number in counted.items()),
                *_aligned([[f.level, f.kind, f"{f.file}: {f.message}"] for f in self.findings], "<"),
            ]
        )


def _cell(value: int | None, published: int | None) -> str:
    text = "-" if value is None else f"{value:,}"
    return text if published is None else f"{text} (published {published:,})"


def _aligned(rows: Sequence[Sequence[str]], side: str) -> list[str]:
    """A line a row, its cells two spaces apart and as wide as their column's widest; the first is set to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{side if n else '<'}{widths[n]}}" for n, cell in enumerate(row)) for row in rows)
    return [line.rstrip() for line in lines]
