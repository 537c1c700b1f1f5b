"""A shard as HDF5 sees it: laying it out, and checking what other programs will read.

Conventions
-----------
HDF5 lays a file out in memory, never on the disk. It reads one only to seal or verify it, after the file's bytes have
been checked: it never parses damaged ones.
"""

import io
import json
import operator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from cache.columns import Rows, Texts, pack_index
from cache.errors import IntegrityError
from cache.layout import FORMAT_VERSION, USER_BLOCK_BYTES
from cache.table import ShardTable

_ALIGNMENT_BYTES = 64  # a cache line


@dataclass(frozen=True)
class Header:
    """What the rows of a shard have in common.

    Attributes
    ----------
    mode, fingerprint : str
    settings, versions : dict
        As JSON can hold them.
    n_mels : int
    dtype : numpy.dtype
        ``<f2`` or ``<f4``.
    """

    mode: str
    fingerprint: str
    settings: dict[str, Any]
    versions: dict[str, Any]
    n_mels: int
    dtype: np.dtype[np.floating]


@dataclass(frozen=True)
class Layout:
    """A file of HDF5 up to the frames, which end it.

    Attributes
    ----------
    structure : bytes
        Begins with a user block of zeros.
    frames_offset : int
        0 where there are no frames.
    index_offset, index_bytes : int
    """

    structure: bytes
    frames_offset: int
    index_offset: int
    index_bytes: int


def lay_out(header: Header, rows: Rows) -> Layout:
    """Let HDF5 lay a shard out.

    Parameters
    ----------
    header : Header
    rows : Rows
        Sorted by name and digest.
    """
    image = io.BytesIO()
    index = pack_index({**vars(header), "dtype": header.dtype.name}, rows)
    # Frames that begin on a cache line are numbers at their own alignment, and so are most rows.
    with h5py.File(
        image,
        "w",
        userblock_size=USER_BLOCK_BYTES,
        libver=("earliest", "v108"),
        alignment_threshold=1,
        alignment_interval=_ALIGNMENT_BYTES,
    ) as h5:
        _write_attributes(h5, header)
        _write_clips(h5, rows)
        h5.create_dataset("index", data=np.frombuffer(index, np.uint8))
        shape = (int(rows.stop[-1]), header.n_mels)
        offset = next(iter(reserve_frames(h5, shape, header.dtype, chunk_rows=shape[0])[1]), 0)
    structure = image.getvalue()
    if offset and offset < len(structure):
        # Releases of HDF5 differ in whether a chunk's address counts the user block; the check after writing, which
        # reads rows through HDF5, would find a wrong guess.
        offset += USER_BLOCK_BYTES
    return Layout(structure.ljust(offset, b"\0"), offset, structure.index(index), len(index))


def _write_attributes(h5: h5py.File, header: Header) -> None:
    h5.attrs["format_version"] = FORMAT_VERSION
    for name in ("mode", "fingerprint"):
        h5.attrs[name] = getattr(header, name)
    for name in ("settings", "versions"):
        h5.attrs[name] = json.dumps(getattr(header, name), sort_keys=True)


def _write_clips(h5: h5py.File, rows: Rows) -> None:
    clips = h5.create_group("clips")
    text = h5py.string_dtype("utf-8")
    clips.create_dataset("name", data=np.array(rows.names.tolist(), dtype=object), dtype=text)
    clips.create_dataset("start", data=np.concatenate([[0], rows.stop[:-1]]).astype("<i8"))
    clips.create_dataset("stop", data=rows.stop.astype("<i8"))
    clips.create_dataset("digest", data=np.array(rows.hex_digests, dtype="S64"))
    clips.create_dataset("crc32", data=rows.crc32.astype("<u4"))
    clips.create_dataset("seconds", data=rows.seconds.astype("<f8"))
    clips.create_dataset("problem", data=np.array(rows.problems.tolist(), dtype=object), dtype=text)


def reserve_frames(
    parent: h5py.Group, shape: tuple[int, int], dtype: np.dtype[np.floating], *, chunk_rows: int
) -> tuple[Any, list[int]]:
    """Make the dataset ``frames``, its bytes reserved but not written.

    Parameters
    ----------
    parent : h5py.Group
    shape : (int, int)
        Frames and mels.
    dtype : numpy.dtype
    chunk_rows : int
        Frames of a chunk.

    Returns
    -------
    h5py.h5d.DatasetID
    list of int
        Where HDF5 says that each chunk lies, in their order; none where there are no frames. Releases of HDF5 differ
        in whether that counts the user block.
    """
    if not shape[0]:
        return parent.create_dataset("frames", shape=shape, dtype=dtype).id, []
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((chunk_rows, shape[1]))
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    stored_type = h5py.h5t.py_create(dtype, logical=True)
    frames = h5py.h5d.create(parent.id, b"frames", stored_type, h5py.h5s.create_simple(shape), settings)
    chunks: list[Any] = []
    frames.chunk_iter(chunks.append)
    chunks.sort(key=lambda chunk: chunk.chunk_offset)
    return frames, [int(chunk.byte_offset) for chunk in chunks]


