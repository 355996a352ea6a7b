"""Tables of printed and measured numbers, their files, and the site that shows them."""

import csv
import html
import io
import json

import pandas as pd
import pytest
from test_reports import Page

from workbench.plots.basic import new_figure
from workbench.reports.errata import find_errata
from workbench.reports.formats import text, to_csv, to_latex, to_markdown
from workbench.reports.measured import collect_measurements
from workbench.reports.paper_tables import (
    Column,
    PaperTable,
    Reading,
    Readings,
    Row,
    TableValue,
    build_tables,
    read_readings,
)
from workbench.reports.plots import printable_label, rank_table, show_networks, show_ranking
from workbench.reports.site import write_site
from workbench.runs.record import Record, Timing

USUAL = {"dataset": "scenes", "dataset_options": {"preset": "small", "length": 80}, "model_options": {"width": 0.125}}
USUAL |= {"sampler": "random", "epochs": 4, "convention": "paper", "root": None, "relative": {}, "loss_options": {}}


def write(runs, name, mae, **config):
    timing = Timing(started="2026-01-02T03:04:05", seconds=1)
    record = Record(name=name, config=USUAL | config, metrics={"mae": mae, "rmse": 2 * mae}, timing=timing)
    record.write(runs / "experiments" / name / "record.json")


@pytest.fixture
def runs(tmp_path):
    """L2 and GL by CSRNet on scenes, three seeds; GL on UCF-QNRF once, and a run that stands for no row."""
    runs = tmp_path / "runs"
    for seed, mae in enumerate((3.0, 4.0, 5.0)):
        write(runs, f"l2-{seed}", mae, model="csrnet", loss="l2", loss_options={"sigma": 6.4}, seed=seed)
        write(
            runs,
            f"gl-{seed}",
            mae / 2,
            model="csrnet",
            loss="generalized",
            loss_options={"cost_offset": 1.0},
            seed=seed,
        )
        write(runs, f"odd-{seed}", 9.0, model="csrnet", loss="generalized", loss_options={"tau": 9}, seed=seed)
        write(runs, f"la-{seed}", 8.0, model="csrnet", loss="l2", sampler="la_batch", seed=seed)
    write(runs, "real", 92.5, model="csrnet", loss="generalized", seed=0, dataset="ucf_qnrf", dataset_options={})
    return runs


@pytest.fixture
def table(runs):
    """The generalized loss's Table 1."""
    (table,) = [one for one in build_tables(collect_measurements(runs)) if one.name == "generalized_loss_1"]
    return table


def test_measured_columns_stand_beside_the_printed(table):
    assert [(column.where, column.metric) for column in table.columns if not column.measured] == [
        ("UCF-QNRF", "MAE"),
        ("UCF-QNRF", "RMSE"),
    ]
    measured = [column.where for column in table.columns if column.measured and column.metric == "MAE"]
    assert measured == ["ucf_qnrf, 4 epochs, width 0.125", "scenes (small), 80 images, 4 epochs, width 0.125"]
    rows = {(row.method, row.backbone): [text(value) for value in row.values] for row in table.rows}
    assert rows["GL", "CSRNet"] == ["92.0", "165.7", "92.5 (1)", "185 (1)", "2.00 ± 0.50 (3)", "4.00 ± 1.00 (3)"]
    assert rows["L2", "CSRNet"] == ["110.6", "190.1", "–", "–", "4.00 ± 1.00 (3)", "8.00 ± 2.00 (3)"]
    assert rows["L2", "MCNN"] == ["186.4", "283.6", "–", "–", "–", "–"]


def ranked(*columns):
    """A table of four methods, printed as 1, 2, 3, 4 with one backbone, and measured with another."""
    measured = [Column("scenes", metric, origin) for origin, metric, _ in columns]
    printed = [
        Row(name, "VGG19", [TableValue(float(n), None), *[None] * len(columns)]) for n, name in enumerate("abcd", 1)
    ]
    ours = [Row(name, "compact", [None, *(values[n] for _, _, values in columns)]) for n, name in enumerate("abcd")]
    return PaperTable("p", "1", Reading(title="t"), [Column("UCF-QNRF", "MAE", "published"), *measured], printed + ours)


