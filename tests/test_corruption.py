"""Thousands of seeded corruptions of a small store: every one is found, none reaches a network as numbers.

Each case damages a whole store, verifies it, and reads all that it still gives. That happens in forked children, so
that a crash or a hang is told and laid to its case. Counts by kind and outcome are printed (``pytest -s``).
"""

import faulthandler
import json
import os
import random
import select
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_samples import make_row, user_block

from cache import ClipRow, Key, ShardPlan, StoreReader, open_store, verify_store, write_shard
from cache.errors import EarmarkError
from cache.layout import USER_BLOCK_BYTES, UserBlock, decode_name
from cache.table import read_table
from train.dataset import WindowDataset

WINDOW_FRAMES = 4
CASE_SECONDS = 30  # longer is a hang
LH, X, OTHER = "lh-0123456789ab", "x-ba9876543210", "lh-00000000ffff"
KINDS = (
    "one bit",
    "several bits",
    "random bytes",
    "zeros",
    "ones",
    "cut short",
    "appended",
    "swapped",
    "renamed",
    "all zeros",
    "foreign",
    "stretch of another",
    "hole",
    "user block edited",
)
Expected = dict[str, dict[Key, bytes]]


@dataclass(frozen=True)
class Sample:
    """A whole store in memory.

    ``files``: place → bytes; ``strange``: shards of a folder that is not in the store; ``frames``: folder → key → bytes
    of the frames; ``edges``: place → of each clip its name and where its bytes begin and end in the file.
    """

    files: dict[str, bytes]
    strange: dict[str, bytes]
    frames: Expected
    edges: dict[str, list[tuple[str, int, int]]]


def write(folder: Path, rows: list[ClipRow], generation: int = 0) -> None:
    mode, fingerprint = folder.name.split("-")
    settings = {"settings": {"name": mode}, "mode": mode, "fingerprint": fingerprint, "versions": {}}
    plan = ShardPlan.of((row.key for row in rows), generation=generation)
    n_mels, dtype = (8, "float16") if mode == "lh" else (5, "float32")
    write_shard(folder, plan, rows, n_mels=n_mels, dtype=dtype, **settings)


def rows_of(mode: str, names: list[str], **settings: Any) -> list[ClipRow]:
    form = {"n_mels": 8, "dtype": "float16"} if mode == "lh" else {"n_mels": 5, "dtype": "float32"}
    return [make_row(name, WINDOW_FRAMES + 7 * place, **form, **settings) for place, name in enumerate(names)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Two folders of two types, six shards; the same clips make shards of the same names in both."""
    store = tmp_path_factory.mktemp("whole")
    first = ["a.wav", "Tür/ümläut.wav", "日本.wav", "not-utf8-\udcff.wav"]
    second = [f"{number}.wav" for number in range(6)]
    for folder in (LH, X, OTHER):
        mode = folder.split("-")[0]
        problems = [make_row("no sound.wav", problem="cannot be decoded: ä")]
        write(store / folder, rows_of(mode, first) + (problems if mode == "lh" else []))
        write(store / folder, rows_of(mode, second))
        if folder == LH:
            write(store / folder, rows_of(mode, ["a.wav", "2.wav"], version="new"), generation=1)
            write(store / folder, [make_row("bad 1.wav", problem="holds no samples"), *problems], generation=2)
    files = {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.glob("*/*.h5"))}
    edges = {place: list(_edges(store / place)) for place in files}
    frames: Expected = {LH: {}, X: {}, OTHER: {}}
    for place, data in files.items():
        for key, (_, first, last) in zip(read_table(store / place).keys, edges[place], strict=True):
            frames[place.split("/")[0]][key] = data[first:last]
    inside = {place: data for place, data in files.items() if not place.startswith(OTHER)}
    assert len(inside) == 6
    return Sample(
        inside, {Path(place).name: data for place, data in files.items() if place not in inside}, frames, edges
    )


def _edges(path: Path) -> Iterator[tuple[str, int, int]]:
    table = read_table(path)
    row_bytes = table.n_mels * table.dtype.itemsize
    for name, start, stop in zip(table.names, table.start, table.stop, strict=True):
        yield (
            name,
            table.block.frames_offset + int(start) * row_bytes,
            table.block.frames_offset + int(stop) * row_bytes,
        )


# ------------------------------------------------------------------ damage


def damage(sample: Sample, kind: str, chance: random.Random) -> tuple[dict[str, bytes | None], set[str]]:
    """Give the files that change (None: gone), and the places that must be found bad."""
    while True:
        changed, bad = DAMAGE[kind](sample, chance)
        if any(sample.files.get(place) != data for place, data in changed.items() if data is not None):
            return changed, bad


def in_place(change: Callable[[bytearray, random.Random, Sample], bytes | bytearray | None]) -> Callable[..., Any]:
    """Turn a change of one shard's bytes into a damage; shards are drawn alike, and so are places near their ends."""

    def damage_one(sample: Sample, chance: random.Random) -> tuple[dict[str, bytes | None], set[str]]:
        place = chance.choice(list(sample.files))
        data = bytearray(sample.files[place])
        result = change(data, chance, sample)
        return {place: bytes(data if result is None else result)}, {place}

    return damage_one


def somewhere(data: bytearray, chance: random.Random) -> int:
    """Draw an offset into whole data: anywhere, or in the user block, in the structure, or in the frames."""
    frames = UserBlock.unpack(bytes(data[:USER_BLOCK_BYTES])).frames_offset or len(data) - 1
    regions = [(0, len(data)), (0, USER_BLOCK_BYTES), (USER_BLOCK_BYTES, frames), (frames, len(data))]
    return chance.randrange(*chance.choice(regions))


def flip_bits(data: bytearray, chance: random.Random, count: int) -> None:
    for place in [somewhere(data, chance) for _ in range(count)]:
        data[place] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random, fill: Callable[[int], bytes]) -> None:
    first = somewhere(data, chance)
    length = min(chance.choice([1, 8, 64, 600, 5000]), len(data) - first)
    data[first : first + length] = fill(length)


