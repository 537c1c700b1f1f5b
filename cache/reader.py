"""Reading a store: frames on the mapped bytes, without HDF5 on the way.

Conventions
-----------
HDF5 is asked once, when the store is opened, where the frames lie; then the bytes are mapped, shard by shard, when they
are first needed in a process. A reader holds no HDF5 handle and no lock: it can be forked and pickled, and what it
pickles is arrays. A clip's CRC-32 is checked when the process first reads the clip. Frames are ``[n_frames, n_mels]``,
time-major, in the stored type. A map costs an open file, so at most a quarter of those that the process may have are
kept mapped.
"""

import mmap
import operator
import os
import resource
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cache.errors import InputError, IntegrityError, NotFoundError
from cache.integrity import features
from cache.layout import SHARD_GLOB, USER_BLOCK_BYTES, Key, UserBlock, decode_name, encode_name
from cache.table import HINT, ShardTable, read_table, shard_paths

_NAMED = 3  # so many clips are named in a message


@dataclass(frozen=True, eq=False)
class _Clips:
    """The selected rows as columns, so that pickles are small and forked workers share the pages."""

    names: bytes
    name_ends: npt.NDArray[np.int64]
    digests: npt.NDArray[np.bytes_]
    shard: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    n_frames: npt.NDArray[np.int64]
    crc32: npt.NDArray[np.uint32]
    seconds: npt.NDArray[np.float64]


