"""Archives that nobody has looked into: what is wrong is said before anything is written, or nothing stays."""

import io
import stat
import struct
import zipfile
import zlib

import pytest
from competition_archives import zipped

import cache.space
import corpus.unzip
from cache.errors import CorpusError, NoSpaceError
from corpus.unzip import Unpacked, announced_sizes, directory_checksum, unpack

GOOD = {"audio/a.wav": b"sound" * 100, "audio/b.wav": b"", "table.csv": b"x,y\n"}


@pytest.fixture
def written(tmp_path):
    """Write an archive's bytes and give its path."""

    def write(data):
        (tmp_path / "in.zip").write_bytes(data)
        return tmp_path / "in.zip"

    return write


def special(name, mode, *, data=b"/etc/passwd", system=3):
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(info, data)
    return content.getvalue()


def patched(data, *, directory=None, local=None):
    """An archive whose first member's records hold other values: byte offset in the record → (struct code, value)."""
    data = bytearray(data)
    for signature, changes in ((b"PK\x01\x02", directory), (b"PK\x03\x04", local)):
        start = data.index(signature)
        for offset, (code, value) in (changes or {}).items():
            struct.pack_into(code, data, start + offset, value)
    return bytes(data)


def overlapping(n_members=50):
    """The bomb of Fifield (2019): each member's bytes are those of all that follow."""
    kernel = zipped({"k": b"\0" * 100_000})
    with zipfile.ZipFile(io.BytesIO(kernel)) as archive:
        first = archive.infolist()[0]
        body, end = kernel[: archive.start_dir], archive.start_dir
    out = bytearray(body)
    for number in range(n_members):
        name = f"{number:03}".encode()
        packed = (0, 20, 0, 8, 0, 0, first.CRC, first.compress_size, first.file_size, len(name), 0, 0, 0, 0, 0, 0)
        out += struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, *packed[1:]) + name
    out += struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, n_members, n_members, len(out) - end, end, 0)
    return bytes(out)


def test_members_get_their_places(written, tmp_path):
    unpacked, seen = Unpacked(), []
    path = written(zipped(GOOD, folders=("audio",)))
    place = {"audio/a.wav": "out/a.wav", "audio/b.wav": "out/b.wav"}.get
    unpack(path, tmp_path / "to", unpacked, place=place, progress=lambda *counts: seen.append(counts))
    assert unpacked.sizes == {"out/a.wav": 500, "out/b.wav": 0}
    assert unpacked.left_out == ["table.csv"]
    assert seen == [(500, 500)]
    found = {path.relative_to(tmp_path / "to").as_posix(): path.read_bytes() for path in tmp_path.glob("to/*/*")}
    assert found == {"out/a.wav": b"sound" * 100, "out/b.wav": b""}
    assert announced_sizes(path, place=place) == unpacked.sizes


def test_permissions_of_the_archive_do_not_count(written, tmp_path):
    unpack(written(special("a", stat.S_IFREG | 0o4777)), tmp_path / "to", Unpacked(), place=str)
    assert (tmp_path / "to" / "a").stat().st_mode & 0o7111 == 0