def copy_stretch(data: bytearray, chance: random.Random, sample: Sample) -> None:
    other = sample.files[chance.choice(list(sample.files))]
    first = somewhere(data, chance)
    # Mostly from the same place, where structures look alike.
    source = first if chance.random() < 0.7 else chance.randrange(len(other))
    stretch = other[source : source + chance.choice([4, 64, 512, 3000])]
    data[first : first + len(stretch)] = stretch[: len(data) - first]


def swap(sample: Sample, chance: random.Random) -> tuple[dict[str, bytes | None], set[str]]:
    one, two = chance.sample(list(sample.files), 2)
    return {one: sample.files[two], two: sample.files[one]}, {one, two}


def rename(sample: Sample, chance: random.Random) -> tuple[dict[str, bytes | None], set[str]]:
    one, two = chance.sample(list(sample.files), 2)
    if chance.random() < 0.4:
        name = f"shard-{chance.choice([0, 1, 9]):04d}-{chance.getrandbits(64):016x}.h5"
        two = str(Path(one).with_name(chance.choice([name, "shard-odd.h5", f"{Path(one).stem}-copy.h5"])))
    return {one: None, two: sample.files[one]}, {two}


def drop_foreign(sample: Sample, chance: random.Random) -> tuple[dict[str, bytes | None], set[str]]:
    folder = chance.choice([LH, X])
    others = {Path(place).name: data for place, data in sample.files.items() if not place.startswith(folder)}
    name, data = chance.choice(list((sample.strange if chance.random() < 0.5 else others).items()))
    changed: dict[str, bytes | None] = {f"{folder}/{name}": data}
    if chance.random() < 0.3:  # the stranger is alone
        changed = {place: None for place in sample.files if place.startswith(folder)} | changed
    return changed, {f"{folder}/{name}"}


