"""Frames that a store has of a file, whatever the file is called.

Conventions
-----------
A file is known by the SHA-256 of its bytes. What a store cannot give, for whatever reason, is computed anew by whoever
asks.
"""

from functools import cache
from pathlib import Path

from cache import StoreReader, open_store
from cache.errors import IntegrityError, NotFoundError
from featurize.modes import FeatureMode
from featurize.sources import look
from infer.tagger import Frames


class StoredFrames:
    """The frames of a mode's folder, by the digest of their files.

    Parameters
    ----------
    reader : StoreReader
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._clip = {key.digest: clip for clip, key in enumerate(reader.keys)}

    def find(self, digest: str) -> tuple[Frames, float] | None:
        """Return frames [n_frames, n_mels] and the length of the file in seconds; None where it has none."""
        clip = self._clip.get(digest)
        try:
            return None if clip is None else (self._reader[clip], float(self._reader.seconds[clip]))
        except IntegrityError:
            return None


def find_frames(path: str, store: Path, modes: list[FeatureMode]) -> tuple[dict[str, Frames], float] | None:
    """Return a file's frames in all of some modes, and its length in seconds.

    Returns
    -------
    ({mode: frames}, float) or None
        None where the store lacks it in one of the modes, or the file cannot be read.
    """
    stores = {mode.name: _open(store / f"{mode.name}-{mode.fingerprint()}") for mode in modes}
    if not all(stores.values()):
        return None
    source = look("", path)
    if source.problem:
        return None
    found = {name: stored.find(source.digest) for name, stored in stores.items() if stored}
    frames = {name: part[0] for name, part in found.items() if part}
    seconds = [part[1] for part in found.values() if part]
    return (frames, seconds[0]) if len(frames) == len(modes) else None


@cache
def _open(folder: Path) -> StoredFrames | None:
    """Open a mode's folder once a process."""
    try:
        return StoredFrames(open_store(folder)) if folder.is_dir() else None
    except (NotFoundError, IntegrityError):
        return None