class StoreReader:
    """The selected clips of a mode's folder; made by :func:`open_store`.

    Attributes
    ----------
    path : str
        The mode's folder.
    mode, fingerprint : str
    settings : dict
        The mode's settings, as they were stored.
    n_mels : int
    dtype : numpy.dtype
        ``<f2`` or ``<f4``.
    n_frames : np.ndarray [shape=(n_clips,), int64]
        At least 1 each.
    seconds : np.ndarray [shape=(n_clips,), float64]
        Length of the decoded sources.
    """

    def __init__(self, path: str, table: ShardTable, blocks: list[UserBlock], clips: _Clips) -> None:
        self.path = path
        self.mode = table.mode
        self.fingerprint = table.fingerprint
        self.settings: dict[str, Any] = table.settings
        self.n_mels = table.n_mels
        self.dtype = table.dtype
        self._blocks = blocks
        self._clips = clips
        self._start_process()

    def _start_process(self) -> None:
        """Set what belongs to one process, and freeze the columns that are handed out."""
        self._maps: dict[int, npt.NDArray[np.floating]] = {}
        self._checked = np.zeros(len(self), dtype=bool)
        self.n_frames = self._clips.n_frames
        self.seconds = self._clips.seconds
        for column in (self.n_frames, self.seconds):
            column.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        own = {"_maps", "_checked", "n_frames", "seconds", "names", "keys"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_process()

    def __len__(self) -> int:
        return len(self._clips.start)

    def __repr__(self) -> str:
        return f"<StoreReader {self.mode}: {len(self)} clips in {self.path}>"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The clips' names, in order."""
        ends = self._clips.name_ends.tolist()
        data = self._clips.names
        return tuple(decode_name(data[first:last]) for first, last in zip([0, *ends], ends, strict=False))

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """(name, digest) of the clips, in order."""
        digests = (digest.decode("ascii") for digest in self._clips.digests.tolist())
        return tuple(map(Key, self.names, digests))

    def __getitem__(self, clip: SupportsIndex) -> npt.NDArray[np.floating]:
        """Give the frames of one clip, without copying them.

        Parameters
        ----------
        clip : int
            Position; negative ones count from the end.

        Returns
        -------
        np.ndarray [shape=(n_frames, n_mels), float16 or float32]
            Read-only, on the mapped bytes.

        Raises
        ------
        IndexError
            There is no such position.
        IntegrityError
            The frames do not match their CRC-32, or the shard is not the one that was opened.
        """
        index = self._index(clip)
        if not self._checked[index]:
            self.verify_clip(index)
        return self._frames(index)

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        return (self[clip] for clip in range(len(self)))

    def verify_clip(self, clip: SupportsIndex) -> None:
        """Compare a clip's frames with their CRC-32, whether or not that was done before.

        Raises
        ------
        IndexError
            There is no such position.
        IntegrityError
            They differ; the shard and the clip are named.
        """
        index = self._index(clip)
        if zlib.crc32(self._frames(index).data) != self._clips.crc32[index]:
            path = os.path.join(self.path, self._blocks[self._clips.shard[index]].shard_name)
            msg = f"shard {path}: the frames of clip {self.names[index]!r} do not match their CRC-32; {HINT}"
            raise IntegrityError(msg)
        self._checked[index] = True

    def gather(self, clips: npt.ArrayLike, starts: npt.ArrayLike, n_frames: int) -> npt.NDArray[np.floating]:
        """Copy one window of each of several clips.

        Parameters
        ----------
        clips : array_like [shape=(n_windows,), int]
            Positions, from 0.
        starts : array_like [shape=(n_windows,), int]
            First frame of each window, from 0.
        n_frames : int >= 1
            Length of every window.

        Returns
        -------
        np.ndarray [shape=(n_windows, n_frames, n_mels), float16 or float32]
            A new array in the stored type.

        Raises
        ------
        InputError
            A window does not lie within its clip, or there is no such clip.
        IntegrityError
            As for reading one clip.
        """
        chosen, first = np.asarray(clips, dtype=np.int64), np.asarray(starts, dtype=np.int64)
        self._check_windows(chosen, first, n_frames)
        for index in chosen[~self._checked[chosen]].tolist():
            if not self._checked[index]:
                self.verify_clip(index)
        windows = np.empty((len(chosen), n_frames, self.n_mels), dtype=self.dtype)
        shards = self._clips.shard[chosen].tolist()
        rows = (self._clips.start[chosen] + first).tolist()
        for window, shard, row in zip(windows, shards, rows, strict=True):
            window[:] = self._shard_frames(shard)[row : row + n_frames]
        return windows

    def _check_windows(self, clips: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], n_frames: int) -> None:
        if clips.ndim != 1 or clips.shape != starts.shape:
            msg = f"clips and starts must be one-dimensional and equally long; got {clips.shape} and {starts.shape}"
            raise InputError(msg)
        if n_frames < 1:
            msg = f"a window must have at least 1 frame; got n_frames={n_frames}"
            raise InputError(msg)
        wrong = (clips < 0) | (clips >= len(self))
        if wrong.any():
            msg = f"clips must be in 0 … {len(self) - 1}; got {clips[wrong][0]}"
            raise InputError(msg)
        wrong = (starts < 0) | (starts + n_frames > self.n_frames[clips])
        if wrong.any():
            clip, start = clips[wrong][0], starts[wrong][0]
            msg = f"clip {self.names[clip]!r} has {self.n_frames[clip]} frames; window {start} … {start + n_frames}"
            raise InputError(msg)

    def _index(self, clip: SupportsIndex) -> int:
        index = operator.index(clip)
        if not -len(self) <= index < len(self):
            msg = f"clip {index} of a reader of {len(self)} clips"
            raise IndexError(msg)
        return index % len(self)

    def _frames(self, index: int) -> npt.NDArray[np.floating]:
        start = int(self._clips.start[index])
        return self._shard_frames(int(self._clips.shard[index]))[start : start + int(self.n_frames[index])]

    def _shard_frames(self, shard: int) -> npt.NDArray[np.floating]:
        """Give the mapped frames of a shard ``[total_frames, n_mels]``."""
        frames = self._maps.get(shard)
        if frames is None:
            while len(self._maps) >= _max_maps():
                self._maps.pop(next(iter(self._maps)))
            frames = self._maps[shard] = self._map(self._blocks[shard])
        return frames

    def _map(self, block: UserBlock) -> npt.NDArray[np.floating]:
        path = Path(self.path, block.shard_name)
        try:
            with path.open("rb", buffering=0) as file:
                found = (os.fstat(file.fileno()).st_size, file.read(USER_BLOCK_BYTES))
                # A map of a file that is cut short ends the process when it is read: the length comes first.
                if found != (block.file_bytes, block.pack()):
                    msg = f"shard {path} is not the one that was opened: open the store anew"
                    raise IntegrityError(msg)
                mapped = mmap.mmap(file.fileno(), block.file_bytes, access=mmap.ACCESS_READ)
        except IntegrityError:
            raise
        except OSError as error:
            msg = f"shard {path} cannot be read any more ({error.strerror}): open the store anew"
            raise IntegrityError(msg) from error
        count = block.frames_bytes // self.dtype.itemsize
        return np.frombuffer(mapped, self.dtype, count, block.frames_offset).reshape(-1, self.n_mels)


