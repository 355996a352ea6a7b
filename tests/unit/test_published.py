import pytest

from workbench.reports.published import COLUMNS, published_files, read_published


@pytest.mark.parametrize("paper", published_files())
def test_every_file_has_the_columns_and_one_number_a_row(paper):
    rows = read_published(paper)
    assert tuple(rows.columns) == COLUMNS
    assert rows["value"].notna().all()
    assert not rows.duplicated(["table", "method", "backbone", "dataset", "metric"]).any()


# Typed by hand from the papers, a second reading.
@pytest.mark.parametrize(
    ("paper", "table", "method", "backbone", "dataset", "metric", "value"),
    [
        ("generalized_loss", "1", "GL", "MCNN", "UCF-QNRF", "MAE", 142.8),
        ("generalized_loss", "1", "NoiseCC", "CSRNet", "UCF-QNRF", "RMSE", 163.3),
        ("generalized_loss", "2", "GL without entropy", "VGG19", "UCF-QNRF", "MAE", 91.1),
        ("generalized_loss", "3", "GL", "VGG19", "NWPU-Crowd", "MAE", 79.3),
        ("generalized_loss", "3", "LibraNet", "", "ShanghaiTech A", "MAE", 55.9),
        ("generalized_loss", "4", "GL", "", "NWPU-Crowd", "F1", 0.660),
        ("generalized_loss", "5", "GL", "VGG19", "UCF-QNRF", "AUC", 0.763),
        ("hmode", "I", "HMoDE+REL(Ours)", "", "NWPU-Crowd", "RMSE", 331.8),
        ("hmode", "IV", "HMoDE-ord ((E1, E3), E2)", "", "ShanghaiTech A", "RMSE", 101.8),
        ("hmode", "VIII", "Ours (K=3, N=2, D=3)", "", "ShanghaiTech B", "MAE", 6.8),
        ("hmode", "X", "DM-Count + REL", "", "ShanghaiTech B", "RMSE", 10.9),
        ("hmode", "XII", "Gr2", "", "JHU-CROWD++ high", "RMSE", 579.0),
        ("proximal_mapping_loss", "2", "PML", "HRNet", "NWPU-Crowd", "RMSE", 306.9),
        ("proximal_mapping_loss", "3", "PML + OT-M", "HRNet", "NWPU-Crowd", "F1", 0.802),
        ("proximal_mapping_loss", "4", "PML", "CSRNet", "UCF-QNRF", "MAE", 82.1),
    ],
)
def test_printed_numbers(paper, table, method, backbone, dataset, metric, value):
    rows = read_published(paper, table)
    chosen = rows[
        (rows["method"] == method)
        & (rows["backbone"] == backbone)
        & (rows["dataset"] == dataset)
        & (rows["metric"] == metric)
    ]
    assert chosen["value"].tolist() == [value]


@pytest.mark.bad_input
def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="expected one of generalized_loss"):
        read_published("loss")
    with pytest.raises(ValueError, match="expected one of 1, 2, 3"):
        read_published("generalized_loss", "9")
