"""Small pictures of stored frames for a report: pixels only, made once.

Conventions
-----------
A thumbnail is a WebP with one row of pixels a band, the highest on top, and one column a frame; where a clip has more
frames than `MAX_COLUMNS`, a column stands for several and shows the loudest of each band. The colours go from the
clip's least stored value to its greatest. They are kept in a folder, by the fingerprint of the features, the version of
this drawing and the digest of the clip's file; what is kept is never wrong, so it can be removed at any time.
"""

import contextlib
import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from cache import StoreReader
from cache.outfile import write_atomically
from infer.picture import loudest

MIME = "image/webp"
MAX_COLUMNS = 600
FOLDER = ".thumbnails"
_VERSION = 1  # to be raised with every change of the pixels
_QUALITY = 82
_MAGIC = b"RIFF"


def colour_ramp(n_colours: int = 256) -> npt.NDArray[np.uint8]:
    """Return the colours from the least to the greatest value: [n_colours, 3], red, green and blue."""
    return (colormaps["magma"](np.linspace(0, 1, n_colours))[:, :3] * 255).round().astype(np.uint8)


def draw_thumbnail(frames: npt.NDArray[np.floating]) -> bytes:
    """Draw frames [n_frames, n_bands] as the bytes of a WebP file."""
    columns = loudest(frames, math.ceil(len(frames) / MAX_COLUMNS))
    low, high = float(columns.min()), float(columns.max())
    levels = (columns - low) / max(high - low, 1.0) * 255  # silence, whose frames are constant, is dark
    pixels = colour_ramp()[levels.round().astype(np.uint8)]
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1])).save(data, "webp", quality=_QUALITY)
    return data.getvalue()


class Thumbnails:
    """Thumbnails that are kept beside the runs.

    Parameters
    ----------
    folder : Path
        They stand below it; where it cannot be written, each is drawn anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, reader: StoreReader, clip: int) -> bytes:
        """Return a clip's thumbnail, as WebP.

        Parameters
        ----------
        reader : StoreReader
        clip : int
            Its place in the reader.
        """
        path = self._folder / f"{reader.fingerprint}-{_VERSION}" / f"{reader.keys[clip].digest}.webp"
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if data.startswith(_MAGIC):
                return data
        data = draw_thumbnail(reader[clip])
        with contextlib.suppress(OSError):  # a picture that cannot be kept is still a picture
            write_atomically(path, lambda part: part.write_bytes(data))
        return data
