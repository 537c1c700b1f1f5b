"""The page of a report: one file that loads nothing, in which names are text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from report_samples import BIDI, HOSTILE, LABELS, NAMES, write_hostile_corpus, write_run
from stores import HEAD
from test_cli import run_json
from test_report import page_data, page_text

from corpus.tables import read_corpus
from infer.report_page import visible


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of the hostile corpus."""
    folder = tmp_path_factory.mktemp("page")
    corpus = write_hostile_corpus(folder / "data")
    write_run(folder / "runs", read_corpus(corpus), modes=(HEAD,))
    places = ["--store", folder / "features", "--runs", folder / "runs", "--jobs", 1]
    result = run_json("report", corpus, *places, "--out", folder / "report.html", "--pictures", folder / "png")
    return folder / "report.html", result


class Tags(HTMLParser):
    """Collect the tags, with their attributes, and the text of scripts and styles."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.raw, self.open = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = tag in ("script", "style")
        if self.open:
            self.raw.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.open:
            self.raw[-1][2].append(data)


@pytest.fixture(scope="module")
def tags(page):
    parser = Tags()
    parser.feed(page_text(page[0]))
    return parser


def test_names_are_no_markup(page, tags):
    assert [name for name, _ in tags.tags if name == "img"] == []
    assert not [attrs for _, attrs in tags.tags if any(name.startswith("on") for name in attrs)]
    text = page_text(page[0])
    assert "<script>alert" not in text
    assert "\u2028" not in text
    assert "\u202e" not in text


def test_data_hold_nothing_that_a_parser_sees(page, tags):
    (data,) = ["".join(text) for _, attrs, text in tags.raw if attrs.get("id") == "data"]
    assert data.isascii()
    assert not set(data) & set("<>&")


def test_names_arrive_as_they_are(page):
    data = page_data(page[0])
    assert set(NAMES) <= set(data["clips"]["name"])
    assert data["classes"] == sorted(LABELS)


def test_only_the_one_script_and_style_may_run(page, tags):
    policy = next(attrs["content"] for tag, attrs in tags.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    running = [("".join(text), tag) for tag, attrs, text in tags.raw if attrs.get("type") is None]
    assert sorted(tag for _, tag in running) == ["script", "style"]
    for text, tag in running:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    others = {attrs["type"] for tag, attrs, _ in tags.raw if attrs.get("type")}
    assert others == {"application/json", "text/plain"}


def test_nothing_is_loaded_from_anywhere(page, tags):
    text = page_text(page[0])
    addresses = set(re.findall(r"https?://[^\"' <)]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of SVG's elements, which nobody asks for
    assert not [attrs for tag, attrs in tags.tags if tag in ("link", "iframe", "object") or "src" in attrs]


def test_pictures_and_sounds_are_there(page, tags):
    result = page[1]
    ids = {attrs["id"]: "".join(text) for _, attrs, text in tags.raw if attrs.get("type") == "text/plain"}
    assert sum(name.startswith("p") for name in ids) == result["pictured"] == 18
    assert sum(name.startswith("a") for name in ids) == result["embedded"] == 18
    assert all(base64.b64decode(text, validate=True) for text in ids.values())


def test_the_report_is_written_whole_or_not_at_all(page):
    assert not list(page[0].parent.glob(".*.part"))


def test_pictures_have_safe_names_within_their_folder(page):
    folder, result = page[0].parent / "png", page[1]
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.png")]
    assert len(files) == result["pictures"]["files"]
    assert {"class-scores.png", "confusions-out-of-fold.png", "confusions-test.png", "learning-curves-head.png"} <= set(
        files
    )
    assert all(re.fullmatch(r"[\w .+,()@/-]+", name) for name in files)
    assert all(name.count("/") <= 1 for name in files)


def test_control_characters_are_shown():
    assert visible(BIDI) == "a\\u202egpj.wav"
    assert visible(HOSTILE) == HOSTILE
    assert visible("new\nline") == "new\\nline"
    assert visible("größe") == "größe"
