"""What a piece of code costs a GPU besides its arithmetic, counted on any device: kernels launched and waits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = ("view", "transpose", "unsqueeze", "select", "expand", "slice", "detach", "split", "alias", "aten.t.", "empty")
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "aten.equal.", "check_errors")
READS = ("numpy", "tolist")  # of a tensor: nothing is dispatched for them


class Launches(TorchDispatchMode):
    """Counts the operations that would launch a kernel on a GPU, and the places where the program would wait for it.

    It waits wherever it reads a value or a size that depends on values: ``item``, ``nonzero``, a mask as an index, a
    checked solution of linear equations, ``numpy``, ``tolist``. An operation is counted as one launch, though some of
    them are several kernels.

    Attributes:
        launches: operations that are no views.
        waits: reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.waits = 0
        self._plain: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> "Launches":
        """Count from here on."""
        for name in READS:
            self._plain[name] = getattr(Tensor, name)
            setattr(Tensor, name, self._counted(self._plain[name]))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop counting."""
        super().__exit__(*error)
        for name, plain in self._plain.items():
            setattr(Tensor, name, plain)

    def _counted(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def read(tensor: Tensor, *given: Any, **options: Any) -> Any:
            self.waits += 1
            return plain(tensor, *given, **options)

        return read

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count one operation and run it."""
        name = str(function)
        self.launches += not any(view in name for view in VIEWS)
        masks = name.startswith("aten.index") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool
            for given in args
            if isinstance(given, list | tuple)
            for index in given
        )
        self.waits += masks or any(wait in name for wait in WAITS)
        return function(*args, **(kwargs or {}))
