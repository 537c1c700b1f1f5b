"""Getting the competition's corpus: archives are downloaded or taken from a folder, checked, and unpacked.

What has to be done is decided an archive at a time, from the stamps and the files in the corpus's folder alone: where
nothing is missing, nothing is asked of the network. What a stop or a kill interrupts goes on with the next call: a
download from its last byte, an unpacking from its archive.

Callbacks are called in the caller's thread. Sizes are in bytes.
"""

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cache.errors import CorpusError, InputError
from cache.space import require_space
from corpus.archives import Archive
from corpus.crew import Crew, Fetched, Progress, Say, checksum_of
from corpus.download import Patience
from corpus.stamps import check_free, is_there_unstamped, is_whole, read_stamp, work_folder

_ZENODO_PREFIX = "FSDKaggle2018."


def fetch_corpus(
    root: str | Path,
    *,
    archives: Sequence[Archive],
    at_hand: Mapping[Archive, Path] | None = None,
    mirror: str | None = None,
    keep_archives: bool = False,
    jobs: int = 4,
    patience: Patience | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> list[Fetched]:
    """Get a corpus into a folder, or what is missing of it.

    Parameters
    ----------
    root : str or Path
        The corpus's folder; made where it is not there. An archive that lies in it is used.
    archives : sequence of Archive
        To be downloaded: `corpus.archives.ZENODO`.
    at_hand : mapping of Archive to Path, optional
        What :func:`corpus.supplied.find_supplied` found: these archives are unpacked instead, and nothing is
        downloaded.
    mirror : str, optional
        Address of a folder that holds the archives, of http or https; Zenodo where not given.
    keep_archives : bool
        Leave what was downloaded in `root`, instead of removing it once it is unpacked.
    jobs : int
        Archives in work at a time.
    patience : Patience, optional
        With the server.
    progress : callable, optional
        Called with a stage (``download``, ``check …``, ``unpack …``), the bytes done and the bytes in all.
    say : callable, optional
        Called with one sentence where something is worth it.

    Returns
    -------
    list of Fetched
        One an archive, in their order.

    Raises
    ------
    InputError
        `mirror` is no such address, or `root` is a file.
    CorpusError
        Something else is in the way in `root`; or an archive at hand is not what was published, or breaks a rule.
    DownloadError
        An archive cannot be had.
    NoSpaceError
        The disk does not hold the archives and what they unpack to.
    LockedError
        Another process fetches into `root`.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        message = f"{root} is a file: name a folder for the corpus"
        raise InputError(message)
    if mirror is not None:
        check_mirror(mirror)
    wanted = list(archives if at_hand is None else at_hand)
    if all(_done(root, archive, at_hand) for archive in wanted):
        return [_kept(root, archive) for archive in wanted]
    _check_layout(root, wanted)
    with work_folder(root) as work:
        todo = [archive for archive in wanted if not _done(root, archive, at_hand)]
        for archive in todo:
            check_free(root, archive)
        crew = Crew(
            root,
            work,
            at_hand={**_lying_in(root, todo), **(at_hand or {})},
            mirror=mirror,
            keep_archives=keep_archives,
            patience=patience or Patience(),
        )
        require_space(root, sum(map(crew.needed_bytes, todo)))
        fetched = crew.run(todo, jobs=jobs, progress=progress, say=say)
    return [fetched.get(archive) or _kept(root, archive) for archive in wanted]


def check_mirror(mirror: str) -> None:
    """Refuse an address to which no archive's name can be added.

    Raises
    ------
    InputError
        It is not of http or https, has no host, or carries a name and password, a query or a fragment.
    """
    try:
        parts = urlsplit(mirror)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        message = f"a mirror is the http:// or https:// address of the folder that holds the archives; got {mirror!r}"
        raise InputError(message)


def _done(root: Path, archive: Archive, at_hand: Mapping[Archive, Path] | None) -> bool:
    """Tell whether there is nothing to do for an archive."""
    stamp = read_stamp(root, archive)
    if stamp is None:
        return is_there_unstamped(root, archive) or _is_a_table_there(root, archive, at_hand)
    path = (at_hand or {}).get(archive)
    checksum = archive.md5 or (stamp.checksum if path is None else checksum_of(path))
    return stamp.checksum == checksum and is_whole(root, stamp)


def _is_a_table_there(root: Path, archive: Archive, at_hand: Mapping[Archive, Path] | None) -> bool:
    """Tell whether a table at hand lies in the corpus's folder already: itself, or a copy."""
    path, place = (at_hand or {}).get(archive), root / archive.name
    if path is None or archive.fills != (archive.name,) or not place.is_file():
        return False
    return filecmp.cmp(path, place, shallow=False)


def _kept(root: Path, archive: Archive) -> Fetched:
    stamp = read_stamp(root, archive)
    if stamp is None:
        if (root / archive.name).is_file() and archive.fills == (archive.name,):
            return Fetched(archive.name, "kept", 1, (root / archive.name).stat().st_size)
        return Fetched(archive.name, "kept", archive.files, archive.unpacked_bytes if archive.files else 0)
    return Fetched(archive.name, "kept", len(stamp.sizes), sum(stamp.sizes.values()))


def _check_layout(root: Path, wanted: Sequence[Archive]) -> None:
    """Refuse a folder that holds another corpus: of two layouts in one folder only one would be read."""
    ours = {name for archive in wanted for name in archive.fills}
    zenodo = any(name.startswith(_ZENODO_PREFIX) for name in ours)
    for name in ("clips.csv", "audio_train", "audio_test") if zenodo else ("clips.csv",):
        if (root / name).exists():
            _refuse_layout(root, name)
    if not zenodo:
        for place in root.glob(f"{_ZENODO_PREFIX}audio_*/"):
            _refuse_layout(root, place.name)


def _refuse_layout(root: Path, name: str) -> None:
    message = f"{root} holds another corpus already ({name}): name another folder, or go on with cli run {root}"
    raise CorpusError(message)


def _lying_in(root: Path, archives: Sequence[Archive]) -> dict[Archive, Path]:
    """Find archives that the user put into the corpus's folder, or had kept there."""
    return {archive: root / archive.name for archive in archives if (root / archive.name).is_file()}
