"""Figures typed by hand from the papers' texts, a second reading, against what the report shows."""

from collections import Counter

import pytest

from workbench.io.project import project_root
from workbench.reports.formats import text
from workbench.reports.paper_tables import build_tables, read_readings
from workbench.reports.published import published_files
from workbench.sweeps.grid import combinations, read_grid

# paper | table | method | backbone | data set | metric | what is printed
TYPED = """\
generalized_loss|1|L2|VGG19|UCF-QNRF|MAE|98.7
generalized_loss|1|BL|CSRNet|UCF-QNRF|RMSE|184.3
generalized_loss|1|GL|MCNN|UCF-QNRF|RMSE|227.9
generalized_loss|2|GL without point term|VGG19|UCF-QNRF|MAE|85.0
generalized_loss|3|CSRNet||NWPU-Crowd|RMSE|387.8
generalized_loss|3|SANet||JHU-CROWD++|MAE|91.1
generalized_loss|3|DSSINet||ShanghaiTech B|MAE|6.8
generalized_loss|3|MBTTBF||UCF-QNRF|RMSE|165.2
generalized_loss|3|KDMG||JHU-CROWD++|RMSE|268.3
generalized_loss|3|AMSNet||ShanghaiTech A|RMSE|93.4
generalized_loss|3|NoiseCC||NWPU-Crowd|RMSE|534.2
generalized_loss|3|GL|VGG19|JHU-CROWD++|MAE|59.9
generalized_loss|4|TinyFace||NWPU-Crowd|recall|0.611
generalized_loss|4|GL||NWPU-Crowd|precision|0.8
generalized_loss|5|CL||UCF-QNRF|AUC|0.714
generalized_loss|5|BL|VGG19|UCF-QNRF|precision|0.767
proximal_mapping_loss|3|PML + OT-M|HRNet|NWPU-Crowd|recall|0.795
proximal_mapping_loss|3|STEERER + LM||NWPU-Crowd|F1|0.77
proximal_mapping_loss|3|PML + LM|HRNet|NWPU-Crowd|precision|0.803
proximal_mapping_loss|4|L2|HRNet|UCF-QNRF|RMSE|157.49
proximal_mapping_loss|4|GCFL|CSRNet|UCF-QNRF|MAE|83.0
proximal_mapping_loss|4|PML|MCNN|UCF-QNRF|MAE|138.9
proximal_mapping_loss|4|PML|HRNet|UCF-QNRF|RMSE|127.45
proximal_mapping_loss|4|GL|VGG19|UCF-QNRF|RMSE|147.5
locality_aware|1|Count Forest||Mall|RMSE|2.4
locality_aware|1|LA-Batch|CSRNet|Mall|MAE|1.34 ± 0.2
locality_aware|2|SANet||ShanghaiTech A|MAE|67.0
locality_aware|2|LA-Batch|Base Model|ShanghaiTech B|RMSE|22.5 ± 1.4
locality_aware|2|DecideNet||ShanghaiTech B|MAE|21.53
locality_aware|3|MCNN||WorldExpo'10 S2|MAE|20.6
locality_aware|3|ic-CNN||WorldExpo'10 S1|MAE|17.0
locality_aware|3|LA-Batch|Base Model|WorldExpo'10 S4|MAE|10.8 ± 0.4
locality_aware|3|DRSAN||WorldExpo'10|MAE|7.76
locality_aware|4|Hydra2s||UCF_CC_50|MAE|333.73
locality_aware|4|LA-Batch|CSRNet|UCF_CC_50|RMSE|230.6 ± 6.4
locality_aware|5|CMTL||UCF-QNRF|RMSE|514.0
locality_aware|5|CSRNet||UCF-QNRF|MAE|148.0
locality_aware|6|LADP|CSRNet|ShanghaiTech B|MAE|10.2 ± 0.7
locality_aware|6|Adaptive Sampling|Base Model|ShanghaiTech B|RMSE|25.1
locality_aware|6|LA-Batch|CSRNet|ShanghaiTech B|RMSE|14.0 ± 0.6
locality_aware|7|G = 4||ShanghaiTech B|RMSE|16.25
locality_aware|7|lambda = 1/3||ShanghaiTech B|MAE|9.96
hmode|I|HMoDE+REL(Ours)||ShanghaiTech A|MAE|54.4
hmode|I|HMoDE+REL(Ours)||UCF_CC_50|RMSE|211.2
hmode|I|HMoDE+REL(Ours)||NWPU-Crowd|RMSE|331.8
hmode|II|AGCCM||JHU-CROWD++|MAE|58.5
hmode|II|Ours*||ShanghaiTech A|RMSE|84.8
hmode|IV|Average||ShanghaiTech A|MAE|66.3
hmode|IV|HMoDE (w/ phw)||ShanghaiTech B|RMSE|12.1
hmode|IV|HMoDE-ord ((E1, E2), E3)||ShanghaiTech A|RMSE|102.3
hmode|X|CSRNet + REL||ShanghaiTech B|MAE|8.6
hmode|X|DM-Count + REL||ShanghaiTech A|RMSE|95.4
hmode|XI|REL(4s)||ShanghaiTech A|MAE|56.1
hmode|XI|REL(1s)||ShanghaiTech B|RMSE|11.9
hmode|XII|E1||JHU-CROWD++|MAE|58.1
hmode|XII|Gr2||JHU-CROWD++ medium|RMSE|50.9
hmode|XII|E_out||JHU-CROWD++ high|MAE|245.6
"""
FIGURES = [tuple(line.split("|")) for line in TYPED.splitlines()]


@pytest.fixture(scope="module")
def shown():
    """What the report shows of the papers with no record at all."""
    cells = {}
    for table in build_tables([]):
        for row in table.rows:
            for column, value in zip(table.columns, row.values, strict=True):
                cells[table.paper, table.number, row.method, row.backbone, column.where, column.metric] = text(value)
    return cells


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: "-".join(figure[:6]))
def test_a_printed_figure_is_shown_as_it_is_printed(shown, figure):
    assert shown[figure[:6]] == figure[6]


def test_the_second_reading_covers_every_paper():
    assert len(set(FIGURES)) >= 50
    papers = Counter(figure[0] for figure in FIGURES)
    assert set(papers) == set(published_files())
    assert min(papers.values()) >= 8


def test_every_method_that_is_read_is_printed_and_every_grid_is_there():
    readings = read_readings()
    assert list(readings.titles) == ["generalized_loss", "proximal_mapping_loss", "locality_aware", "hmode"]
    by_name = {(table.paper, table.number): table for table in build_tables([], readings)}
    for paper, tables in readings.papers.items():
        for number, reading in tables.items():
            table = by_name[paper, number]
            printed = {row.method for row in table.rows}
            backbones = {row.backbone for row in table.rows}
            if number != "1" or paper != "generalized_loss":  # which shares its methods with the proximal loss's
                assert set(reading.methods) <= printed, (paper, number)
            assert not reading.backbones or set(reading.backbones) & backbones, (paper, number)
            if reading.sweep:
                grid = read_grid(project_root() / "notebooks" / "sweeps" / "paper" / f"{reading.sweep}.yaml")
                assert len(list(combinations(grid))) > 1
