"""How a JPEG was made, so that the covered one is made in the same way."""

from __future__ import annotations

from typing import Any

from PIL import Image, JpegImagePlugin

__all__ = ["jpeg_options"]

_QUALITY = 95   # where the file does not say it


def jpeg_options(image: Image.Image) -> dict[str, Any]:
    """What Pillow is to write a JPEG with, to keep the quality of an open one.

    Only tables that its colours use, by whatever numbers, in the order of the colours.
    """
    known = image.quantization  # type: ignore[attr-defined]
    numbers = [layer[3] for layer in image.layer[:3]]  # type: ignore[attr-defined]
    tables = [[max(value, 1) for value in known[n]] for n in numbers if n in known]
    # Both colours have one table: the finer of theirs.
    kept = tables[:1]
    if len(tables) == 3:
        kept.append([min(pair) for pair in zip(tables[1], tables[2], strict=True)])
    options: dict[str, Any] = {"progressive": bool(image.info.get("progressive"))}
    # Larger numbers need a kind of table that few readers know.
    if len(tables) == len(numbers) and max(map(max, kept)) <= 255:
        options["qtables"] = kept
    else:
        options["quality"] = _QUALITY
    sampling = JpegImagePlugin.get_sampling(image)
    if sampling != -1 and len(numbers) == 3:
        options["subsampling"] = sampling
    return options
