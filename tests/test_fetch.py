"""Fetching the competition: from a server that misbehaves, from archives at hand, and again."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import pytest
from archive_server import Fault, serving
from competition_archives import (
    EMPTY_CLIPS,
    TEST_ROWS,
    TRAIN_ROWS,
    Z,
    describe,
    kaggle_audio,
    kaggle_tables,
    zenodo_files,
    zenodo_members,
    zipped,
)

import cache.space
import corpus.crew
from cache.errors import CorpusError, DownloadError, InputError, LockedError, NoSpaceError, NotFoundError
from corpus.archives import KAGGLE, KAGGLE_WHOLE
from corpus.download import Patience
from corpus.fetch import check_mirror, fetch_corpus
from corpus.stamps import work_folder
from corpus.summary import summarize
from corpus.supplied import find_supplied
from corpus.tables import read_corpus

TRAIN, TEST, META, DOC = (f"{Z}{part}.zip" for part in ("audio_train", "audio_test", "meta", "doc"))
FILES = zenodo_files()
TABLE = describe(FILES)
CONTENTS = {name: data for members in zenodo_members().values() for name, data in members.items()}
QUICK = Patience(
    tries=4, progress_bytes=1000, first_wait_seconds=0.001, longest_wait_seconds=0.002, silence_seconds=10.0
)


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """What other programs have written need not reach the disk before a test ends."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def server():
    with serving() as server:
        server.files |= FILES
        server.etags |= {name: f'"{name}"' for name in FILES}
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def fetch(server, root):
    def run(**settings):
        settings = {"archives": TABLE, "mirror": server.url, "patience": QUICK, "say": run.said.append} | settings
        return fetch_corpus(root, **settings)

    run.said = []
    return run


