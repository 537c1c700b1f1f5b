"""The report in headless Chromium: it works, keeps verdicts, and hostile names do nothing."""

import os
import re
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import BIDI, HOSTILE, LABELS, NAMES, write_hostile_corpus, write_run
from stores import HEAD, LONG
from test_cli import run_json

from cache.errors import CorpusError
from corpus.relabel import apply_relabels, read_relabels
from corpus.tables import read_corpus
from infer import report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="NOT TESTED: the report in a browser needs chromium and chromedriver on the PATH"
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
OPTIONS += ("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-prefers-reduced-motion")
WIDTHS = (1280, 400)
REAL = {name: os.environ.get(name) for name in ("EARMARK_TEST_CORPUS", "EARMARK_TEST_STORE", "EARMARK_TEST_RUNS")}
"""A corpus, its store and its runs, of which there is one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of the hostile corpus; every second sound is linked."""
    folder = tmp_path_factory.mktemp("browser %23 ?")
    corpus = write_hostile_corpus(folder / "data #1")
    write_run(folder / "runs", read_corpus(corpus), modes=(HEAD, LONG))
    places = ["--store", folder / "features", "--runs", folder / "runs", "--jobs", 1, "--sound-mb", 0.2]
    written = run_json("report", corpus, *places, "--out", folder / "report.html")
    assert written["embedded"] > 3 < written["linked"]
    return folder


@pytest.fixture(scope="module")
def browser(folder):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in OPTIONS:
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", {"default": "ignore", "beforeUnload": "accept"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER)) as driver:
            yield driver


@pytest.fixture
def page(browser, folder):
    """The page, freshly opened by a browser that has forgotten everything."""
    address = (folder / "report.html").as_uri()
    browser.get(address)
    browser.execute_script("localStorage.clear()")
    browser.get(address)
    yield browser
    messages = [entry["message"] for entry in browser.get_log("browser")]
    # Chromium asks nobody on behalf of a page that no hand has touched, and says so.
    assert [message for message in messages if "'beforeunload'" not in message] == []


def script(page, text, *args):
    return page.execute_script(text, *args)