def values(*means):
    return [None if mean is None else TableValue(mean, 0.5, 10) for mean in means]


def test_a_ranking_puts_our_network_beside_the_first_printed_row_of_its_method():
    ranking = rank_table(ranked(("reference", "MAE", values(5.0, 6.0, 8.0, 7.0))))
    assert list(ranking.values) == ["a compact", "b compact", "c compact", "d compact"]
    assert [(printed.mean, measured.mean) for printed, measured in ranking.values.values()] == [
        (1.0, 5.0),
        (2.0, 6.0),
        (3.0, 8.0),
        (4.0, 7.0),
    ]
    assert ranking.agreement == pytest.approx(2 / 3)  # five pairs of six in the printed order
    axes = list(new_figure(6, 3).subplots(1, 2, sharey=True))
    show_ranking(axes, ranking)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(ranking.values)
    assert axes[1].get_xlabel() == "measured (reference) MAE, scenes"


def test_a_ranking_wants_three_methods_and_prefers_reference_records():
    assert rank_table(ranked(("own", "MAE", values(1.0, 2.0, None, None)))) is None
    assert rank_table(ranked(("own", "MAE", values(1.0, 1.0, 1.0, 1.0)))) is None  # one run that stands for four rows
    both = rank_table(ranked(("reference", "MAE", values(1.0, 2.0, 3.0, None)), ("own", "MAE", values(4.0, 3, 2, 1))))
    assert both.measured.origin == "reference"


def test_a_value_knows_its_records(table, runs):
    value = next(row for row in table.rows if (row.method, row.backbone) == ("L2", "CSRNet")).values[4]
    assert [path.parent.name for path in value.records] == ["l2-0", "l2-1", "l2-2"]


def test_markdown_and_latex_and_csv_hold_the_same(table, runs):
    lines = to_markdown(table).splitlines()
    assert len(lines) == 2 + len(table.rows)
    assert len({line.count("|") for line in lines}) == 1
    assert "| GL | CSRNet | 92.0 | 165.7 | 92.5 (1) | 185 (1) | 2.00 ± 0.50 (3) | 4.00 ± 1.00 (3) |" in lines
    latex = to_latex(table)
    assert latex.count(r"\toprule") == latex.count(r"\midrule") == latex.count(r"\bottomrule") == 1
    assert r"GL & CSRNet & 92.0 & 165.7 & 92.5 (1) & 185 (1) & 2.00 $\pm$ 0.50 (3) & 4.00 $\pm$ 1.00 (3) \\" in latex
    assert r"\multicolumn{2}{c}{ucf\_qnrf, 4 epochs, width 0.125 (own runs)}" in latex
    assert {line.count("&") for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line} == {7}
    rows = list(csv.DictReader(io.StringIO(to_csv(table, runs))))
    (real,) = [row for row in rows if row["origin"] == "own" and row["value"] == "92.5"]
    assert (real["method"], real["seeds"], real["records"]) == ("GL", "1", "experiments/real/record.json")
    assert json.loads((runs / real["records"]).read_text())["metrics"]["mae"] == 92.5