def edit_block(data: bytearray, chance: random.Random, _: Sample) -> None:
    """Change fields or bytes of the user block, and make its CRC-32 right again."""
    block = UserBlock.unpack(bytes(data[:USER_BLOCK_BYTES]))
    field = chance.choice([None, *(field.name for field in fields(UserBlock))])
    if field is None:
        data[chance.randrange(USER_BLOCK_BYTES - 4)] = chance.randrange(256)
    else:
        old = getattr(block, field)
        numbers = [0, 1, 512, len(data), 2**32, 2**63, 2**64 - 1, chance.getrandbits(64)]
        numbers += [old + step for step in (-512, -64, -2, 2, 8, 512)] if isinstance(old, int) else []
        new: object = max(0, min(chance.choice(numbers), 2**64 - 1))
        if isinstance(old, bytes):
            new = chance.choice([bytes(32), chance.randbytes(32), block.sha256_all, block.sha256_structure])
        elif isinstance(old, str):
            new = chance.choice(["x", "shard-0000-0123456789abcdef.h5", old[:-1], old.upper()])
        data[:USER_BLOCK_BYTES] = replace(block, **{field: new}).pack()
    data[USER_BLOCK_BYTES - 4 : USER_BLOCK_BYTES] = struct.pack("<I", zlib.crc32(data[: USER_BLOCK_BYTES - 4]))


DAMAGE: dict[str, Callable[[Sample, random.Random], tuple[dict[str, bytes | None], set[str]]]] = {
    "one bit": in_place(lambda data, chance, _: flip_bits(data, chance, 1)),
    "several bits": in_place(lambda data, chance, _: flip_bits(data, chance, chance.randint(2, 20))),
    "random bytes": in_place(lambda data, chance, _: overwrite(data, chance, chance.randbytes)),
    "zeros": in_place(lambda data, chance, _: overwrite(data, chance, bytes)),
    "ones": in_place(lambda data, chance, _: overwrite(data, chance, lambda length: b"\xff" * length)),
    "cut short": in_place(
        lambda data, chance, _: data[: chance.choice([0, 511, 512, len(data) - 1, *[somewhere(data, chance)] * 4])]
    ),
    "appended": in_place(lambda data, chance, _: data + chance.choice([b"\0", chance.randbytes(9), bytes(data)])),
    "swapped": swap,
    "renamed": rename,
    "all zeros": in_place(lambda data, *_: bytes(len(data))),
    "foreign": drop_foreign,
    "stretch of another": in_place(copy_stretch),
    "hole": in_place(lambda data, chance, _: overwrite(data, chance, bytes)),
    "user block edited": in_place(edit_block),
}


def put(store: Path, changed: dict[str, bytes | None], *, sparse: bool = False) -> None:
    """Write files anew (what an earlier case has mapped stays as it is); with holes where they hold zeros."""
    for place, data in changed.items():
        path = store / place
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if data is None:
            continue
        with path.open("wb") as file:
            for first in range(0, len(data), 512) if sparse else []:
                block = data[first : first + 512]
                file.seek(len(block), os.SEEK_CUR) if not any(block) else file.write(block)
            file.truncate(len(data)) if sparse else file.write(data)


# ------------------------------------------------------------------ one case


