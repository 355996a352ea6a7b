"""The report as a small site: what ran, the papers' tables, figures, claims and errata, without network or scripts.

``index.html`` says what ran. The other pages, the tables as files and the figures lie in ``site`` beside it.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.io.files import write_text
from workbench.io.project import project_root
from workbench.reports.claims import MARGIN, NO_RUNS, ORDER, Evidence, metric_name, read_claims, weigh
from workbench.reports.entry import printable
from workbench.reports.errata import find_errata
from workbench.reports.figures import draw_figures, draw_sweep
from workbench.reports.formats import short, text, to_csv, to_latex, to_markdown
from workbench.reports.measured import collect_measurements
from workbench.reports.page import Summary, templates, write_report
from workbench.reports.paper_tables import PaperTable, build_tables, read_readings
from workbench.reports.published import published_files
from workbench.reports.sources import Setting, Source, compared_references, read_search, read_sources
from workbench.reports.verdicts import SKEWED, signed
from workbench.runs.record import now
from workbench.sweeps.summary import collect_sweeps

PAGES = {"tables": "Tables", "figures": "Figures", "claims": "Claims", "sweeps": "Sweeps", "errata": "Errata"}


def write_site(runs_dir: str | Path, page: str | Path) -> dict[str, Any]:
    """Write the page of what ran at ``page``, for instance reports/index.html, and all else beside it, in ``site``.

    Returns:
        What there is: numbers of runs, networks, reference networks, tables with something measured, claims by
        verdict, sweeps, damaged runs.

    Raises:
        FileNotFoundError: there is no folder of runs.
        OSError: a file cannot be written.
    """
    page = Path(page)
    folder = page.parent / "site"
    damaged: list[str] = []
    measurements = collect_measurements(runs_dir, damaged=damaged)
    sources: list[Source] = []
    search: dict[str, list[Setting]] = {}
    try:
        sources, search = read_sources(), read_search()
        measurements += compared_references()
    except ValueError as error:
        damaged.append(str(error))
    readings = read_readings()
    tables = build_tables(measurements, readings)
    claims = read_claims()
    evidence = by_verdict(weigh(claims, measurements, "reference"), weigh(claims, measurements, "own"))
    sweeps = collect_sweeps(runs_dir, damaged=damaged)
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        write_table(table, folder / "tables")
    weighed = [one for pair in evidence for one in pair]
    pictures = draw_figures(measurements, tables, weighed, folder / "figures", readings.titles)
    references = sum(one.origin == "reference" for one in measurements)
    common = {
        "readings": readings,
        "networks": len(measurements) - references,
        "references": references,
        "damaged": damaged,
        "sources": sources,
        "written": now()[:16].replace("T", " "),
    }
    content: dict[str, dict[str, Any]] = {
        "tables": {"tables": tables},
        "figures": {"pictures": pictures},
        "claims": {
            "groups": {name: [pair for pair in evidence if word(pair) == name] for name in ORDER},
            "skewed": SKEWED,
            "search": search,
            "margin": MARGIN,
            "forest": next((picture for picture in pictures if picture.png.stem == "claims"), None),
        },
        "sweeps": {"sweeps": [(sweep, draw_sweep(sweep, folder / "figures")) for sweep in sweeps]},
        "errata": {"errata": find_errata()},
    }
    for name, values in content.items():
        write_text(folder / f"{name}.html", _render(name, folder, index=page.name, **common, **values))
    verdicts = Counter(word(pair) for pair in evidence)
    summary = Summary(references, verdicts, "site/claims.html", content["claims"]["forest"])
    pages = {name: f"site/{name}.html" for name in PAGES} | _reference(page)
    entries = write_report(runs_dir, page, pages=pages, summary=summary if sources else None)
    return {
        "runs": len(entries),
        "networks": common["networks"],
        "references": references,
        "tables": sum(table.measured for table in tables),
        "claims": dict(sorted(verdicts.items())),
        "sweeps": len(sweeps),
        "damaged": len(damaged) + sum(bool(one.problems) for one in entries),
    }


def word(pair: Sequence[Evidence]) -> str:
    """The verdict on a claim by the reference records, or by the reader's own runs where the records say nothing."""
    return next((one.word for one in pair if one.word != NO_RUNS), NO_RUNS)


def by_verdict(references: Sequence[Evidence], own: Sequence[Evidence]) -> list[tuple[Evidence, Evidence]]:
    """Both kinds of evidence for each claim, sorted by the verdict."""
    return sorted(zip(references, own, strict=True), key=lambda pair: ORDER.index(word(pair)))


def write_table(table: PaperTable, folder: Path) -> None:
    """Write a table as Markdown, LaTeX and CSV."""
    write_text(folder / f"{table.name}.md", to_markdown(table))
    write_text(folder / f"{table.name}.tex", to_latex(table))
    write_text(folder / f"{table.name}.csv", to_csv(table, folder))


def _render(name: str, base: Path, **values: Any) -> str:
    environment = templates(base)
    environment.filters |= {"text": text, "short": short, "signed": signed}
    environment.filters |= {"papers": _plain_papers, "metric": metric_name}
    return printable(environment.get_template(f"{name}.html").render(page=name, pages=PAGES, **values))


def _reference(page: Path) -> dict[str, str]:
    """The link from ``page`` to the reference of the package, where ``make docs`` has made one."""
    try:
        made = project_root() / "docs" / "build" / "index.html"
    except FileNotFoundError:  # outside a clone
        return {}
    address = Path(os.path.relpath(made, page.resolve().parent)).as_posix()
    return {"reference": quote(address)} if made.is_file() else {}


def _plain_papers(where: str) -> str:
    """A place in the papers without the underscores of their files' names."""
    for paper in published_files():
        where = where.replace(paper, paper.replace("_", " "))
    return where