def test_no_cell_is_read_as_a_command_or_a_new_column():
    row = Row(r"50% of A_B & C#1 \x {y} – z", "a|b", [TableValue(1.0, 0.5), None])
    columns = [Column("A & B", "MAE", "published"), Column("A & B", "F_1", "published")]
    table = PaperTable("p", "1", Reading(title="t"), columns, [row])
    latex = to_latex(table)
    assert r"50\% of A\_B \& C\#1 \textbackslash x \{y\} -- z & a|b & 1.0 $\pm$ 0.5 & -- \\" in latex
    assert r"\multicolumn{2}{c}{A \& B} \\" in latex
    assert r"Method & Backbone & MAE & F\_1 \\" in latex
    assert r"| a\|b | 1.0 ± 0.5 | – |" in to_markdown(table)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (TableValue(0.66, None), "0.66"),
        (TableValue(1.34, 0.2), "1.34 ± 0.2"),
        (TableValue(123.456, 7.89, 3), "123 ± 8 (3)"),
        (TableValue(12.3456, None, 1), "12.3 (1)"),
        (TableValue(0.12345, 0.01, 2), "0.12 ± 0.01 (2)"),
    ],
)
def test_values_are_read_easily(value, shown):
    assert text(value) == shown


def test_the_site_is_whole(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.reports.site.compared_references", list)  # those of the project grow in number
    said = write_site(runs, tmp_path / "index.html")
    assert said["networks"] == 13
    assert said["tables"] >= 2
    pages = [tmp_path / "index.html", *sorted((tmp_path / "site").glob("*.html"))]
    assert [page.stem for page in pages] == ["index", "claims", "errata", "figures", "sweeps", "tables"]
    for page in pages:
        parsed = Page(page.read_text())
        assert parsed.open == []
        assert not {"script", "link", "iframe"} & {tag for tag, _ in parsed.tags}
        assert not [link for link in parsed.links if "//" in link]
        for link in parsed.links:
            file, _, _ = link.partition("#")
            assert not file or (page.parent / file).is_file(), (page.name, link)
    assert (tmp_path / "site" / "tables" / "generalized_loss_1.tex").is_file()
    figures = {path.suffix for path in (tmp_path / "site" / "figures").iterdir()}
    assert figures == {".png", ".svg"}
    claims = (tmp_path / "site" / "claims.html").read_text()
    # The first page leads to the verdicts that there are.
    parsed = Page((tmp_path / "index.html").read_text())
    assert {link for link in parsed.links if "#" in link} >= {"site/claims.html#holds"}
    assert '<td class="number">3</td>' in claims
    assert claims.count("Nothing was run that tests it.") == said["claims"].get("no runs yet", 0)
    assert ">holds<" in claims
    assert "How the losses' settings were chosen" in claims
    errata = (tmp_path / "site" / "errata.html").read_text()
    assert errata.count("<tr>") == len(find_errata()) + 1
    assert html.escape(find_errata()[-1].problem) in errata


def test_the_report_leads_to_the_reference_where_there_is_one(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.reports.site.project_root", lambda: tmp_path / "a clone")
    page = tmp_path / "a clone" / "reports" / "index.html"
    write_site(runs, page)
    assert ">Reference<" not in page.read_text()
    made = tmp_path / "a clone" / "docs" / "build" / "index.html"
    made.parent.mkdir(parents=True)
    made.write_text("")
    write_site(runs, page)
    assert '<a href="../docs/build/index.html">Reference</a>' in page.read_text()


def test_a_record_with_a_very_long_name_leaves_room_for_the_figure():
    frame = pd.DataFrame({"method": ["a" * 5000, "a" * 5000 + "$b^$\n"], "MAE": [1.0, 2.0]})
    figure = new_figure(9.2, 2.0, layout="constrained")
    ax = show_networks(figure.subplots(), frame)
    figure.canvas.draw()
    assert [len(label.get_text()) for label in ax.get_yticklabels()] == [72, 72]
    assert ax.get_position().width > 0.2
    assert printable_label("a $b^$\nc") == r"a \$b^\$ c"


@pytest.mark.bad_input
def test_readings_with_unknown_keys_are_refused(tmp_path):
    assert isinstance(read_readings(), Readings)
    assert Reading(title="a").methods == {}
    file = tmp_path / "readings.yaml"
    file.write_text("{metric: {}}")
    with pytest.raises(ValueError, match=r"readings\.yaml is not readings"):
        read_readings(file)