def read_all(folder: Path, expected: dict[Key, bytes], reader: StoreReader | None = None) -> str:
    """Read every clip in every way; say how it went. Wrong numbers raise an AssertionError."""
    try:
        reader = reader or open_store(folder)
    except EarmarkError:
        return "refused at opening"
    refused = set()
    for index, key in enumerate(reader.keys):
        assert key in expected, f"a clip that was never stored: {key}"
        try:
            frames = reader[index]
        except EarmarkError:
            refused.add(index)
        else:
            assert frames.tobytes() == expected[key], f"wrong frames of {key.name!r}"
    for index in range(len(reader)):
        last = int(reader.n_frames[index]) - WINDOW_FRAMES
        for start in {0, last // 2, last}:
            try:
                window = reader.gather([index], [start], WINDOW_FRAMES)
            except EarmarkError:
                assert index in refused
            else:
                assert window.tobytes() == cut(reader, expected, index, start), "wrong window"
    read_batches(reader, expected)
    return "clips refused" if refused else "read, and right"


def cut(reader: StoreReader, expected: dict[Key, bytes], index: int, start: int) -> bytes:
    row_bytes = reader.n_mels * reader.dtype.itemsize
    return expected[reader.keys[index]][start * row_bytes : (start + WINDOW_FRAMES) * row_bytes]


def read_batches(reader: StoreReader, expected: dict[Key, bytes]) -> None:
    dataset = WindowDataset(reader, range(len(reader)), window_frames=WINDOW_FRAMES, overlap=0.5)
    for first in range(0, len(dataset), 7):
        indices = np.arange(first, min(first + 7, len(dataset)))
        try:
            windows, clips = dataset.__getitems__(indices)
        except EarmarkError:
            continue
        for window, clip in zip(windows.numpy(), clips.tolist(), strict=True):
            whole = np.frombuffer(expected[reader.keys[clip]], reader.dtype).reshape(-1, reader.n_mels)
            places = np.lib.stride_tricks.sliding_window_view(whole, WINDOW_FRAMES, axis=0).swapaxes(1, 2)
            assert (places == window).all(axis=(1, 2)).any(), "wrong batch"


def damaged_clips(sample: Sample, place: str, data: bytes) -> list[str] | None:
    """Name the clips whose frames differ; None where other bytes do as well."""
    whole = sample.files[place]
    frames_offset = UserBlock.unpack(whole[:USER_BLOCK_BYTES]).frames_offset or len(whole)
    if len(data) != len(whole) or data[:frames_offset] != whole[:frames_offset]:
        return None
    return [name for name, first, last in sample.edges[place] if data[first:last] != whole[first:last]]


def try_case(sample: Sample, store: Path, seed: int, number: int) -> tuple[str, str]:
    """Damage the store, verify it and read it; give kind and outcome."""
    kind = KINDS[number % len(KINDS)]
    chance = random.Random(f"{seed} {number}")
    changed, bad = damage(sample, kind, chance)
    put(store, changed, sparse=kind == "hole")
    try:
        folders = sorted({place.split("/")[0] for place in changed})
        # Now and then the folders that are whole are checked as well: that takes the longest.
        reports = [verify_store(store)] if number % 5 == 0 else [verify_store(store / folder) for folder in folders]
        found = {str(shard.path.relative_to(store)): shard for report in reports for shard in report.bad}
        assert set(found) == bad, f"verify found {sorted(found)} instead of {sorted(bad)}"
        names = {name for edges in sample.edges.values() for name, _, _ in edges}
        for place, shard in found.items():
            assert shard.reason
            assert names.issuperset(shard.clips)
            data = changed[place]
            clips = damaged_clips(sample, place, data) if data is not None and place in sample.files else None
            assert clips is None or shard.clips == clips
        outcomes = {read_all(store / folder, sample.frames[folder]) for folder in folders}
    finally:
        put(store, {place: sample.files.get(place) for place in changed})
    return kind, min(outcomes)


def try_late_case(sample: Sample, store: Path, seed: int, number: int) -> tuple[str, str]:
    """Damage the store between opening and reading."""
    kind = KINDS[number % len(KINDS)]
    changed, _ = damage(sample, kind, random.Random(f"late {seed} {number}"))
    readers = {folder: open_store(store / folder) for folder in (LH, X)}
    in_place_too = number // len(KINDS) % 2
    for place, data in changed.items():
        if in_place_too and data is not None and place in sample.files:
            with (store / place).open("r+b") as file:
                file.truncate(len(data))
                file.write(data)
        else:
            put(store, {place: data})
    try:
        outcomes = {read_all(store / folder, sample.frames[folder], readers[folder]) for folder in readers}
    finally:
        put(store, {place: sample.files.get(place) for place in changed})
    return kind, min(outcomes)


# ------------------------------------------------------------------ many cases, in children

Case = Callable[[Sample, Path, int, int], tuple[str, str]]


def run_cases(case: Case, sample: Sample, folder: Path, *, seed: int, count: int) -> Counter[tuple[str, str]]:
    """Run cases in forked children; a hang or a crash is the outcome of its case, and a new child goes on after it."""
    outcomes: Counter[tuple[str, str]] = Counter()
    number = 0
    while number < count:
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            work(case, sample, folder, seed, range(number, count), there)
        os.close(there)
        try:
            for line in lines_of(here):
                outcomes[tuple(json.loads(line))] += 1
                number += 1
        except TimeoutError:
            outcomes[f"case {number}", "HANG"] += 1
        finally:
            os.close(here)
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        if number < count:
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
                outcomes[f"case {number}", f"CRASH: {signal.Signals(os.WTERMSIG(status)).name}"] += 1
            number += 1
    return outcomes


def work(case: Case, sample: Sample, folder: Path, seed: int, numbers: range, pipe: int) -> None:
    """Run cases in the child, and write the outcome of each."""
    try:
        store = folder / f"{os.getpid()}"
        put_all(store, sample)
        for number in numbers:
            try:
                outcome = case(sample, store, seed, number)
            except Exception as error:
                outcome = (f"case {number}: {KINDS[number % len(KINDS)]}", f"WRONG: {type(error).__name__}: {error}")
            os.write(pipe, json.dumps(outcome).encode() + b"\n")
        os.close(pipe)
        while True:  # the parent ends it
            time.sleep(1)
    finally:
        os._exit(1)


def put_all(store: Path, sample: Sample) -> None:
    store.mkdir(parents=True)
    put(store, dict(sample.files))


def lines_of(pipe: int) -> Iterator[bytes]:
    buffer = b""
    while select.select([pipe], [], [], CASE_SECONDS)[0]:
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines
    raise TimeoutError


def show(outcomes: Counter[tuple[str, str]]) -> None:
    columns = sorted({outcome for _, outcome in outcomes})
    lines = [" | ".join([" " * 20, *columns])]
    lines += [
        " | ".join([f"{kind:<20}", *(f"{outcomes[kind, name]:>{len(name)}}" for name in columns)])
        for kind in sorted({kind for kind, _ in outcomes})
    ]
    sys.stderr.write("\n".join(["", *lines, f"{sum(outcomes.values())} cases", ""]))


GOOD = {"refused at opening", "clips refused", "read, and right"}
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def check(outcomes: Counter[tuple[str, str]], count: int) -> None:
    show(outcomes)
    assert {case: outcome for case, outcome in outcomes if outcome not in GOOD} == {}
    assert sum(outcomes.values()) == count
    assert {kind for kind, _ in outcomes} == set(KINDS)


@forks
def test_no_corruption_stays_unnoticed_or_does_harm(sample: Sample, tmp_path: Path) -> None:
    check(run_cases(try_case, sample, tmp_path, seed=1, count=300), 300)


@forks
def test_no_corruption_after_opening_does_harm(sample: Sample, tmp_path: Path) -> None:
    check(run_cases(try_late_case, sample, tmp_path, seed=2, count=200), 200)


@forks
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3, 7))
def test_ten_thousand_corruptions(sample: Sample, tmp_path: Path, seed: int) -> None:
    check(run_cases(try_case, sample, tmp_path, seed=seed, count=2_500), 2_500)