HARMFUL = {
    "leads up": (zipped({"../a": b""}), r"'\.\./a', which leads out of its folder"),
    "leads up later": (zipped({"a/../../b": b""}), "leads out of its folder"),
    "absolute": (zipped({"/etc/passwd": b""}), "'/etc/passwd', which is no relative path"),
    "drive": (zipped({"C:/a": b""}), "'C:/a', which is no relative path"),
    "backslash": (zipped({"..\\a": b""}), r"which is no relative path with slashes"),
    "empty part": (zipped({"a//b": b""}), "leads out of its folder or has empty parts"),
    "nul": (zipped({"aXb.wav": b""}).replace(b"aXb", b"a\0b"), "has control characters"),
    "newline": (zipped({"a\nb": b""}), "has control characters"),
    "long name": (zipped({"x" * 256: b""}), "more than 255 bytes"),
    "link": (special("a", stat.S_IFLNK | 0o777), "'a', which is a link or a special file"),
    "link, from DOS": (special("a", stat.S_IFLNK | 0o777, system=0), "is a link or a special file"),
    "pipe": (special("a", stat.S_IFIFO), "is a link or a special file"),
    "device": (special("a", stat.S_IFBLK), "is a link or a special file"),
    "folder that is a file": (special("a", stat.S_IFDIR), "is a link or a special file"),
    "folder with bytes": (zipped({"a/": b"x"}), "is a folder with bytes"),
    "encrypted": (patched(zipped({"a": b"x"}), directory={8: ("<H", 1)}, local={6: ("<H", 1)}), "is encrypted"),
    "method": (zipped({"a": b"x" * 99}, method=zipfile.ZIP_LZMA), r"packed by method 14 \(stored and deflated"),
    "case": (zipped({"a/B.wav": b"", "a/b.wav": b""}), r"holds 'a/B\.wav' and 'a/b\.wav', which are one name"),
    "composition": (zipped({"\u00e9": b"", "e\u0301": b""}), "which are one name"),
    "file as folder": (zipped({"a": b"", "a/b": b""}), "holds 'a/b', whose folder is a file"),
    "bomb": (
        patched(zipped({"a": bytes(1000)}), directory={24: ("<I", 200 << 20)}),
        "announces 209,715,200 bytes in .* more than 100 times",
    ),
    "overlap": (overlapping(), "which overlaps what follows it"),
    "nothing": (zipped({}), "holds nothing of what belongs into it"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("data", "message"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_archives_are_refused_before_anything_is_written(written, tmp_path, data, message):
    with pytest.raises(CorpusError, match=message):
        unpack(written(data), tmp_path / "to", Unpacked(), place=str)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(written, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(CorpusError, match="holds 'a' twice"):
        unpack(written(content.getvalue()), tmp_path / "to", Unpacked(), place=str)


def test_two_members_of_one_place_are_refused(written, tmp_path):
    with pytest.raises(CorpusError, match="holds 'one' twice"):
        unpack(written(zipped({"a": b"", "b": b""})), tmp_path / "to", Unpacked(), place=lambda _: "one")
    with pytest.raises(CorpusError, match="'ONE' and 'one', which are one name"):
        unpack(written(zipped({"one": b""})), tmp_path / "to", Unpacked({"ONE": 1}), place=str)


def test_more_than_may_be_unpacked_is_refused(written, tmp_path):
    path = written(zipped(GOOD))
    with pytest.raises(CorpusError, match=r"in\.zip announces 504 bytes, and may unpack to at most 503"):
        unpack(path, tmp_path / "to", Unpacked(), place=str, max_bytes=503)
    unpack(path, tmp_path / "to", Unpacked(), place=str, max_bytes=504)


def test_more_than_the_disk_holds_is_refused(written, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.space, "free_space", lambda _: 503)
    with pytest.raises(NoSpaceError):
        unpack(written(zipped(GOOD)), tmp_path / "to", Unpacked(), place=str)


def test_a_bomb_that_announces_little_writes_little(written, tmp_path):
    """A member of 10 MB that says it has 1 kB: Python's reader stops there, and the CRC-32 is another."""
    lie = {22: ("<I", 1000)}
    data = patched(zipped({"a": bytes(10 << 20)}), directory={24: ("<I", 1000)}, local=lie)
    with pytest.raises(CorpusError, match="Bad CRC-32 for file 'a'"):
        unpack(written(data), tmp_path / "to", Unpacked(), place=str)
    assert (tmp_path / "to" / "a").stat().st_size <= 1000


def test_a_member_shorter_than_announced_is_refused_whatever_its_crc(written, tmp_path):
    data = patched(zipped({"a": b"x" * 50}), directory={24: ("<I", 60)}, local={22: ("<I", 60)})
    with pytest.raises(CorpusError, match="'a' of 50 bytes, not 60 as announced"):
        unpack(written(data), tmp_path / "to", Unpacked(), place=str)


def test_a_flipped_byte_is_noticed(written, tmp_path):
    data = bytearray(zipped({"a": b"sound" * 100}, method=zipfile.ZIP_STORED))
    data[100] ^= 1
    with pytest.raises(CorpusError, match=r"cannot be read as a ZIP archive \(Bad CRC-32 for file 'a'\): download"):
        unpack(written(bytes(data)), tmp_path / "to", Unpacked(), place=str)


@pytest.mark.parametrize("length", [0, 1, 21, 100, 300])
def test_truncated_archives_are_refused(written, tmp_path, length):
    data = zipped(GOOD)
    assert len(data) > 300
    with pytest.raises(CorpusError, match="cannot be read as a ZIP archive"):
        unpack(written(data[:length]), tmp_path / "to", Unpacked(), place=str)


def test_a_directory_that_would_fill_the_memory_is_not_read(written, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus.unzip, "MAX_DIRECTORY_BYTES", 100_000)
    unpack(written(zipped({f"{i}": b"" for i in range(1000)})), tmp_path / "to", Unpacked(), place=str)
    path = written(zipped({f"{i}": b"" for i in range(2100)}))
    with pytest.raises(CorpusError, match="its directory takes 103,890 bytes, and 100,000 are the limit"):
        unpack(path, tmp_path / "to2", Unpacked(), place=str)


def test_bytes_are_unpacked_in_blocks(written, tmp_path):
    """Python's reader gives no more than is asked for, so that memory does not grow with a member."""
    data, blocks = b"\0" * (3 << 20), []
    unpack(written(zipped({"a": data})), tmp_path / "to", Unpacked(), place=str, progress=lambda n, _: blocks.append(n))
    assert blocks == [1 << 20, 2 << 20, 3 << 20]
    assert zlib.crc32((tmp_path / "to" / "a").read_bytes()) == zlib.crc32(data)


def test_the_checksum_of_a_directory_changes_with_any_member(written):
    checksums = {directory_checksum(written(zipped(GOOD)))}
    for change in ({"table.csv": b"x,z\n"}, {"audio/b.wav": b"1"}, {"new": b""}):
        checksums.add(directory_checksum(written(zipped(GOOD | change))))
    assert len(checksums) == 4
    assert directory_checksum(written(zipped(GOOD))) in checksums
