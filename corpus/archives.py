"""The archives in which FSDKaggle2018 was published: names, sizes, checksums, and what each holds.

Two sets: Zenodo's (record 2552860), which are downloaded, and Kaggle's, which only those who accept the competition's
rules can download. Zenodo publishes an MD5 of each file; Kaggle publishes none, and so the sizes and CRC-32 in those
archives, and afterwards their tables against their clips, are all that can be checked.

Sizes are in bytes. Those of the unpacked audio and tables are exact. Zenodo's page gives 4.6 GB for all archives:
``about_bytes`` shares that out, and serves the estimate of space and of progress alone.
"""

from dataclasses import dataclass
from urllib.parse import quote

ZENODO_URL = "https://zenodo.org/records/2552860/files"

_PASSED_OVER = "__MACOSX"  # macOS adds it to what it packs


@dataclass(frozen=True)
class Archive:
    """A file to be unpacked into a corpus's folder.

    Attributes
    ----------
    name : str
        The file's name. One that ends in ``.csv`` is no archive, and is taken as it is.
    fills : tuple of str
        The entries of the corpus's folder that it fills: folders, and tables (``.csv``).
    md5 : str
        As published, in hexadecimal; empty where none was.
    about_bytes : int
        Size of the file, roughly; 0 where it is not known.
    files : int
        How many files it holds; 0 where it is not known.
    unpacked_bytes : int
        What they take: exactly where `files` is known, else at most; 0 where it is not known.
    inner : tuple of Archive
        Archives that may be packed in it in place of what they fill.
    """

    name: str
    fills: tuple[str, ...]
    md5: str = ""
    about_bytes: int = 0
    files: int = 0
    unpacked_bytes: int = 0
    inner: "tuple[Archive, ...]" = ()

    @property
    def short_name(self) -> str:
        """The name without what all archives have in common."""
        return self.name.removeprefix("FSDKaggle2018.").removesuffix(".zip")

    @property
    def max_bytes(self) -> int:
        """The size beyond which a file cannot be this archive: stored without compression, and some more."""
        return self.unpacked_bytes + self.unpacked_bytes // 50 + 4_000_000

    def url(self, mirror: str | None = None) -> str:
        """Give the address of the file at Zenodo or, under its own name, at a mirror."""
        if mirror is None:
            return f"{ZENODO_URL}/{quote(self.name)}?download=1"
        return f"{mirror.rstrip('/')}/{quote(self.name)}"

    def place(self, member: str) -> str | None:
        """Tell where a member of the archive belongs in the corpus's folder.

        Parameters
        ----------
        member : str
            Its path in the archive, with slashes.

        Returns
        -------
        str or None
            ``folder/file`` or ``table.csv``; None for what is no part of the corpus. The folder may come twice, as
            Kaggle packs it, or not at all where it is the only one.
        """
        parts = member.split("/")
        if any(part.startswith(".") for part in parts) or parts[0] == _PASSED_OVER:
            return None
        folders = [name for name in self.fills if not _is_table(name)]
        if len(parts) == 1:
            if member in self.fills and _is_table(member):
                return member
            return f"{folders[0]}/{member}" if folders == list(self.fills) and len(folders) == 1 else None
        if parts[0] not in folders:
            return None
        inside = parts[2:] if len(parts) == 3 and parts[1] == parts[0] else parts[1:]
        return f"{parts[0]}/{inside[0]}" if len(inside) == 1 else None


def _is_table(name: str) -> bool:
    return name.endswith(".csv")


def _zenodo(part: str, md5: str, *, about_bytes: int, files: int = 0, unpacked_bytes: int) -> Archive:
    folder = f"FSDKaggle2018.{part}"
    return Archive(f"{folder}.zip", (folder,), md5, about_bytes, files, unpacked_bytes)


ZENODO = (
    _zenodo(
        "audio_train",
        "a8b47ff4b52022c178f88fa5c6f080d0",
        about_bytes=4_070_000_000,
        files=9473,
        unpacked_bytes=5_671_914_952,
    ),
    _zenodo(
        "audio_test",
        "f85c8665c3fc39311ea1b748e194a81d",
        about_bytes=530_000_000,
        files=1600,
        unpacked_bytes=734_416_544,
    ),
    _zenodo("meta", "f16828ac8be0e5285b9175a12f90d784", about_bytes=150_000, files=2, unpacked_bytes=535_090),
    _zenodo("doc", "4f2d1ac88f33a62f9db3108b269ee1b7", about_bytes=10_000, unpacked_bytes=1_000_000),
)
"""Zenodo's archives, the largest first."""

KAGGLE_TABLES = ("train.csv", "sample_submission.csv", "test_post_competition.csv")
_KAGGLE_FOLDERS = ("audio_train", "audio_test")
_KAGGLE_PARTS = (*_KAGGLE_FOLDERS, *KAGGLE_TABLES)

KAGGLE = (
    *(Archive(f"{name}.zip", (name,)) for name in _KAGGLE_PARTS),
    *(Archive(name, (name,)) for name in KAGGLE_TABLES),
)
"""Kaggle's files where each was downloaded by itself; of a table either form will do."""

KAGGLE_WHOLE = Archive("freesound-audio-tagging.zip", _KAGGLE_PARTS, inner=KAGGLE[: len(_KAGGLE_PARTS)])
"""Everything in one, as "Download all" gives it, with the folders in it or with their own archives."""
