"""Reading a store: frames on the mapped bytes, without HDF5 on the way.

Conventions
-----------
When a store is opened, its rows become a few arrays; the frames' bytes are mapped, shard by shard, when they are first
needed in a process. A reader holds no HDF5 handle and no lock: it can be forked, and pickled in a few hundred bytes
(:mod:`cache.sharing`). A clip's CRC-32 is checked when the process first reads the clip. Frames are
``[n_frames, n_mels]``, time-major, in the stored type. The frames of all shards are one array (:mod:`cache.mapping`),
so that a batch is gathered without a step of Python for each window.
"""

import json
import operator
import os
import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cache.columns import Texts, to_hex
from cache.errors import InputError, IntegrityError
from cache.layout import USER_BLOCK_BYTES, Key, UserBlock, decode_name
from cache.mapping import FrameMap
from cache.regular import open_regular
from cache.sharing import SharedArrays
from cache.table import HINT


class StoreReader:
    """The selected clips of a mode's folder; made by :func:`cache.opening.open_store`.

    Parameters
    ----------
    path : str
        The mode's folder.
    columns : SharedArrays
        What the shards have in common, as JSON (``header``); the shards' user blocks (``blocks``); of each clip its
        name, digest, shard, first row in the shard's frames, count of frames, CRC-32 and seconds.

    Attributes
    ----------
    path : str
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
    frames : np.ndarray [shape=(n,), float16 or float32]
        The numbers of all clips, at places that :meth:`locate` tells, and only there: elsewhere nothing is mapped, and
        reading it ends the process.
    """

    def __init__(self, path: str, columns: SharedArrays) -> None:
        self.path = path
        self._columns = columns
        header = json.loads(columns["header"].tobytes())
        self.mode: str = header["mode"]
        self.fingerprint: str = header["fingerprint"]
        self.settings: dict[str, Any] = header["settings"]
        self.n_mels: int = header["n_mels"]
        self.dtype = np.dtype(header["dtype"])
        self.n_frames: npt.NDArray[np.int64] = columns["n_frames"]
        self.seconds: npt.NDArray[np.float64] = columns["seconds"]
        self._blocks = [UserBlock.unpack(block.tobytes()) for block in columns["blocks"]]
        self._map = FrameMap([(block.frames_offset, block.frames_bytes) for block in self._blocks])
        self.frames = self._map.array(self.dtype)
        # Of each clip its first number in the array of all frames.
        shard_first = np.array(self._map.first, np.int64)[columns["shard"]] // self.dtype.itemsize
        self._first = shard_first + columns["start"] * self.n_mels
        self._checked = np.zeros(len(self), bool)  # one that is checked is also mapped
        self._all_checked = False
        self._runs = np.empty((0, 0), self.dtype)

    def __reduce__(self) -> tuple[type["StoreReader"], tuple[str, SharedArrays]]:
        return StoreReader, (self.path, self._columns)

    def __len__(self) -> int:
        return len(self.n_frames)

    def __repr__(self) -> str:
        return f"<StoreReader {self.mode}: {len(self)} clips in {self.path}>"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The clips' names, in order."""
        return tuple(map(decode_name, Texts(self._columns["names"], self._columns["name_ends"]).tolist()))

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """(name, digest) of the clips, in order."""
        return tuple(map(Key, self.names, to_hex(self._columns["digests"])))

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
        first, n_frames = int(self._first[index]), int(self.n_frames[index])
        return self.frames[first : first + n_frames * self.n_mels].reshape(n_frames, self.n_mels)

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
        self._check([self._index(clip)])

    def _check(self, clips: list[int]) -> None:
        """Map clips, begin to read all of them, and compare each with its CRC-32."""
        size, first = self.dtype.itemsize, self._first[clips]
        spans = np.stack([self._columns["shard"][clips], first, first + self.n_frames[clips] * self.n_mels], axis=1)
        for shard, first, last in spans.tolist():
            if not self._map.has(shard):
                self._map_shard(shard)
            self._map.will_need(first * size, last * size)
        for clip, (shard, first, last) in zip(clips, spans.tolist(), strict=True):
            if zlib.crc32(self.frames[first:last].data) != self._columns["crc32"][clip]:
                path = os.path.join(self.path, self._blocks[shard].shard_name)
                msg = f"shard {path}: the frames of clip {self.names[clip]!r} do not match their CRC-32; {HINT}"
                raise IntegrityError(msg)
            self._checked[clip] = True

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
        return self.copy_windows(self.locate(clips, starts, n_frames), n_frames)

    def copy_windows(self, offsets: npt.NDArray[np.int64], n_frames: int) -> npt.NDArray[np.floating]:
        """Copy the windows of checked clips that begin at these places of :attr:`frames`.

        Parameters
        ----------
        offsets : np.ndarray [shape=(n_windows,), int64]
            As :meth:`locate` gives them.
        n_frames : int >= 1

        Returns
        -------
        np.ndarray [shape=(n_windows, n_frames, n_mels), float16 or float32]
            A new array in the stored type.
        """
        length = n_frames * self.n_mels
        if not len(offsets):
            return np.empty((0, n_frames, self.n_mels), self.dtype)
        if self._runs.shape[1] != length:
            # Every run of this length, wherever it begins: they overlap, and only those asked for are touched.
            shape, step = (len(self.frames) - length + 1, length), self.dtype.itemsize
            self._runs = np.ndarray(shape, self.dtype, self.frames.data, strides=(step, step))
        return self._runs[offsets].reshape(-1, n_frames, self.n_mels)

    def locate(self, clips: npt.ArrayLike, starts: npt.ArrayLike, n_frames: int) -> npt.NDArray[np.int64]:
        """Tell where windows begin in :attr:`frames`; each is ``n_frames * n_mels`` numbers from there.

        Parameters
        ----------
        clips, starts, n_frames
            As for :meth:`gather`.

        Returns
        -------
        np.ndarray [shape=(n_windows,), int64]

        Raises
        ------
        InputError, IntegrityError
            As for :meth:`gather`: the clips are checked.
        """
        chosen, first = _whole_numbers(clips, "clips"), _whole_numbers(starts, "starts")
        placed = self.place(chosen, first, n_frames)
        self.check(chosen)
        return placed

    def check(self, clips: npt.NDArray[np.int64]) -> None:
        """Map clips and compare them with their CRC-32, where this process has not done so yet.

        Parameters
        ----------
        clips : np.ndarray [shape=(n,), int64]
            Positions, from 0.

        Raises
        ------
        IntegrityError
            As for reading one clip.
        """
        if self._all_checked:  # from the second epoch on
            return
        checked = self._checked.take(clips)
        if not np.logical_and.reduce(checked):
            self._check(np.unique(clips[~checked]).tolist())
            self._all_checked = bool(self._checked.all())

    def place(
        self, clips: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], n_frames: int
    ) -> npt.NDArray[np.int64]:
        """Do as :meth:`locate`, without reading the clips: they have to be checked before they are read.

        Places are the same in every process that has the reader from this one.
        """
        self._check_windows(clips, starts, n_frames)
        placed: npt.NDArray[np.int64] = self._first.take(clips) + starts * self.n_mels
        return placed

    def _check_windows(self, clips: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], n_frames: int) -> None:
        if clips.ndim != 1 or clips.shape != starts.shape:
            msg = f"clips and starts must be one-dimensional and equally long; got {clips.shape} and {starts.shape}"
            raise InputError(msg)
        if not 1 <= n_frames < 2**31:
            msg = f"a window must have 1 … 2147483647 frames; got n_frames={n_frames}"
            raise InputError(msg)
        # A number or its distance from the limit is below 0 where it is wrong, and so is the "or" of all of them then:
        # comparing each would take three times as long, which shows in batches of 64.
        last = len(self.n_frames) - 1
        if np.bitwise_or.reduce(clips | (last - clips)) < 0:
            wrong = clips[(clips < 0) | (clips > last)]
            msg = f"clips must be in 0 … {last}; got {wrong[0]}"
            raise InputError(msg)
        left = self.n_frames.take(clips) - n_frames - starts
        if np.bitwise_or.reduce(starts | left) < 0:
            wrong = np.flatnonzero((starts < 0) | (left < 0))
            clip, start = clips[wrong[0]], starts[wrong[0]]
            msg = f"clip {self.names[clip]!r} has {self.n_frames[clip]} frames; window {start} … {start + n_frames}"
            raise InputError(msg)

    def _index(self, clip: SupportsIndex) -> int:
        index = operator.index(clip)
        if not -len(self) <= index < len(self):
            msg = f"clip {index} of a reader of {len(self)} clips"
            raise IndexError(msg)
        return index % len(self)

    def _map_shard(self, shard: int) -> None:
        block = self._blocks[shard]
        path = os.path.join(self.path, block.shard_name)
        try:
            with open_regular(path) as file:
                found = (os.fstat(file.fileno()).st_size, file.read(USER_BLOCK_BYTES))
                # A map of a file that is cut short ends the process when it is read: the length comes first.
                if found != (block.file_bytes, block.pack()):
                    msg = f"shard {path} is not the one that was opened: open the store anew"
                    raise IntegrityError(msg)
                self._map.map(shard, file.fileno())
        except IntegrityError:
            raise
        except OSError as error:
            msg = f"shard {path} cannot be read any more ({error.strerror or error}): open the store anew"
            raise IntegrityError(msg) from error


def _whole_numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        msg = f"{name} must be whole numbers; got {array.dtype}"
        raise InputError(msg)
    return array.astype(np.int64, copy=False)
