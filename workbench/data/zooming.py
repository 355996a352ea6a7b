"""Windows zoomed about their centre: more or less of the source image, then brought to the patch's own size."""

from workbench.checks import check_positive
from workbench.data.sample import Window


def zoom_window(window: Window, size: tuple[int, int], zoom: float) -> Window:
    """The window whose sides are ``zoom`` times those of ``window``, within the image.

    The centre stays where it is unless the new window would reach outside; then it moves just inside. The shape is
    kept, so a window can grow until one of its sides is the image's. Sides are whole pixels.

    Args:
        window: left, top, width and height in the image's pixels.
        size: (H, W) of the image.
        zoom: factor on the sides; 1 gives ``window`` itself.

    Raises:
        ValueError: a zoom that is not a finite number above zero.
    """
    check_positive(zoom, "zoom")
    left, top, width, height = window
    zoom = min(zoom, size[0] / height, size[1] / width)
    new_width, new_height = (max(1, round(side * zoom)) for side in (width, height))
    return (
        _moved(left + width / 2, new_width, size[1]),
        _moved(top + height / 2, new_height, size[0]),
        new_width,
        new_height,
    )


def _moved(centre: float, side: int, most: int) -> int:
    """Where a window of ``side`` begins, its centre as near to ``centre`` as fits into [0, ``most``]."""
    return max(0, min(round(centre - side / 2), most - side))
