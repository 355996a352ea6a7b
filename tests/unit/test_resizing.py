import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layouts import write_shanghaitech

from workbench.data import open_dataset
from workbench.data.files.resizing import resize_rule
from workbench.data.transforms import resize_sample


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        ("none", (37, 53), (37, 53)),
        ("longest:1920", (3000, 4000), (1440, 1920)),
        ("longest:1920", (4000, 3000), (1920, 1440)),
        ("longest:1920", (300, 400), (300, 400)),
        ("shortest:512", (256, 400), (512, 800)),
        ("shortest:512", (600, 700), (600, 700)),
        ("qnrf", (300, 400), (512, 683)),
        ("qnrf", (3000, 4096), (2048, 2796)),
        ("qnrf", (700, 9000), (700, 9000)),
        ("multiple:16", (37, 53), (32, 48)),
        ("multiple:16", (40, 3), (48, 16)),
        ("exact:480x640", (1, 9), (480, 640)),
        ("scale:0.5", (37, 53), (18, 26)),
        ("scale:1.5, multiple:32", (50, 100), (64, 160)),
        ("longest:100, multiple:16", (300, 400), (80, 96)),
    ],
)
def test_sizes_by_hand(spec, size, expected):
    assert resize_rule(spec)(size) == expected


@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)), st.sampled_from(["longest:512", "shortest:64-128", "qnrf"])
)
def test_the_shape_is_kept_as_far_as_whole_pixels_allow(size, spec):
    height, width = resize_rule(spec)(size)
    factor = max(height, width) / max(size)
    assert abs(min(height, width) - max(1, factor * min(size))) <= 1
    least, most = {"longest:512": (1, 512), "shortest:64-128": (64, 128), "qnrf": (512, 2048)}[spec]
    assert least <= (max if spec.startswith("longest") else min)(height, width) <= most
    assert resize_rule(spec)((height, width)) == (height, width)


def test_points_and_counts_follow_the_resized_image(tmp_path):
    write_shanghaitech(tmp_path)
    whole = open_dataset("shanghaitech_a", tmp_path, "trainval")
    small = open_dataset("shanghaitech_a", tmp_path, "trainval", resize="longest:100,multiple:16")
    for index, (before, after) in enumerate(zip(whole, small, strict=True)):
        assert after.size == small.size_of(index)
        assert all(side % 16 == 0 for side in after.size)
        assert after.count == before.count
        scale = torch.tensor([after.size[1] / before.size[1], after.size[0] / before.size[0]])
        torch.testing.assert_close(after.points, before.points * scale)
        torch.testing.assert_close(small.points(index), after.points)
        assert torch.equal(resize_sample(before, after.size, image=False).points, after.points)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "spec", ["", "big", "longest", "longest:0", "longest:-3", "shortest:9-3", "exact:4", "none,big", "multiple:16px", 7]
)
def test_unknown_rules_are_named_with_the_known_ones(spec):
    with pytest.raises(ValueError, match=r"resize is .*, expected one of none, longest:N, .*exact:HxW"):
        resize_rule(spec)
