"""One file from a server that misbehaves: what has arrived is used where it belongs, and thrown away where not."""

import time
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise

import numpy as np
import pytest
from archive_server import Fault, serving

from cache.errors import DownloadError
from corpus.download import Download, Patience

NAME = "a.zip"
DATA = np.random.default_rng(0).bytes(50_000)
QUICK = Patience(
    tries=4,
    progress_bytes=1000,
    first_wait_seconds=0.001,
    longest_wait_seconds=0.004,
    silence_seconds=10.0,
)


class Stop(Exception):
    pass


@pytest.fixture
def server():
    with serving() as server:
        server.files[NAME] = DATA
        server.etags[NAME] = '"one"'
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Download into the part, which later calls find; gives the bytes, and keeps what was said."""

    def run(*, url=None, max_bytes=100_000, patience=QUICK, progress=lambda *_: None, wait=time.sleep):
        path = tmp_path / f"{NAME}.part"
        address = url or f"{server.url}/{NAME}"
        Download(
            address, path, max_bytes=max_bytes, patience=patience, progress=progress, wait=wait, say=run.said.append
        ).run()
        return path.read_bytes()

    run.said = []
    run.part = tmp_path / f"{NAME}.part"
    return run


def interrupt(fetch, server):
    """Download 20,000 bytes, as a run that is stopped does."""
    server.faults[NAME] = [Fault(send=20_000)]

    def stop(_seconds):
        raise Stop

    with pytest.raises(Stop):
        fetch(wait=stop)
    assert fetch.part.read_bytes() == DATA[:20_000]


def test_a_file_comes_whole_and_its_progress_is_told(fetch, server):
    seen = []
    assert fetch(progress=lambda *counts: seen.append(counts)) == DATA
    assert seen[-1] == (50_000, 50_000)
    assert all(before < after for before, after in pairwise(done for done, _ in seen))
    assert server.asked[0][1]["User-Agent"].startswith("earmark")
    assert server.asked[0][1]["Accept-Encoding"] == "identity"
    assert fetch.said == []


def test_a_dropped_connection_goes_on_from_its_last_byte(fetch, server):
    server.faults[NAME] = [Fault(send=20_000), Fault(send=10_000)]
    assert fetch() == DATA
    assert server.ranges(NAME) == [None, "bytes=20000-", "bytes=30000-"]
    assert server.asked[1][1]["If-Range"] == '"one"'
    assert server.sent[NAME] == 50_000
    assert len(fetch.said) == 2
    assert fetch.said[0].startswith("a.zip: the connection was cut; trying again in 0 s (1 of 4 tries)")


def test_a_stopped_download_goes_on_in_another_run(fetch, server):
    interrupt(fetch, server)
    assert fetch() == DATA
    assert server.ranges(NAME) == [None, "bytes=20000-"]


def test_a_part_goes_on_at_a_mirror(fetch, server):
    interrupt(fetch, server)
    server.etags[NAME] = '"the mirror has its own"'
    assert fetch(url=server.url.replace("127.0.0.1", "localhost") + f"/{NAME}") == DATA
    assert server.ranges(NAME) == [None, "bytes=20000-"]
    assert server.sent[NAME] == len(DATA)


def test_a_part_of_which_nothing_is_known_is_not_used(fetch, server):
    interrupt(fetch, server)
    fetch.part.with_name(f"{NAME}.part.json").unlink()
    assert fetch() == DATA
    assert server.ranges(NAME) == [None, None]


def test_notes_that_cannot_be_read_are_none(fetch, server):
    for text in ("", "[]", "\xff", '{"url": '):
        interrupt(fetch, server)
        fetch.part.with_name(f"{NAME}.part.json").write_text(text, encoding="latin-1")
        assert fetch() == DATA
        fetch.part.unlink()
    assert set(server.ranges(NAME)) == {None}


def test_a_server_that_ignores_ranges_sends_all_again(fetch, server):
    server.faults[NAME] = [Fault(send=20_000), Fault(no_ranges=True)]
    assert fetch() == DATA
    assert server.sent[NAME] == 70_000


@pytest.mark.parametrize("etags", [('"one"', '"two"'), ('W/"one"', 'W/"two"'), (None, None)])
def test_a_file_that_changes_between_parts_is_fetched_anew(fetch, server, etags):
    """By If-Range where the server can say so, by the tag of the rest, and else by its length."""
    server.etags[NAME] = etags[0]
    interrupt(fetch, server)
    server.files[NAME] = DATA[::-1] + (b"" if etags[0] else b"longer")
    server.etags[NAME] = etags[1]
    assert fetch() == server.files[NAME]


def test_the_wrong_range_is_not_appended(fetch, server):
    server.faults[NAME] = [Fault(send=20_000), Fault(range_shift=-1000)]
    assert fetch() == DATA
    assert server.ranges(NAME) == [None, "bytes=20000-", None]
    assert "another range came" in fetch.said[1]


def test_a_length_that_is_too_long_ends_at_the_real_end(fetch, server):
    """The server promises more than there is, closes, and then says that nothing follows."""
    server.faults[NAME] = [Fault(extra_length=700)]
    assert fetch() == DATA
    assert server.ranges(NAME) == [None, "bytes=50000-"]


def test_a_server_that_always_promises_more_is_given_up(fetch, server):
    server.always = Fault(extra_length=700, no_ranges=True)
    with pytest.raises(
        DownloadError, match=r"a\.zip failed 4 times, at last because the connection was cut: run the same"
    ):
        fetch()


def test_a_file_that_never_stays_the_same_is_given_up(fetch, server):
    """Each try brings more than the one before, of another file."""
    server.faults[NAME] = [Fault(send=2000 * n, no_ranges=True) for n in range(1, 20)]
    with pytest.raises(DownloadError, match=r"a\.zip failed 4 times"):
        fetch()
    assert len(server.asked) == 5


def test_a_length_that_is_too_short_gives_what_was_promised(fetch, server):
    """Only the checksum tells; the caller asks it."""
    server.faults[NAME] = [Fault(extra_length=-700)]
    assert fetch() == DATA[:-700]


def test_a_file_without_a_length_comes_whole(fetch, server):
    server.faults[NAME] = [Fault(no_length=True)]
    assert fetch() == DATA


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(fetch, server):
    interrupt(fetch, server)
    server.files[NAME] = DATA[:100]
    server.etags[NAME] = '"two"'
    assert fetch() == DATA[:100]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(fetch, server, status):
    server.faults[NAME] = [Fault(status=status), Fault(status=status)]
    assert fetch() == DATA
    assert fetch.said[0].startswith(f"a.zip: the server answered {status} ")


def test_a_server_that_stays_busy_is_given_up(fetch, server):
    server.always = Fault(status=503)
    with pytest.raises(
        DownloadError, match=r"a\.zip failed 4 times, at last because the server answered 503 Service Unavailable: run"
    ):
        fetch()
    assert len(server.asked) == 4


def test_waits_double_with_jitter_and_stop_growing(fetch, server):
    server.always = Fault(status=503)
    waits = []
    patience = Patience(tries=8, first_wait_seconds=1.0, longest_wait_seconds=8.0)
    with pytest.raises(DownloadError):
        fetch(wait=waits.append, patience=patience)
    for wait, longest in zip(waits, (1, 2, 4, 8, 8, 8, 8), strict=True):
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize("as_date", [False, True])
def test_the_server_says_when_to_come_again(fetch, server, as_date):
    value = formatdate(time.time() + 8, usegmt=True) if as_date else "7"
    server.faults[NAME] = [Fault(status=503, headers={"Retry-After": value})]
    waits = []
    assert fetch(wait=waits.append) == DATA
    assert 5 < waits[0] <= 8


def test_a_server_that_asks_for_hours_is_left(fetch, server):
    server.faults[NAME] = [Fault(status=429, headers={"Retry-After": "7200"})]
    with pytest.raises(DownloadError, match="answered 429 Too Many Requests and asks to wait 120 min"):
        fetch()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_no_try_will_change_is_not_tried_again(fetch, server, status):
    server.always = Fault(status=status)
    with pytest.raises(DownloadError, match=rf"a\.zip: the server answered {status} .*give another --url"):
        fetch()
    assert len(server.asked) == 1


def test_tries_that_bring_something_do_not_count(fetch, server):
    server.always = Fault(send=5000)
    assert fetch() == DATA
    assert len(server.asked) == 10


def test_tries_that_bring_almost_nothing_count(fetch, server):
    server.always = Fault(send=10)
    with pytest.raises(DownloadError, match="failed 4 times"):
        fetch()
    assert fetch.part.stat().st_size == 40


def test_redirects_are_followed(fetch, server):
    server.faults["moved"] = [Fault(status=302, headers={"Location": f"/elsewhere/{NAME}"})]
    assert fetch(url=f"{server.url}/moved") == DATA


def test_redirects_in_a_circle_and_to_files_are_refused(fetch, server):
    server.faults["moved"] = [Fault(status=302, headers={"Location": "moved"})] * 40
    with pytest.raises(DownloadError, match=r"moved cannot be downloaded \(Exceeded 30 redirects"):
        fetch(url=f"{server.url}/moved")
    server.faults["moved"] = [Fault(status=302, headers={"Location": "file:///etc/passwd"})]
    with pytest.raises(DownloadError, match=r"moved cannot be downloaded \(No connection adapters"):
        fetch(url=f"{server.url}/moved")


def test_a_silent_server_is_asked_again(fetch, server):
    server.faults[NAME] = [Fault(send=20_000, hang=True)]
    assert fetch(patience=replace(QUICK, silence_seconds=0.3)) == DATA
    assert server.ranges(NAME) == [None, "bytes=20000-"]
    assert "the server was silent" in fetch.said[0]


def test_a_server_that_trickles_is_asked_again(fetch, server):
    server.faults[NAME] = [Fault(pause_seconds=0.05)]
    assert fetch(patience=replace(QUICK, stall_seconds=0.1, stall_bytes=20_000)) == DATA
    assert "bytes came in 0 s" in fetch.said[0]


def test_a_refused_connection_is_named(fetch, server):
    with pytest.raises(DownloadError, match=r"at last because the connection failed \(Connection refused\)"):
        fetch(url="http://127.0.0.1:9/a.zip")


def test_more_than_there_can_be_is_refused_before_it_fills_the_disk(fetch, server):
    with pytest.raises(DownloadError, match="has 50,000 bytes or more, and the file asked for at most 49,999"):
        fetch(max_bytes=49_999)
    server.always = Fault(no_length=True)
    with pytest.raises(DownloadError, match="bytes or more, and the file asked for at most 49,999"):
        fetch(max_bytes=49_999)
    assert fetch.part.stat().st_size <= 49_999


def test_waiting_can_be_interrupted(fetch, server):
    server.always = Fault(status=503)

    def wait(_seconds):
        raise Stop

    with pytest.raises(Stop):
        fetch(wait=wait)