def check_hdf5(table: ShardTable) -> None:
    """Check that HDF5 reads from a shard what its index and user block say.

    Raises
    ------
    IntegrityError
        The reason, without the path: attributes or rows that differ from the index, rows that are not sorted, frames
        that lie elsewhere, or other values than the bytes hold.
    """
    try:
        # Through a file object HDF5 takes no lock, whatever the environment says, and does not mind other handles on
        # the file. Without chunk cache a handle costs no megabytes.
        with table.path.open("rb") as file, h5py.File(file, "r", rdcc_nbytes=0) as h5:
            _check_attributes(dict(h5.attrs), table)
            _check_clips(h5["clips"], table)
            _check_frames_place(h5["frames"], table)
            _check_frames(h5["frames"], table)
    except IntegrityError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        msg = f"HDF5 cannot read it ({error})"
        raise IntegrityError(msg) from error


def _check_attributes(attributes: dict[str, Any], table: ShardTable) -> None:
    found = {"format_version": int(attributes["format_version"])}
    found |= {name: attributes[name] for name in ("mode", "fingerprint")}
    found |= {name: json.loads(attributes[name]) for name in ("settings", "versions")}
    wanted = {"format_version": FORMAT_VERSION, **{name: getattr(table, name) for name in list(found)[1:]}}
    for name, value in wanted.items():
        if found[name] != value:
            msg = f"its attribute {name} is {found[name]!r}, its index says {value!r}"
            raise IntegrityError(msg)


def _check_clips(clips: h5py.Group, table: ShardTable) -> None:
    wanted: dict[str, np.ndarray[Any, Any]] = {
        "start": table.start,
        "stop": table.stop,
        "crc32": table.rows.crc32,
        "seconds": table.rows.seconds,
        "digest": np.array(table.rows.hex_digests, "S64"),
    }
    for name, column in wanted.items():
        if not np.array_equal(clips[name][:], column):
            msg = f"/clips/{name} differs from its index"
            raise IntegrityError(msg)
    texts: dict[str, Texts] = {"name": table.rows.names, "problem": table.rows.problems}
    for name, text in texts.items():
        if clips[name][:].tolist() != text.tolist():
            msg = f"/clips/{name} differs from its index"
            raise IntegrityError(msg)
    if not all(map(operator.lt, table.keys, table.keys[1:])):
        raise IntegrityError("the rows of /clips are not sorted by name and digest, each once")


def _check_frames_place(frames: h5py.Dataset, table: ShardTable) -> None:
    """Compare the chunk that HDF5 finds with the bytes that the user block names."""
    block = table.block
    total = block.frames_bytes // (table.n_mels * table.dtype.itemsize)
    if frames.dtype != table.dtype or frames.shape != (total, table.n_mels):
        msg = f"/frames is {frames.dtype.str}{frames.shape} instead of {table.dtype.str}{(total, table.n_mels)}"
        raise IntegrityError(msg)
    chunks: list[Any] = []
    if frames.chunks is not None:
        frames.id.chunk_iter(chunks.append)
    if not chunks and not block.frames_bytes:
        return
    # Releases of HDF5 differ in whether a chunk's address counts the user block.
    places = [(block.frames_offset - shift, block.frames_bytes, 0) for shift in (0, USER_BLOCK_BYTES)]
    found = [(chunk.byte_offset, chunk.size, chunk.filter_mask) for chunk in chunks]
    if len(found) != 1 or found[0] not in places or frames.compression:
        msg = f"/frames is not the one plain chunk that the user block names: HDF5 finds {found}"
        raise IntegrityError(msg)


def _check_frames(frames: h5py.Dataset, table: ShardTable) -> None:
    """Compare the first and the last row as HDF5 reads them with the bytes in the file."""
    block = table.block
    if not block.frames_bytes:
        return
    row_bytes = table.n_mels * table.dtype.itemsize
    with table.path.open("rb") as file:
        for row, offset in ((0, block.frames_offset), (-1, block.frames_offset + block.frames_bytes - row_bytes)):
            file.seek(offset)
            if frames[row].tobytes() != file.read(row_bytes):
                raise IntegrityError("HDF5 reads other values from /frames than the bytes that the user block names")
