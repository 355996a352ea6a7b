"""A paper's table as Markdown, as LaTeX with booktabs, and as long CSV."""

import csv
import io
import os
import re
from pathlib import Path

from workbench.reports.paper_tables import PaperTable, Value

CSV_COLUMNS = ("method", "backbone", "where", "metric", "kind", "value", "spread", "seeds", "records")


def digits(number: float) -> int:
    """Decimals that leave a number three significant digits."""
    return max(0, 3 - len(str(int(abs(number)))))


def text(value: Value | None, *, plus_minus: str = " ± ") -> str:
    """A value as it is read: mean and spread as they are printed, or measured over a number of seeds."""
    if value is None:
        return "–"
    if not value.seeds:
        return f"{value.mean}" + ("" if value.spread is None else f"{plus_minus}{value.spread}")
    places = digits(value.mean)
    spread = "" if value.spread is None else f"{plus_minus}{value.spread:.{places}f}"
    return f"{value.mean:.{places}f}{spread} ({value.seeds})"


def heads(table: PaperTable) -> list[str]:
    """The heads of the columns of values."""
    return [f"{column.where} {column.metric}{', measured' if column.measured else ''}" for column in table.columns]


def to_markdown(table: PaperTable) -> str:
    """A Markdown table; numbers are set to the right."""
    lines = [["Method", "Backbone", *heads(table)]]
    lines += [[row.method, row.backbone or "–", *map(text, row.values)] for row in table.rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", "---", *["---:"] * len(table.columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]]) + "\n"


def to_latex(table: PaperTable) -> str:
    r"""A LaTeX tabular with booktabs' rules; it wants ``\usepackage{booktabs}``."""
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        where = column.where + (" (measured)" if column.measured else "")
        if groups and groups[-1][0] == where:
            groups[-1] = (where, groups[-1][1] + 1)
        else:
            groups.append((where, 1))
    start, rules = 3, []
    for _, wide in groups:
        rules.append(rf"\cmidrule(lr){{{start}-{start + wide - 1}}}")
        start += wide
    first = " & & " + " & ".join(rf"\multicolumn{{{wide}}}{{c}}{{{escape(where)}}}" for where, wide in groups)
    second = " & ".join(["Method", "Backbone", *(escape(column.metric) for column in table.columns)])
    body = [
        " & ".join(
            [
                escape(row.method),
                escape(row.backbone or "–"),
                *(escape(text(value)).replace("±", r"$\pm$") for value in row.values),
            ]
        )
        for row in table.rows
    ]
    lines = [
        rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}",
        r"\toprule",
        first + r" \\",
        " ".join(rules),
        second + r" \\",
        r"\midrule",
        *(line + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(cell: str) -> str:
    """A cell in which LaTeX reads no command."""
    cell = cell.replace("\\", r"\textbackslash ")
    return re.sub(r"([&%$#_{}])", r"\\\1", cell).replace("–", "--")


def to_csv(table: PaperTable, base: Path) -> str:
    """One value a row; records are paths from ``base``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in table.rows:
        for column, value in zip(table.columns, row.values, strict=True):
            if value is not None:
                records = " ".join(relative(record, base) for record in value.records)
                kind = "measured" if column.measured else "published"
                numbers = (value.mean, "" if value.spread is None else value.spread, value.seeds or "")
                writer.writerow([row.method, row.backbone, column.where, column.metric, kind, *numbers, records])
    return out.getvalue()


def relative(path: Path, base: Path) -> str:
    """``path`` as seen from the folder ``base``."""
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
