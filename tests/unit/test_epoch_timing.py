import time

import pytest
import torch

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.sampling import build_sampler
from workbench.study.epoch_timing import epoch_seconds


class Slow(ImagePatches):
    """Patches that take a while where they are zoomed."""

    def __getitem__(self, item):
        if isinstance(item, tuple) and item.zoom != 1:
            end = time.process_time() + 0.01
            while time.process_time() < end:
                pass
        return super().__getitem__(item)


def test_each_sampler_is_timed_with_all_that_it_does():
    patches = Slow(open_dataset("scenes", preset="small", length=4), (32, 32), per_image=4)
    torch.manual_seed(0)
    model = build_model("mcnn", width=0.125)
    samplers = {
        "random": build_sampler("random", samples=16, batch_size=4),
        "lada": build_sampler("lada", samples=16, batch_size=4, patches=patches, share=1.0),
    }
    seconds = epoch_seconds(samplers, model, build_loss("l2", stride=model.stride), patches, rounds=1)
    occupied = sum(count > 0 for count in patches.counts())
    assert occupied > 4
    assert seconds["lada"] > 0.009 * occupied
    assert samplers["random"].epoch == samplers["lada"].epoch == 1


@pytest.mark.bad_input
def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds is 0"):
        epoch_seconds({}, torch.nn.Identity(), build_loss("l2"), [], rounds=0)