def contents(root):
    """The corpus's files, without what is hidden."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).as_posix().startswith(".")
    }


def hidden(root):
    return sorted(path.name for path in root.glob(".fetch/*"))


STAMPS = sorted(f"{name}.json" for name in FILES)


class TestDownloaded:
    def test_the_corpus_is_fetched_and_read(self, fetch, root):
        report = fetch()
        assert contents(root) == CONTENTS
        assert hidden(root) == STAMPS
        assert [(item.name, item.action, item.files) for item in report] == [
            (TRAIN, "downloaded", 3),
            (TEST, "downloaded", 2),
            (META, "downloaded", 2),
            (DOC, "downloaded", 2),
        ]
        assert [item.downloaded_bytes for item in report] == [len(FILES[item.name]) for item in report]
        table = read_corpus(root)
        assert table.attrs["layout"] == "zenodo"
        assert sorted(table["label"]) == sorted(row[1] for row in (*TRAIN_ROWS, *TEST_ROWS))
        assert fetch.said == []

    def test_a_second_call_does_nothing_and_asks_for_nothing(self, fetch, server, root):
        fetch()
        server.asked.clear()
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        report = fetch()
        assert {item.action for item in report} == {"kept"}
        assert [item.files for item in report] == [3, 2, 2, 2]
        assert server.asked == []
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    def test_what_is_whole_needs_no_right_to_write(self, fetch, root):
        fetch()
        shutil.move(root, root.with_name("elsewhere"))
        root.symlink_to(root.with_name("elsewhere"))
        (root / ".fetch" / "lock").mkdir()  # nobody could take a lock here
        assert {item.action for item in fetch()} == {"kept"}

    def test_missing_files_are_noticed_and_come_back(self, fetch, server, root):
        fetch()
        (root / f"{Z}audio_train" / TRAIN_ROWS[0][0]).unlink()
        kept = root / f"{Z}audio_train" / "my notes.txt"
        kept.write_text("mine")
        others = [root / name for name in CONTENTS if TRAIN_ROWS[0][0] not in name]
        before = [path.stat().st_ino for path in others]
        server.asked.clear()
        assert [item.action for item in fetch()] == ["downloaded", "kept", "kept", "kept"]
        assert [name for name, _ in server.asked] == [TRAIN]
        assert contents(root) == CONTENTS | {f"{Z}audio_train/my notes.txt": b"mine"}
        assert [path.stat().st_ino for path in others] == before  # those that were there are left alone

    def test_what_was_edited_is_kept_beside_what_comes_back(self, fetch, root):
        fetch()
        table = root / f"{Z}meta" / "train_post_competition.csv"
        table.write_text("mine")
        fetch()
        name = f"{Z}meta/train_post_competition.csv"
        assert contents(root) == CONTENTS | {f"{name}.old": b"mine"}
        assert fetch.said == [f"{name} had another size: it is {name}.old now"]

    def test_archives_are_kept_where_asked(self, fetch, root, server):
        fetch(keep_archives=True)
        assert contents(root) == CONTENTS | FILES
        shutil.rmtree(root / f"{Z}audio_test")
        server.asked.clear()
        assert [item.action for item in fetch()] == ["kept", "unpacked", "kept", "kept"]
        assert contents(root) == CONTENTS | FILES
        assert server.asked == []

    def test_one_at_a_time(self, fetch, root, server):
        fetch(jobs=1)
        assert [name for name, _ in server.asked] == [TRAIN, TEST, META, DOC]
        assert contents(root) == CONTENTS

    def test_files_reach_the_disk_before_they_get_their_place(self, fetch, root, monkeypatch):
        seen = []

        def sync():
            unpacked = {path.parent.name for path in root.glob(".fetch/*.unpacking/*/*")}
            seen.append((unpacked, {path.name for path in root.iterdir()} & unpacked))

        monkeypatch.setattr(os, "sync", sync)
        fetch(jobs=1)
        assert seen == [({name.removesuffix(".zip")}, set()) for name in (TRAIN, TEST, META, DOC)]

    def test_progress_is_told_in_the_callers_thread(self, fetch):
        import threading

        seen, threads = [], set()

        def progress(stage, done, total):
            seen.append((stage, done, total))
            threads.add(threading.get_ident())

        fetch(progress=progress)
        total = sum(map(len, FILES.values()))
        assert seen[0] == ("download", 0, total)
        assert [row for row in seen if row[0] == "download"][-1] == ("download", total, total)
        assert {stage for stage, _, _ in seen} > {"check audio_train", "unpack audio_train", "unpack audio_test"}
        assert threads == {threading.get_ident()}

    def test_a_broken_connection_is_mended(self, fetch, server, root):
        server.faults[TRAIN] = [Fault(send=30_000), Fault(status=503), Fault(send=20_000)]
        report = fetch()
        assert contents(root) == CONTENTS
        assert server.sent[TRAIN] == len(FILES[TRAIN]) == report[0].downloaded_bytes

    @pytest.mark.parametrize(
        "fault", [Fault(flip=1000), Fault(extra_length=-500), Fault(no_length=True, send=9000)], ids=str
    )
    def test_wrong_bytes_are_fetched_once_more(self, fetch, server, root, fault):
        server.faults[TEST] = [fault]
        fetch()
        assert contents(root) == CONTENTS
        assert server.ranges(TEST) == [None, None]
        (said,) = fetch.said
        assert f"{TEST} came with the MD5 " in said
        assert said.endswith("as published: deleted")

    def test_bytes_that_stay_wrong_are_an_error(self, fetch, server, root):
        server.faults[TEST] = [Fault(flip=1000)] * 5
        with pytest.raises(DownloadError, match=rf"{TEST} has the MD5 \w+, not {TABLE[1].md5} as published: run later"):
            fetch(jobs=1)
        assert len(server.ranges(TEST)) == 2
        assert not [name for name in hidden(root) if "audio_test" in name]
        server.faults.clear()
        server.asked.clear()
        assert [item.action for item in fetch()] == ["kept", "downloaded", "downloaded", "downloaded"]
        assert contents(root) == CONTENTS

    def test_an_error_keeps_what_has_come(self, fetch, server, root):
        server.faults[TRAIN] = [Fault(send=30_000), Fault(status=404)]
        with pytest.raises(DownloadError, match=r"answered 404 Not Found; run the same command later"):
            fetch(jobs=1)
        assert hidden(root) == [f"{TRAIN}.part", f"{TRAIN}.part.json"]
        fetch()
        assert server.ranges(TRAIN) == [None, "bytes=30000-", "bytes=30000-"]
        assert contents(root) == CONTENTS

    def test_an_error_ends_the_others_soon(self, fetch, server, monkeypatch):
        monkeypatch.setattr(corpus.crew, "_GOODBYE_SECONDS", 0.1)
        server.faults[TRAIN] = [Fault(send=10, hang=True)]
        server.faults[META] = [Fault(status=404)]
        start = time.monotonic()
        with pytest.raises(DownloadError, match="404"):
            fetch(patience=Patience(silence_seconds=20))
        assert time.monotonic() - start < 5

    def test_nothing_is_left_of_a_first_call_that_brought_nothing(self, fetch, server, root):
        server.always = Fault(status=404)
        with pytest.raises(DownloadError):
            fetch()
        assert list(root.iterdir()) == []

    def test_a_harmful_archive_leaves_nothing(self, fetch, server, root):
        """Even one whose checksum is right."""
        server.files[TEST] = zipped({f"{Z}audio_test/a.wav": b"x", "../../evil": b"x"})
        with pytest.raises(CorpusError, match="leads out of its folder"):
            fetch(archives=describe(FILES | {TEST: server.files[TEST]}), jobs=1)
        assert f"{Z}audio_test" not in {path.name for path in root.iterdir()}
        assert not (root.parent / "evil").exists()
        assert [name for name in hidden(root) if "unpacking" in name] == []

    def test_an_archive_with_more_than_the_table_says_is_refused(self, fetch, server, root):
        members = zenodo_members()[TEST] | {f"{Z}audio_test/more.wav": bytes(1000)}
        server.files[TEST] = zipped(members)
        with pytest.raises(CorpusError, match="and may unpack to at most"):
            fetch(archives=describe(FILES | {TEST: server.files[TEST]}))


class TestInTheWay:
    def test_a_corpus_unpacked_by_hand_is_taken_as_it_is(self, fetch, server, root):
        for data in FILES.values():
            (root.parent / "a.zip").write_bytes(data)
            zipfile.ZipFile(root.parent / "a.zip").extractall(root)
        assert {item.action for item in fetch()} == {"kept"}
        assert server.asked == []
        assert hidden(root) == []

    def test_folders_in_folders_of_their_name_too(self, fetch, server, root):
        for name, data in FILES.items():
            (root.parent / "a.zip").write_bytes(data)
            zipfile.ZipFile(root.parent / "a.zip").extractall(root / name.removesuffix(".zip"))
        assert {item.action for item in fetch() if item.name != DOC} == {"kept"}

    def test_half_of_a_folder_is_not_written_over(self, fetch, server, root):
        place = root / f"{Z}audio_train"
        place.mkdir(parents=True)
        (place / "a.wav").write_bytes(b"mine")
        with pytest.raises(CorpusError, match=rf"data/{Z}audio_train is there, and is not what {TRAIN} holds: move it"):
            fetch()
        assert contents(root) == {f"{Z}audio_train/a.wav": b"mine"}
        assert server.asked == []

    @pytest.mark.parametrize("name", ["clips.csv", "audio_train/a.wav"])
    def test_another_corpus_is_not_mixed_in(self, fetch, server, root, name):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
        with pytest.raises(CorpusError, match=rf"data holds another corpus already \({name.split('/')[0]}\): name"):
            fetch()
        assert server.asked == []

    def test_a_file_is_no_folder(self, fetch, root):
        root.write_text("")
        with pytest.raises(InputError, match="data is a file: name a folder"):
            fetch()

    def test_an_archive_in_the_folder_is_used_if_it_is_whole(self, fetch, server, root):
        root.mkdir()
        (root / TRAIN).write_bytes(FILES[TRAIN][:-1])
        with pytest.raises(CorpusError, match=rf"data/{TRAIN} has the MD5 \w+, not {TABLE[0].md5} as published"):
            fetch(jobs=1)
        (root / TRAIN).write_bytes(FILES[TRAIN])
        assert [item.action for item in fetch()] == ["unpacked", "downloaded", "downloaded", "downloaded"]
        assert server.ranges(TRAIN) == []
        assert (root / TRAIN).read_bytes() == FILES[TRAIN]

    def test_two_runs_do_not_share_a_folder(self, fetch, root):
        with work_folder(root), pytest.raises(LockedError, match=rf"process {os.getpid()} fetches into .*data: wait"):
            fetch()
        fetch()

    def test_too_little_space_is_said_before_anything_is_asked(self, fetch, server, root, monkeypatch):
        needed = sum(map(len, FILES.values())) + sum(map(len, CONTENTS.values()))
        monkeypatch.setattr(cache.space, "free_space", lambda _: needed - 1)
        with pytest.raises(NoSpaceError, match=r"data needs 0\.3 MB, but only 0\.3 MB are free"):
            fetch()
        assert server.asked == []
        monkeypatch.setattr(cache.space, "free_space", lambda _: needed)
        fetch()

    def test_what_is_there_needs_no_space(self, fetch, server, root, monkeypatch):
        server.faults[TRAIN] = [Fault(send=30_000), Fault(status=404)]
        with pytest.raises(DownloadError):
            fetch(jobs=1)
        needed = sum(map(len, FILES.values())) + sum(map(len, CONTENTS.values())) - 30_000
        monkeypatch.setattr(cache.space, "free_space", lambda _: needed)
        fetch()

    def test_a_disk_that_fills_up_is_named_and_the_part_stays(self, fetch, root, server):
        """By a limit to the size of files, as a quota would; in a process of its own."""
        ended = run_code(root, server, before="resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))")
        assert "NoSpaceError: no space left in" in ended.stderr
        assert (root / ".fetch" / f"{TRAIN}.part").stat().st_size == 40_000
        fetch()
        assert contents(root) == CONTENTS
        assert server.ranges(TRAIN)[-1] == "bytes=40000-"

    @pytest.mark.parametrize(
        "url",
        [
            "file:///tmp",
            "ftp://host/x",
            "host/x",
            "",
            "http://",
            "http://a:b@host/",
            "http://host/?x",
            "http://host/#x",
        ],
    )
    def test_addresses_that_are_none_are_refused(self, url):
        with pytest.raises(InputError, match="a mirror is the http:// or https:// address of the folder"):
            check_mirror(url)

    @pytest.mark.parametrize("url", ["http://host", "https://host:8080/a/b/", "http://[::1]:80/x"])
    def test_addresses_that_are_one(self, url):
        check_mirror(url)


CODE = """
import os, resource, signal, sys, threading
sys.path[:0] = [{tests!r}]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.sync = lambda: None
from competition_archives import describe, zenodo_files
from corpus.download import Patience
from corpus.fetch import fetch_corpus
{before}
table = describe(zenodo_files())
patience = Patience(first_wait_seconds=0.001, longest_wait_seconds=0.002, silence_seconds=5.0)
fetch_corpus({root!r}, archives=table, mirror={url!r}, jobs=1, patience=patience, say=print)
"""


def code_of(root, server, before=""):
    tests = os.path.dirname(os.path.abspath(__file__))
    code = CODE.format(tests=tests, root=str(root), url=server.url, before=textwrap.dedent(before))
    return [sys.executable, "-c", code]


def run_code(root, server, before=""):
    return subprocess.run(code_of(root, server, before), capture_output=True, text=True, timeout=60, check=False)


class TestKilled:
    def test_in_the_middle_of_a_download(self, fetch, root, server):
        server.faults[TRAIN] = [Fault(send=30_000, hang=True)]
        process = subprocess.Popen(code_of(root, server))
        part = root / ".fetch" / f"{TRAIN}.part"
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size == 30_000):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        fetch()
        assert server.ranges(TRAIN) == [None, "bytes=30000-"]
        assert server.sent[TRAIN] == len(FILES[TRAIN])
        assert contents(root) == CONTENTS
        assert hidden(root) == STAMPS

    @pytest.mark.parametrize(
        ("module", "function"),
        [
            ("corpus.unzip", "open"),  # the second file of the archive
            ("corpus.crew", "write_stamp"),
            ("corpus.crew", "put_in_place"),
            ("corpus.stamps", "_put"),
        ],
    )
    def test_in_the_middle_of_an_unpacking(self, fetch, root, server, module, function):
        before = f"""
            import builtins, {module}
            real = getattr({module}, {function!r}, open)
            left = [0 if {function!r} != "open" else 1]
            def dying(*args, **settings):
                if {function!r} != "open" or args[1:] == ("xb",):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **settings)
            {module}.{function} = dying
        """
        assert run_code(root, server, before).returncode == -signal.SIGKILL
        assert f"{TRAIN}.unpacking" in hidden(root)
        assert not (root / f"{Z}audio_train").exists()
        server.asked.clear()
        fetch()
        assert server.ranges(TRAIN) == []  # the archive was there
        assert contents(root) == CONTENTS
        assert hidden(root) == STAMPS

    def test_after_an_archive_has_its_place(self, fetch, root, server):
        before = """
            import corpus.crew
            real = corpus.crew.put_in_place
            def dying(*args, **settings):
                real(*args, **settings)
                os.kill(os.getpid(), signal.SIGKILL)
            corpus.crew.put_in_place = dying
        """
        assert run_code(root, server, before).returncode == -signal.SIGKILL
        assert (root / f"{Z}audio_train").exists()
        fetch()
        assert server.ranges(TRAIN) == [None]
        assert contents(root) == CONTENTS


class TestAtHand:
    """Archives that the user has: nothing is asked of any network."""

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "archives").mkdir()
        return tmp_path / "archives"

    @pytest.fixture
    def take(self, folder, root):
        def run(files):
            for name, data in files.items():
                (folder / name).write_bytes(data)
            at_hand = find_supplied(folder, TABLE)
            report = fetch_corpus(
                root, archives=TABLE, at_hand=at_hand, mirror="http://127.0.0.1:9/", say=run.said.append
            )
            assert {name: (folder / name).read_bytes() for name in files} == files
            return report

        run.said = []
        return run

    def test_zenodos(self, take, root):
        assert {item.action for item in take(FILES)} == {"unpacked"}
        assert contents(root) == CONTENTS
        assert {item.action for item in take(FILES)} == {"kept"}

    def test_half_of_zenodos(self, take, root):
        take({name: FILES[name] for name in (TEST, META)})
        assert set(read_corpus(root)["split"]) == {"test"}
        assert [item.action for item in take({TRAIN: FILES[TRAIN]})] == ["unpacked", "kept", "kept"]
        assert set(read_corpus(root)["split"]) == {"train", "test"}

    def test_a_damaged_one_of_zenodos_is_named_and_left(self, take, root, folder):
        with pytest.raises(CorpusError, match=rf"archives/{TEST} has the MD5 \w+, not {TABLE[1].md5}"):
            take(FILES | {TEST: FILES[TEST][:-5]})

    def kaggle_zips(self, *, prefix=True):
        """Each file by itself: its clips in a folder of the archive's name, or not."""
        audio = {
            f"{folder}.zip": zipped({f"{folder}/{name}" if prefix else name: data for name, data in clips.items()})
            for folder, clips in kaggle_audio().items()
        }
        return audio, {f"{name}.zip": zipped({name: data}) for name, data in kaggle_tables().items()}

    def kaggle_contents(self):
        audio = {f"{folder}/{name}": data for folder, clips in kaggle_audio().items() for name, data in clips.items()}
        return audio | kaggle_tables()

    def forms(self):
        audio, tables = self.kaggle_zips()
        flat, _ = self.kaggle_zips(prefix=False)
        plain, loose = kaggle_tables(), self.kaggle_contents()
        nested = {f"{name.split('/')[0]}/{name}" if "/" in name else name: data for name, data in loose.items()}
        big = KAGGLE_WHOLE.name
        return {
            "zips": audio | tables,
            "zips without folders": flat | tables,
            "zips and plain tables": audio | plain,
            "both forms of a table": audio | tables | plain,
            "one, with folders": {big: zipped(loose)},
            "one, with folders in folders, as mounted": {big: zipped(nested)},
            "one, with archives": {big: zipped(audio | tables)},
            "one, with archives and plain tables": {big: zipped(audio | plain)},
            "macOS's": {big: zipped(loose | {"__MACOSX/audio_train/._a.wav": b"", ".DS_Store": b""})},
        }

    @pytest.mark.parametrize(
        "form",
        [
            "zips",
            "zips without folders",
            "zips and plain tables",
            "both forms of a table",
            "one, with folders",
            "one, with folders in folders, as mounted",
            "one, with archives",
            "one, with archives and plain tables",
            "macOS's",
        ],
    )
    def test_kaggles_in_every_form(self, take, root, form):
        files = self.forms()[form]
        report = take(files)
        assert {item.action for item in report} == {"unpacked"}
        assert len(report) == (1 if form.startswith(("one", "macOS")) else 5)
        assert contents(root) == self.kaggle_contents()
        assert [name for name in hidden(root) if not name.endswith(".json")] == []
        table = read_corpus(root)
        assert table.attrs["layout"] == "kaggle"
        test = table[table["split"] == "test"]
        assert test["fname"].tolist() == sorted([*EMPTY_CLIPS, *(row[0] for row in TEST_ROWS)])
        assert test.set_index("fname")["usage"].to_dict() == dict.fromkeys(EMPTY_CLIPS, "Ignored") | {
            fname: usage for fname, _, usage in TEST_ROWS
        }
        assert test.set_index("fname")["label"].dropna().to_dict() == {fname: label for fname, label, _ in TEST_ROWS}
        assert table.set_index("fname").loc["00044347.wav", "label"] == "Hi-hat"
        assert {item.action for item in take(files)} == {"kept"}

    def test_the_three_empty_clips_are_named_as_such(self, take, root):
        take(self.forms()["zips"])
        problems = {problem["fname"]: problem["reason"] for problem in summarize(read_corpus(root))["problems"]}
        assert problems.keys() == set(EMPTY_CLIPS)

    def test_kaggles_halves(self, take, root):
        audio, tables = self.kaggle_zips()
        take({name: data for name, data in (audio | tables).items() if "test" in name})
        assert set(read_corpus(root)["split"]) == {"test"}

    def test_a_new_archive_of_kaggle_is_unpacked_anew(self, take, root):
        files = self.forms()["zips"]
        take(files)
        changed = kaggle_tables()["train.csv"].replace(b"Hi-hat", b"Squeak")  # of the same size
        report = take({"train.csv.zip": zipped({"train.csv": changed})})
        assert [item.name for item in report if item.action == "unpacked"] == ["train.csv.zip"]
        assert (root / "train.csv").read_bytes() == changed

    def test_a_wrong_byte_in_kaggles_is_noticed(self, take, root):
        files = self.forms()["zips"]
        data = bytearray(files["audio_train.zip"])
        data[5000] ^= 1
        with pytest.raises(CorpusError, match=r"audio_train\.zip cannot be read as a ZIP archive"):
            take(files | {"audio_train.zip": bytes(data)})
        assert not (root / "audio_train").exists()

    def test_archives_in_archives_in_archives_are_left_out(self, take, root):
        audio, tables = self.kaggle_zips()
        inner = {"audio_train.zip": zipped(kaggle_audio()["audio_train"] | {"audio_test.zip": audio["audio_test.zip"]})}
        take({KAGGLE_WHOLE.name: zipped(audio | tables | inner)})
        assert (root / "audio_train" / "audio_test.zip").is_file()  # a file that is no clip, and is not looked into

    def test_an_archive_and_its_folder_in_one_clash(self, take):
        audio, _ = self.kaggle_zips()
        with pytest.raises(CorpusError, match=r"holds 'audio_train/00044347.wav' twice"):
            take({KAGGLE_WHOLE.name: zipped(self.kaggle_contents() | {"audio_train.zip": audio["audio_train.zip"]})})

    def test_other_files_are_left_out_and_named(self, take, root):
        take({KAGGLE_WHOLE.name: zipped(self.kaggle_contents() | {"evil.py": b"x", "audio_train/b/c.wav": b""})})
        assert contents(root) == self.kaggle_contents()
        assert take.said == [
            f"{KAGGLE_WHOLE.name}: left out, as no part of the corpus: 'evil.py', 'audio_train/b/c.wav'"
        ]

    def test_space_for_archives_in_the_archive_is_asked_for_first(self, take, root, monkeypatch):
        monkeypatch.setattr(cache.space, "free_space", lambda _: 300_000)
        with pytest.raises(NoSpaceError, match=r"data needs 0\.\d MB"):
            take({KAGGLE_WHOLE.name: zipped(dict.fromkeys(["audio_train.zip"], bytes(200_000)), method=0)})

    def test_kaggles_do_not_mix_with_zenodos(self, take, root, folder):
        take(FILES)
        for name in FILES:
            (folder / name).unlink()
        with pytest.raises(CorpusError, match=r"data holds another corpus already \(FSDKaggle2018\.audio_"):
            take(self.forms()["zips"])

    def test_zenodos_come_first(self, take, root):
        take(FILES | self.forms()["zips"])
        assert contents(root) == CONTENTS

    def test_no_folder(self, folder):
        with pytest.raises(NotFoundError, match=r"there is no folder .*nowhere to take archives from"):
            find_supplied(folder / "nowhere", TABLE)

    def test_no_archives(self, folder):
        (folder / "train.csv").write_text("")
        with pytest.raises(InputError, match=rf"holds none of {TRAIN}, {TEST}, {KAGGLE_WHOLE.name}, {KAGGLE[0].name}"):
            find_supplied(folder, TABLE)

    def test_clips_that_are_unpacked_already(self, folder):
        (folder / "audio_train").mkdir()
        with pytest.raises(InputError, match="holds no archives, but clips that are unpacked already: next: cli run"):
            find_supplied(folder, TABLE)

    @pytest.mark.parametrize(("name", "table"), [(TRAIN, "FSDKaggle2018.meta"), ("audio_train.zip", "train.csv")])
    def test_training_clips_without_labels(self, folder, name, table):
        (folder / name).write_bytes(b"")
        with pytest.raises(InputError, match=rf"but not that of {table}, its labels: add {table}\.zip"):
            find_supplied(folder, TABLE)