def _max_maps() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 65536 if limit == resource.RLIM_INFINITY else max(limit // 4, 1)


def open_store(path: str | os.PathLike[str], keys: Sequence[Key] | None = None) -> StoreReader:
    """Open a mode's folder for reading.

    Parameters
    ----------
    path : path
        ``<store>/<mode>-<fingerprint>``.
    keys : sequence of (name, digest), optional
        The clips to read, in this order. Without them: the current row of every name, where it has frames, sorted by
        name; current is the row in the shard with the highest generation.

    Returns
    -------
    StoreReader

    Raises
    ------
    NotFoundError
        There is no such folder, it holds no shard, or a key has no row or no frames.
    IntegrityError
        A shard fails its checks, or the shards hold different features.
    """
    folder = Path(path).absolute()
    tables = [read_table(shard) for shard in shard_paths(folder)]
    if not tables:
        raise NotFoundError(_no_shards(folder))
    for table in tables:
        if features(table) != features(tables[0]):
            msg = (
                f"{folder} holds different features: {tables[0].path.name} has {features(tables[0])}, "
                f"{table.path.name} has {features(table)}; move one away"
            )
            raise IntegrityError(msg)
    places = _current_places(tables) if keys is None else _places_of(keys, tables, folder)
    used = sorted({shard for shard, _ in places})
    blocks = [tables[shard].block for shard in used]
    return StoreReader(str(folder), tables[-1], blocks, _columns(places, tables, used))


def _no_shards(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no store at {folder}: run `cli featurize`, or give --store"
    below = sorted({shard.parent.name for shard in folder.glob(f"*/{SHARD_GLOB}")})
    if below:
        return f"{folder} holds no shards itself: open one of its folders ({', '.join(below)})"
    return f"{folder} holds no shards: run `cli featurize`"


def _current_places(tables: list[ShardTable]) -> list[tuple[int, int]]:
    """Give (shard, row) of the current row of each name, sorted by name, without those that have a problem."""
    current = {name: (shard, row) for shard, table in enumerate(tables) for row, name in enumerate(table.names)}
    return [place for _, place in sorted(current.items()) if not tables[place[0]].problems[place[1]]]


def _places_of(keys: Sequence[Key], tables: list[ShardTable], folder: Path) -> list[tuple[int, int]]:
    """Give (shard, row) of each key."""
    known = {key: (shard, row) for shard, table in enumerate(tables) for row, key in enumerate(table.keys)}
    without: list[str] = []
    places: list[tuple[int, int]] = []
    for key in map(Key._make, keys):
        place = known.get(key)
        if place is None:
            without.append(f"{key.name!r} (not featurized)")
        elif problem := tables[place[0]].problems[place[1]]:
            without.append(f"{key.name!r} (quarantined: {problem})")
        else:
            places.append(place)
    if without:
        listed = ", ".join(without[:_NAMED]) + (", …" if len(without) > _NAMED else "")
        msg = (
            f"{len(without)} of {len(keys)} clips have no frames in {folder}: {listed}; "
            "run `cli featurize`, and leave quarantined clips out"
        )
        raise NotFoundError(msg)
    return places


def _columns(places: list[tuple[int, int]], tables: list[ShardTable], used: list[int]) -> _Clips:
    """Gather the columns of the selected rows."""
    first_row = dict(zip(used, np.cumsum([0] + [len(tables[shard].names) for shard in used]).tolist(), strict=False))
    rows = np.array([first_row[shard] + row for shard, row in places], dtype=np.int64)

    def column(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        parts = [np.asarray(getattr(tables[shard], name), dtype) for shard in used]
        return np.concatenate([np.empty(0, dtype), *parts])[rows]

    names = [encode_name(tables[shard].names[row]) for shard, row in places]
    start = column("start", np.int64)
    return _Clips(
        names=b"".join(names),
        name_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        digests=column("digests", "S64"),
        shard=np.searchsorted(used, [shard for shard, _ in places]).astype(np.int64),
        start=start,
        n_frames=column("stop", np.int64) - start,
        crc32=column("crc32", np.uint32),
        seconds=column("seconds", np.float64),
    )
