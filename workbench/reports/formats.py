"""A paper's table as Markdown, as LaTeX with booktabs, and as long CSV."""

import os
from pathlib import Path

import pandas as pd

from workbench.reports.paper_tables import PaperTable, TableValue

WHOSE = {"published": "", "reference": " (reference)", "own": " (own runs)"}
"""What a column's head says of its numbers."""


def digits(number: float) -> int:
    """Decimals that leave a number three significant digits."""
    return max(0, 3 - len(str(int(abs(number)))))


def short(number: float | None) -> str:
    """Three significant digits; a dash for none."""
    return "–" if number is None else f"{number:.3g}"


def text(value: TableValue | None) -> str:
    """A value as it is read: mean and spread as they are printed, or measured over a number of seeds."""
    if value is None:
        return "–"
    if not value.seeds:
        return f"{value.mean}" + ("" if value.spread is None else f" ± {value.spread}")
    places = digits(value.mean)
    spread = "" if value.spread is None else f" ± {value.spread:.{places}f}"
    return f"{value.mean:.{places}f}{spread} ({value.seeds})"


def as_frame(table: PaperTable) -> pd.DataFrame:
    """The table as text; the columns are (where, metric), with no metric above method and backbone."""
    where = [column.where + WHOSE[column.origin] for column in table.columns]
    heads = [("", "Method"), ("", "Backbone"), *zip(where, (column.metric for column in table.columns), strict=True)]
    cells = [[row.method, row.backbone or "–", *map(text, row.values)] for row in table.rows]
    return pd.DataFrame(cells, columns=pd.MultiIndex.from_tuples(heads))


def to_markdown(table: PaperTable) -> str:
    """A Markdown table; numbers are set to the right."""
    frame = as_frame(table)
    heads = [" ".join(filter(None, head)) for head in frame.columns]
    rule = ["---", "---", *["---:"] * len(table.columns)]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (heads, *frame.to_numpy().tolist())]
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:])) + "\n"


def to_latex(table: PaperTable) -> str:
    r"""A LaTeX tabular with booktabs' rules; it wants ``\usepackage{booktabs}``."""

    def signs(cell: object) -> str:
        return str(cell).replace("±", r"$\pm$").replace("–", "--")

    styler = as_frame(table).style.hide(axis="index")
    styler = styler.format(signs, escape="latex").format_index(signs, escape="latex", axis="columns")
    align = f"ll{'r' * len(table.columns)}"
    return styler.to_latex(hrules=True, column_format=align, multicol_align="c")


def to_csv(table: PaperTable, base: Path) -> str:
    """One value a row; records are paths from ``base``."""
    rows = [
        {
            "method": row.method,
            "backbone": row.backbone,
            "where": column.where,
            "metric": column.metric,
            "origin": column.origin,
            "value": value.mean,
            "spread": value.spread,
            "seeds": value.seeds or "",
            "records": " ".join(relative(record, base) for record in value.records),
        }
        for row in table.rows
        for column, value in zip(table.columns, row.values, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def relative(path: Path, base: Path) -> str:
    """``path`` as seen from the folder ``base``."""
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