def press(page, by, what):
    """Click an element where a reviewer would see it: in the middle of the window, above the bar of verdicts."""
    element = page.find_element(by, what)
    script(page, "arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def wait_for(page, text, seconds=10.0):
    """Wait until an expression is true."""
    until = time.monotonic() + seconds
    while not (found := script(page, f"return {text}")):
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return found


def choose(page, name, value):
    script(
        page,
        "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('change', {bubbles: true})); f.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        str(value),
    )


def names(page):
    return script(page, "return [...document.querySelectorAll('#list .card h3')].map((h) => h.textContent)")


def all_cards(page):
    """Go through all pages of all clips; yield once a page."""
    choose(page, "f-list", "all")
    while True:
        yield
        following = page.find_element("css selector", "#pager button[aria-label='Next page']")
        if not following.is_displayed() or not following.is_enabled():
            return
        press(page, "css selector", "#pager button[aria-label='Next page']")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_in_light_and_dark(page, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        assert script(page, "return document.documentElement.scrollWidth") <= width
        background = script(page, "return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        press(page, "id", "theme")
        assert script(page, "return getComputedStyle(document.body).backgroundColor") != background
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def count_loaded(page):
    """Wait for every picture and player of every page; give the number of clips, of their pictures and players."""
    seen = np.zeros(3, int)
    for _ in all_cards(page):
        wait_for(page, "[...document.images].every((image) => image.complete && image.naturalWidth > 100)")
        wait_for(page, "[...document.querySelectorAll('audio')].every((player) => player.readyState >= 1)")
        kinds = ("#list .card", "#list img", "#list audio")
        seen += [script(page, "return document.querySelectorAll(arguments[0]).length", kind) for kind in kinds]
    return seen.tolist()


def test_every_picture_and_player_loads(page):
    assert count_loaded(page) == [18, 36, 18]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_report_of_the_demo_loads(browser, tmp_path):
    run_json("demo", tmp_path / "demo", "--clips", 82, "--epochs", 2)
    places = ["--store", tmp_path / "demo" / "features", "--runs", tmp_path / "demo" / "runs"]
    run_json("report", tmp_path / "demo" / "data", *places, "--out", tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    n_clips, n_pictures, n_players = count_loaded(browser)
    assert n_clips == n_players == n_pictures / 2 > 82
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.skipif(
    not all(REAL.values()), reason=f"NOT TESTED: the report of a real corpus in a browser needs {', '.join(REAL)}"
)
@pytest.mark.timeout(1200)
def test_the_report_of_a_real_corpus_works(browser, folder, tmp_path):
    """What is named is used where it lies, and left as it is but for the thumbnails beside the runs."""
    corpus, store, runs = REAL.values()
    clips = read_corpus(Path(corpus))
    written = run_json("report", corpus, "--store", store, "--runs", runs, "--out", tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    n_clips, n_pictures, n_players = count_loaded(browser)
    assert n_clips == len(clips)
    assert n_pictures >= written["pictured"] > 0
    assert n_players == written["embedded"] + written["linked"]
    choose(browser, "f-view", "table")
    for split, name in (("r", "train"), ("t", "test")):
        choose(browser, "f-split", split)
        assert browser.find_element("id", "found").text.split()[0] == f"{(clips['split'] == name).sum():,}"
    choose(browser, "f-split", "")
    choose(browser, "f-order", "name")
    shown = script(browser, "return [...document.querySelectorAll('#list tbody th')].map((th) => th.textContent)")
    assert shown == sorted(clips["fname"])[: len(shown)]
    choose(browser, "f-view", "cards")
    round_trip(browser, folder, clips)
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_charts_are_drawn(page):
    assert script(page, "return document.querySelectorAll('#score-plot svg circle').length") >= 9
    assert script(page, "return document.querySelectorAll('#curves .pair > div > div > svg').length") == 4


def test_hostile_names_are_text(page):
    shown = []
    for _ in all_cards(page):
        shown += names(page)
        assert script(page, "return document.querySelectorAll('#list img:not([src^=\"data:image\"])').length") == 0
    assert HOSTILE in shown
    assert BIDI.replace("\u202e", "\\u202e") in shown
    assert "new\\nline.wav" in shown
    assert script(page, "return document.scripts.length") == script(
        page, "return document.querySelectorAll('body > script').length"
    )
    labels = script(
        page, "return [...document.querySelectorAll('#class-table tbody th')].map((th) => th.textContent.trim())"
    )
    assert sorted(labels) == sorted(LABELS)


def test_filters_search_and_order(page, folder):
    clips = read_corpus(folder / "data #1")
    choose(page, "f-list", "all")
    assert page.find_element("id", "found").text == "18 clips"
    choose(page, "f-split", "t")
    assert page.find_element("id", "found").text == "6 clips"
    choose(page, "f-truth", sorted(LABELS).index("plain"))
    assert set(names(page)) == set(clips.loc[(clips["split"] == "test") & (clips["label"] == "plain"), "fname"])
    press(page, "css selector", "#filters button[type=reset]")
    wait_for(page, "document.getElementById('f-split').value === ''")
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    choose(page, "f-verified", "0")
    assert page.find_element("id", "found").text == "6 clips"
    choose(page, "f-verified", "")
    page.find_element("id", "f-text").send_keys("SCRIPT>")
    assert names(page) == [HOSTILE]
    choose(page, "f-text", "no such name")
    assert "No clip is like this" in page.find_element("id", "list").text
    choose(page, "f-text", "")
    choose(page, "f-view", "table")
    choose(page, "f-order", "pl")
    cells = script(page, "return [...document.querySelectorAll('#list tbody tr')].map((r) => r.cells[4].textContent)")
    shares = [float(text.split()[0]) for text in cells]
    assert len(shares) == 12
    assert shares == sorted(shares)
    press(page, "css selector", "#list thead button")
    first = page.find_element("css selector", "#list tbody th").text
    assert first == min(clips.loc[clips["split"] == "train", "fname"]).replace("\u2028", "\\u2028")


def test_a_clip_of_the_table_opens(page):
    choose(page, "f-list", "all")
    choose(page, "f-view", "table")
    assert script(page, "return document.images.length") == 0
    press(page, "css selector", "#list tbody th button")
    assert len(names(page)) == 1
    wait_for(page, "document.images.length === 2 && document.images[0].naturalWidth > 0")


def test_the_class_table_sorts_and_lists(page):
    head = page.find_elements("css selector", "#class-table thead button")[0]
    column = "return [...document.querySelectorAll('#class-table tbody th')].map((th) => th.textContent.trim())"
    script(page, "arguments[0].click()", head)
    rising = script(page, column)
    script(page, "arguments[0].click()", head)
    assert script(page, column) == rising[::-1]
    script(page, "document.querySelector('#class-table tbody button').click()")
    assert page.find_element("id", "found").text == "6 clips"


def test_the_matrix_is_walked_and_opened_by_keys(page, folder):
    from selenium.webdriver.common.keys import Keys

    cell = page.find_element("css selector", "#matrix td[role=gridcell]")
    script(page, "arguments[0].focus()", cell)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    active = page.switch_to.active_element
    row, column = active.get_attribute("data-row"), active.get_attribute("data-column")
    assert script(page, "return document.querySelectorAll('#matrix td[tabindex=\"0\"]').length") == 1
    assert "predicted as" in page.find_element("id", "matrix-status").text
    active.send_keys(Keys.ENTER)
    assert page.find_element("id", "f-truth").get_property("value") == row
    assert page.find_element("id", "f-top").get_property("value") == column
    assert page.switch_to.active_element.get_attribute("id") == "h-clips"


@pytest.mark.parametrize("kind", ["oof", "all", "test"])
def test_a_cell_lists_the_clips_it_counts(page, kind):
    choose(page, "matrix-of", kind)
    cells = script(page, "return document.querySelectorAll('#matrix td[role=gridcell]').length")
    counted = []
    for i in range(cells):
        cell = "document.querySelectorAll('#matrix td[role=gridcell]')[arguments[0]]"
        script(page, f"{cell}.click()", i)
        counted.append(int(script(page, f"return {cell}.textContent || '0'", i)))
        assert page.find_element("id", "found").text.split()[0] == str(counted[-1])
    assert sum(counted) == {"oof": 6, "all": 12, "test": 6}[kind]


def test_the_matrix_begins_with_the_larger_score(page, folder):
    assert page.find_element("id", "matrix-of").get_property("value") == "oof"
    text = (folder / "report.html").read_text(encoding="utf-8")
    start = text.index('"scored":[') + len('"scored":[')
    end = text.index("]", start)
    splits = re.search(r'"split":"(\w+)"', text)[1]
    flags = ",".join("1" if split == "t" else "0" for split in splits)
    changed = folder / "changed.html"
    changed.write_text(text[:start] + flags + text[end:], encoding="utf-8")
    page.get(changed.as_uri())
    assert page.find_element("id", "matrix-of").get_property("value") == "test"


def test_verdicts_by_keys_survive_a_reload(page):
    from selenium.webdriver.common.keys import Keys

    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    radio = page.find_element("css selector", "#list .card input[type=radio]")
    script(page, "arguments[0].focus()", radio)
    radio.send_keys(Keys.ARROW_DOWN)
    assert page.find_element("id", "verdict-count").text == "1 verdict, not downloaded yet."
    page.refresh()
    assert page.find_element("id", "verdict-count").text == "1 verdict, not downloaded yet."
    choose(page, "f-list", "judged")
    assert script(page, "return document.querySelector('#list .card input:checked').value") == "right"


def judge_all(page):
    """Give each training clip a verdict, kinds in turn; give name → (kind, label chosen)."""
    given, kinds, at = {}, ("right", "wrong", "out"), 0
    choose(page, "f-split", "r")
    for _ in all_cards(page):
        rows = script(page, "return [...document.querySelectorAll('#list .card')].map((c) => Number(c.dataset.row))")
        for row in rows:
            kind = kinds[at % 3]
            at += 1
            chosen = script(
                page,
                "const card = document.querySelector(`#list .card[data-row='${arguments[0]}']`);"
                "card.querySelector(`input[value=${arguments[1]}]`).click();"
                "return card.querySelector('.verdict select').selectedOptions[0].textContent",
                row,
                kind,
            )
            given[row] = (kind, chosen)
    return given


def test_verdicts_round_trip_through_the_csv(page, folder):
    round_trip(page, folder, read_corpus(folder / "data #1"))


def round_trip(page, folder, clips):
    """Judge all training clips, download the verdicts, read them as --relabel does, and load them again."""
    (folder / "downloads").mkdir(exist_ok=True)
    given = judge_all(page)
    press(page, "id", "verdict-save")
    path = folder / "downloads" / "verdicts.csv"
    until = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < until, "nothing was downloaded"
        time.sleep(0.05)
    assert page.find_element("id", "verdict-count").text == f"{len(given)} verdicts, downloaded."
    training = clips[clips["split"] == "train"]
    relabels = read_relabels([path], training).set_index("fname")
    assert len(relabels) == len(given) == len(training)
    for row, (kind, chosen) in given.items():
        clip = clips.iloc[row]
        found = relabels.loc[clip["fname"]]
        expected = {"right": clip["label"], "wrong": chosen}.get(kind)
        assert (found["label"] if expected else pd.isna(found["label"])) == (expected or True)
        assert expected is None or bool(found["manually_verified"])
    assert apply_relabels(training, relabels.reset_index())["label"].isna().sum() == len(training) // 3

    script(page, "localStorage.clear()")
    page.refresh()
    assert page.find_element("id", "verdict-count").text == "No verdicts yet."
    assert not page.find_element("id", "verdict-save").is_enabled()
    page.find_element("id", "verdict-file").send_keys(str(path))
    wait_for(page, f"document.getElementById('verdict-count').textContent === '{len(given)} verdicts loaded.'")
    again = script(
        page,
        "return Object.fromEntries(Object.entries(localStorage).filter(([k]) => /^earmark-verdicts-\\w+$/.test(k)))",
    )
    assert len(again) == 1
    path.unlink()


def test_a_file_that_is_no_list_of_verdicts_is_refused_kindly(page, folder, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    page.find_element("id", "verdict-file").send_keys(str(bad))
    wait_for(page, "document.getElementById('verdict-count').textContent.includes('no columns fname and label')")
    rows = 'fname,label\nno such clip,plain\n00.wav,no such class\n"03.wav",""\n'
    (tmp_path / "some.csv").write_text(rows)
    page.find_element("id", "verdict-file").send_keys(str(tmp_path / "some.csv"))
    wait_for(
        page, "document.getElementById('verdict-count').textContent.includes('1 verdict loaded; 2 rows passed over')"
    )


def load(page, path, content):
    """Load a file of verdicts; give what the page says of it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    script(page, "document.getElementById('verdict-count').textContent = ''")
    page.find_element("id", "verdict-file").send_keys(str(path))
    wait_for(page, "document.getElementById('verdict-count').textContent !== ''")
    return page.find_element("id", "verdict-count").text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fname,label\n03.wav,plain\n03.wav,\n", "disagree on 03.wav"),
        ("fname,label,manually_verified\n03.wav,plain,1\n03.wav,plain,0\n", "disagree on 03.wav"),
        ("fname,label,manually_verified\n03.wav,plain,yes\n", "must be 0, 1, true or false"),
        ("fname,label\n03.wav,plain,1\n", "has 3 cells, the header 2"),
        ('fname,label\n03.wav,"plain\n', "never closes"),
        ('fname,label\n03.wav,"pl"ain\n', "text after a quoted cell"),
        ("fname,label\n03.wav,plain\n".encode("utf-16"), "not UTF-8"),
        (b"fname,label\n03.wav,pl\xe4in\n", "not UTF-8"),
    ],
)
def test_files_that_relabel_refuses_are_refused_with_the_reason(page, folder, tmp_path, content, words):
    said = load(page, tmp_path / "verdicts.csv", content)
    assert said.startswith("Nothing loaded from this file: ")
    assert words in said
    clips = read_corpus(folder / "data #1")
    with pytest.raises(CorpusError):
        read_relabels([tmp_path / "verdicts.csv"], clips[clips["split"] == "train"])


@pytest.mark.parametrize(
    "content",
    [
        "\ufefffname, label ,manually_verified\r03.wav, plain ,True\r\r13.wav,plain,TRUE\r",
        "fname,label,manually_verified\r\n03.wav,plain,0\r\n,,\r\n13.wav,,false\r\n",
        'fname,label,manually_verified\n03.wav,plain,\n03.wav,plain,0\n"13.wav","plain",1\n',
    ],
)
def test_the_page_reads_a_file_as_relabel_does(page, folder, tmp_path, content):
    assert load(page, tmp_path / "verdicts.csv", content) == "2 verdicts loaded."
    clips = read_corpus(folder / "data #1")
    training = clips[clips["split"] == "train"]
    before = read_relabels([tmp_path / "verdicts.csv"], training)
    (folder / "downloads").mkdir(exist_ok=True)
    press(page, "id", "verdict-save")
    path = folder / "downloads" / "verdicts.csv"
    until = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < until, "nothing was downloaded"
        time.sleep(0.05)
    after = apply_relabels(training, read_relabels([path], training))
    path.unlink()
    expected = apply_relabels(training, before)
    kept = expected["label"].notna().to_numpy(bool)
    pd.testing.assert_series_equal(after["label"], expected["label"])
    pd.testing.assert_series_equal(after["manually_verified"][kept], expected["manually_verified"][kept])


def test_a_heading_sorts_both_ways_and_keeps_the_focus(page):
    choose(page, "f-list", "all")
    choose(page, "f-view", "table")
    column = "return [...document.querySelectorAll('#list tbody th')].map((th) => th.textContent)"
    for order in ("name", "pl", "p1", "truth"):
        script(page, f"document.querySelector('#list thead button[data-order={order}]').focus()")
        page.switch_to.active_element.send_keys("\ue007")
        once = script(page, column)
        first = script(page, "return document.activeElement.closest('th').getAttribute('aria-sort')")
        page.switch_to.active_element.send_keys("\ue007")
        assert script(page, "return document.activeElement.dataset.order") == order
        assert {first, script(page, "return document.activeElement.closest('th').getAttribute('aria-sort')")} == {
            "ascending",
            "descending",
        }
        assert script(page, column) == once[::-1]


def test_a_verdict_is_seen_at_once_in_the_table(page):
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    choose(page, "f-view", "table")
    press(page, "css selector", "#list tbody th button")
    press(page, "css selector", "#list .card input[value=out]")
    assert script(page, "return document.querySelector('#list tbody .said').textContent") == "leave out"


def test_a_linked_sound_that_is_gone_is_told(page, folder):
    moved = folder / "moved.html"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert '"link":"data%20%231/' in text
    moved.write_text(text.replace('"link":"data%20%231/', '"link":"gone%20/'), encoding="utf-8")
    page.get(moved.as_uri())
    for _ in all_cards(page):
        linked = "[...document.querySelectorAll('#list .card')].filter((c) => c.querySelector('audio')?.src[0] === 'f')"
        wait_for(page, f"{linked}.every((c) => c.querySelector('small').textContent.startsWith('not found at gone /'))")
    page.get_log("browser")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_and_borders_can_be_seen(page, scheme):
    if script(page, "return matchMedia('(prefers-color-scheme: dark)').matches") != (scheme == "dark"):
        press(page, "id", "theme")
    contrasts = script(
        page,
        """
        const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (text) => rgb(text).reduce((sum, v, i) => sum + part(v) * [0.2126, 0.7152, 0.0722, 0][i], 0.05);
        const contrast = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
        const style = (e) => getComputedStyle(e);
        const cells = [...document.querySelectorAll('#matrix td[role=gridcell]')].filter((cell) => cell.textContent);
        const box = style(document.getElementById('f-list'));
        const panel = style(document.getElementById('filters')).backgroundColor;
        return [cells.map((cell) => contrast(style(cell).color, style(cell).backgroundColor)),
          contrast(box.borderTopColor, panel), contrast(box.borderTopColor, box.backgroundColor)]
        """,
    )
    assert min(contrasts[0]) >= 4.5
    assert min(contrasts[1:]) >= 3


def test_mixed_colours_are_those_of_the_browser_and_all_can_be_read(page, folder):
    source = (Path(report_page.__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")
    mix = source[source.index("/** Mix two colours") : source.index("function setUpTheme")]
    pairs = [("#f5f7f9", "#08306b"), ("#1c2126", "#cfe6ff")]
    for low, high in pairs:
        found = script(
            page,
            mix + "return Array.from({length: 101}, (_, i) => mixColours(arguments[0], arguments[1], i / 100))"
            ".map((rgb) => [rgb, inkOn(rgb), luminance(rgb)])",
            low,
            high,
        )
        assert found[0][0] == pytest.approx([int(low[i : i + 2], 16) for i in (1, 3, 5)], abs=0.5)
        assert found[-1][0] == pytest.approx([int(high[i : i + 2], 16) for i in (1, 3, 5)], abs=0.5)
        for _, ink, light in found:
            ratio = 1.05 / (light + 0.05) if ink == "#fff" else (light + 0.05) / 0.05
            assert ratio >= 4.5


def test_a_name_is_spelt_as_the_tables_spell_it(page):
    source = (Path(report_page.__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")
    visible = source[source.index("const visible") : source.index("/** Make an element")]
    for text in (*NAMES, "a\xa0b c\td\re\x00f", "\u3000\U000e0001"):
        assert script(page, visible + "return visible(arguments[0])", text) == report_page.visible(text)


def test_undownloaded_verdicts_ask_before_the_page_goes(page):
    leaves = "const going = new Event('beforeunload', {cancelable: true}); return dispatchEvent(going)"
    assert script(page, leaves)
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    press(page, "css selector", "#list .card input[value=out]")
    assert not script(page, leaves)


def test_two_windows_of_a_report_share_their_verdicts(page):
    first = page.current_window_handle
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    page.switch_to.new_window("tab")
    try:
        page.get(address_of(page, first))
        choose(page, "f-list", "all")
        choose(page, "f-split", "r")
        press(page, "css selector", "#list .card input[value=out]")
    finally:
        page.close()
        page.switch_to.window(first)
    wait_for(page, "document.getElementById('verdict-count').textContent.startsWith('1 verdict,')")
    press(page, "css selector", "#list .card:nth-of-type(2) input[value=right]")
    assert page.find_element("id", "verdict-count").text.startswith("2 verdicts,")


def address_of(page, window):
    here = page.current_window_handle
    page.switch_to.window(window)
    address = page.current_url
    page.switch_to.window(here)
    return address


def test_without_storage_verdicts_stay_in_memory(page, folder):
    deny = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied') }})"
    added = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": deny})
    try:
        page.refresh()
        choose(page, "f-list", "all")
        choose(page, "f-split", "r")
        press(page, "css selector", "#list .card input[value=right]")
        assert page.find_element("id", "verdict-count").text.endswith(
            "not kept by this browser: download before you leave."
        )
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_csp_lets_nothing_else_run(page):
    script(
        page, "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert script(page, "return window.ran") is None
    log = [entry["message"] for entry in page.get_log("browser")]
    assert any("Content Security Policy" in message for message in log)


def test_the_fixture_is_no_accident(folder):
    assert Path(folder / "report.html").stat().st_size > 100_000
