"""The papers' own results, as they are printed: ``data/published/*.csv``, which the wheel carries."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.io.extras import need

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("table", "method", "backbone", "dataset", "metric", "value", "spread")
PAPERS = Path(__file__).with_name("papers")
"""The folder of the printed tables, readings and claims: a link to ``data/published`` in a clone, a copy in a wheel."""


def published_files() -> dict[str, Path]:
    """The papers whose tables are there, by name."""
    return {path.stem: path for path in sorted(PAPERS.glob("*.csv"))}


def read_published(paper: str, table: str | None = None) -> "DataFrame":
    """The results that a paper prints, one number a row.

    Args:
        paper: a file of data/published, for instance "generalized_loss".
        table: number of the paper's table; all of them if None.

    Returns:
        Columns table, method, backbone, dataset, metric, value, spread (NaN where none is printed). RMSE is what many
        of the papers print as MSE.

    Raises:
        ValueError: no such paper or table; the message lists the known ones.
    """
    need("sweeps")
    import pandas as pd

    files = published_files()
    if paper not in files:
        raise ValueError(f"paper is {paper!r}, expected one of {', '.join(files)}")
    rows = pd.read_csv(files[paper], dtype={"table": str, "backbone": str, "dataset": str}, keep_default_na=True)
    rows[["backbone", "dataset"]] = rows[["backbone", "dataset"]].fillna("")
    if table is None:
        return rows
    known = list(dict.fromkeys(rows["table"]))
    if table not in known:
        raise ValueError(f"table is {table!r}, expected one of {', '.join(known)} of {paper}")
    return rows[rows["table"] == table].reset_index(drop=True)


def read_about(path: str | Path, kind: Any, what: str) -> Any:
    """The content of a YAML file on the papers, as a type that pydantic can check.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not ``what``.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path} is not {what}: {error}") from error