@forks
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_thousand_corruptions_after_opening(sample: Sample, tmp_path: Path) -> None:
    check(run_cases(try_late_case, sample, tmp_path, seed=3, count=3_000), 3_000)


@forks
def test_a_crash_a_hang_and_an_error_are_laid_to_their_cases(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CASE_SECONDS", 1)

    def case(sample: Sample, store: Path, seed: int, number: int) -> tuple[str, str]:
        if number == 3:
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGBUS)
        if number == 5:
            time.sleep(60)
        assert number != 7, "no"
        return KINDS[number], "read, and right"

    outcomes = run_cases(case, sample, tmp_path, seed=0, count=9)
    assert {case: outcome for case, outcome in outcomes if outcome not in GOOD} == {
        "case 3": "CRASH: SIGBUS",
        "case 5": "HANG",
        "case 7: swapped": "WRONG: AssertionError: no\nassert 7 != 7",
    }
    assert sum(outcomes.values()) == 9


def test_the_sample_is_what_the_cases_need(sample: Sample, tmp_path: Path) -> None:
    put_all(tmp_path / "store", sample)
    assert verify_store(tmp_path / "store").ok
    assert {folder: len(open_store(tmp_path / "store" / folder)) for folder in (LH, X)} == {LH: 10, X: 10}
    for folder in (LH, X):
        assert read_all(tmp_path / "store" / folder, sample.frames[folder]) == "read, and right"
    shared = Counter(Path(place).name for place in sample.files)
    assert 2 in shared.values()  # the same clips under the same name in two folders
    assert any(not user_block(tmp_path / "store" / place).frames_bytes for place in sample.files)
    assert decode_name(b"not-utf8-\xff.wav") in {key.name for key in sample.frames[LH]}
