"""Event lists: the formats, hostile files, and what is said of them."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import EarmarkError, InputError, NotFoundError
from infer.event_lists import read_event_list, recording_of
from infer.events import Event

BARK, MEOW = Event(0.5, 2.0, "Bark"), Event(1.25, 3.0, "Meow")
DCASE = "filename\tonset\toffset\tevent_label\na.wav\t1.25\t3.0\tMeow\na.wav\t0.5\t2.0\tBark\nb.wav\t0.5\t2\tBark\n"
EVENT = {"onset": 0.5, "offset": 2.0, "label": "Bark", "score": 0.75}
EVENTS = [Event(0.5, 2.0, "Bark", 0.75)]
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"


@pytest.fixture
def read(tmp_path):
    """Write a file and read it as an event list."""

    def write_and_read(content: str | bytes, name: str = "dog.txt") -> dict[str, list[Event]]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_event_list(path)

    return write_and_read


class TestDcase:
    def test_events_are_sorted_and_kept_by_recording(self, read) -> None:
        found = read(DCASE, "truth.tsv")
        assert list(found.items()) == [("a.wav", [BARK, MEOW]), ("b.wav", [BARK])]

    def test_a_header_may_lack(self, read) -> None:
        assert read(DCASE.split("\n", 1)[1]) == read(DCASE)

    def test_three_columns_are_of_one_recording(self, read) -> None:
        assert read("0.5\t2.0\tBark\n1.25\t3\tMeow\n", "dog.ann") == {"dog": [BARK, MEOW]}
        assert read("onset\toffset\tevent_label\n0.5\t2.0\tBark\n") == {"dog": [BARK]}

    def test_a_recording_without_events_is_known(self, read) -> None:
        text = "filename\tonset\toffset\tevent_label\nquiet.wav\t\t\t\na.wav\t0.5\t2\tBark\nstill.wav\n"
        assert read(text) == {"quiet.wav": [], "a.wav": [BARK], "still.wav": []}
        assert read(text.split("\n", 1)[1]) == {"quiet.wav": [], "a.wav": [BARK], "still.wav": []}

    def test_a_header_alone_names_no_recording(self, read) -> None:
        assert read(DCASE.split("\n")[0]) == {}
        assert read("onset\toffset\tlabel\n") == {"dog": []}

    def test_a_recording_may_have_a_number_for_a_name(self, read) -> None:
        assert read("1\t0.5\t2.0\tBark\n") == {"1": [BARK]}

    @pytest.mark.parametrize(
        "header",
        [
            "file,event_onset,event_offset,label",
            "FNAME,Start,End,Class",
            "path,start (s),end (s),Common name",
            "segment_id,start_time_seconds,end_time_seconds,label",
        ],
    )
    def test_other_names_of_columns(self, read, header) -> None:
        assert read(f"{header}\na.wav,0.5,2,Bark\n") == {"a.wav": [BARK]}


class TestCsv:
    def test_columns_in_any_order_with_more_beside_them(self, read) -> None:
        text = "comment,label,score,offset,onset,filename\nloud,Bark,0.25,2,0.5,a.wav\n,Meow,,3,1.25,a.wav\n"
        assert read(text, "found.csv") == {"a.wav": [Event(0.5, 2.0, "Bark", 0.25), MEOW]}

    def test_of_two_columns_that_could_be_meant_the_plainer_counts(self, read) -> None:
        assert read("species,onset,start,offset,label\nCanis lupus,0.5,9,2,Bark\n") == {"dog": [BARK]}

    def test_quoted_cells(self, read) -> None:
        text = 'filename,onset,offset,label\n"a,b.wav",0.5,2,"say ""Bark"""\n"c\nd.wav",0.5,2,Bark\n'
        assert read(text) == {"a,b.wav": [Event(0.5, 2.0, 'say "Bark"')], "c\nd.wav": [BARK]}

    def test_line_ends_in_a_quoted_cell_stay(self, read) -> None:
        assert read('onset,offset,label\r\n0.5,2,"a\rb\r\nc"\r\n') == {"dog": [Event(0.5, 2.0, "a\rb\r\nc")]}

    def test_semicolons_and_no_header(self, read) -> None:
        assert read("filename;onset;offset;label\na.wav;0.5;2;Bark, loud\n") == {
            "a.wav": [Event(0.5, 2.0, "Bark, loud")]
        }
        assert read("0.5,2,Bark\n") == {"dog": [BARK]}

    def test_tabs_with_a_header_are_quoted_as_commas_are(self, read) -> None:
        text = 'onset\toffset\tlabel\n"0.5"\t2\t"Bark"\n1\t2\t"5"" bell"\n2\t3\t6" bell\n3\t4\t"a\tb\nc"\n'
        text += "4\t5\tMoo\n5\tx\tMoo"
        with pytest.raises(InputError, match=r"line 8: offset must be a number"):
            read(text)
        assert [event.label for event in read(text.rsplit("\n", 1)[0])["dog"]] == [
            "Bark",
            '5" bell',
            '6" bell',
            "a\tb\nc",
            "Moo",
        ]


class TestAudacity:
    def test_labels(self, read) -> None:
        assert read("0.500000\t2.000000\tBark\n1.250000\t3.000000\tMeow\n") == {"dog": [BARK, MEOW]}

    def test_a_point_lasts_a_millisecond(self, read) -> None:
        assert read("1.000000\t1.000000\tKnock\n") == {"dog": [Event(1.0, 1.001, "Knock")]}

    def test_lines_of_frequencies_are_passed_over(self, read) -> None:
        assert read("0.5\t2.0\tBark\n\\\t100.000000\t6928.456055\n1.25\t3\tMeow\n\\\t1\t2\n") == {"dog": [BARK, MEOW]}

    @pytest.mark.parametrize("label", ["start", "label", "event_label", "Common Name"])
    def test_a_label_is_no_header(self, read, label) -> None:
        assert read(f"0.5\t2.0\t{label}\n") == {"dog": [Event(0.5, 2.0, label)]}

    def test_a_quote_is_a_quote(self, read) -> None:
        text = '0.5\t2\t"Bark\n1\t2\t6" bell\n2\t3\t"Bark"\n3\t4\t"5"" bell"\n'
        assert [event.label for event in read(text)["dog"]] == ['"Bark', '6" bell', "Bark", '5" bell']

    def test_a_label_may_be_empty_nowhere(self, read) -> None:
        with pytest.raises(InputError, match=r"dog\.txt line 2: label must be text and not empty; got ''"):
            read("0.5\t2.0\tBark\n3.0\t4.0\t\n")


class TestRaven:
    def test_a_selection_is_read_once(self, read) -> None:
        rows = "1\tWaveform 1\t1\t0.5\t2.0\t0\t22050\tBark\t\n1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\t\n"
        rows += (
            "2\tWaveform 1\t1\t1.25\t3.0\t0\t22050\tMeow\t0.5\n2\tSpectrogram 1\t1\t1.25\t3.0\t0\t22050\tMeow\t0.5\n"
        )
        assert read(f"{RAVEN}Annotation\tScore\n{rows}") == {"dog": [BARK, Event(1.25, 3.0, "Meow", 0.5)]}

    def test_a_quote_is_a_quote(self, read) -> None:
        row = '1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\t"Bark\n'
        assert read(f"{RAVEN}Species\n{row}") == {"dog": [Event(0.5, 2.0, '"Bark')]}

    def test_equal_selections_are_two_events(self, read) -> None:
        rows = "1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\n2\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\n"
        assert read(f"{RAVEN}Species\n{rows}") == {"dog": [BARK, BARK]}

    def test_the_sound_file_is_the_recording(self, read) -> None:
        row = "1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\t/sounds/a.wav\n"
        assert read(f"{RAVEN}Common Name\tBegin Path\n{row}") == {"/sounds/a.wav": [BARK]}

    def test_times_in_several_sound_files_are_from_the_begin_of_each(self, read) -> None:
        rows = "1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\ta.wav\t0.5\n"
        rows += "2\tSpectrogram 1\t1\t61.25\t63.0\t0\t22050\tMeow\tb.wav\t1.25\n"
        assert read(f"{RAVEN}Label\tBegin File\tFile Offset (s)\n{rows}") == {"a.wav": [BARK], "b.wav": [MEOW]}

    def test_without_them_several_sound_files_are_refused(self, read) -> None:
        rows = "1\tSpectrogram 1\t1\t0.5\t2.0\t0\t22050\tBark\ta.wav\n2\tS 1\t1\t61\t63\t0\t22050\tMeow\tb.wav\n"
        with pytest.raises(InputError, match=r"dog\.txt line 2: .* must have the column File Offset \(s\)"):
            read(f"{RAVEN}Label\tBegin File\n{rows}")

    def test_a_table_without_labels_is_refused(self, read) -> None:
        with pytest.raises(InputError, match=r"line 1: the header must have a column of labels \(event_label, label,"):
            read(f"{RAVEN}Peak\n")


class TestJson:
    @pytest.mark.parametrize("name", ["dog.json", "dog.txt", "DOG.JSON"])
    def test_as_cli_caption_writes_it(self, read, name) -> None:
        value = {"files": [{"path": "in/a.wav", "out": "a.vtt", "events": [EVENT]}, {"path": "b", "events": []}]}
        assert read(json.dumps(value), name) == {"in/a.wav": EVENTS, "b": []}

    def test_one_file(self, read) -> None:
        assert read(json.dumps({"path": "a.wav", "events": [EVENT]}), "x.json") == {"a.wav": EVENTS}
        assert read(json.dumps({"events": [EVENT]}), "x.json") == {"x": EVENTS}
        assert read(json.dumps([{"path": "a.wav", "events": [EVENT]}]), "x.json") == {"a.wav": EVENTS}

    def test_a_list_of_events(self, read) -> None:
        events = [{"onset": 1, "offset": 2.5, "event_label": "Meow"}, EVENT]
        assert read(json.dumps(events), "x.json") == {"x": [*EVENTS, Event(1.0, 2.5, "Meow")]}
        named = [{**EVENT, "filename": "a.wav"}, {**EVENT, "filename": "b.wav"}]
        assert read(json.dumps(named), "x.json") == {"a.wav": EVENTS, "b.wav": EVENTS}
        assert read("[]", "x.json") == {"x": []}
        assert read('{"files": []}', "x.json") == {}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", r"line 1: it is not JSON"),
            ('{"files": [\n{"path": }]}', r"line 2: it is not JSON"),
            ("[" * 100_000, r"line 1: it is not JSON of an event list"),
            ("[" + "9" * 5000 + "]", r"line 1: it is not JSON of an event list"),
            ("3", r"must be a list of events, or hold one as its events or files; got 3"),
            ('{"file": []}', r"must be a list of events.*; got the keys 'file'"),
            ('{"files": {}}', r"must be a list of events.*; got "),
            ('{"files": [{"path": "a", "events": []}, {"path": "b"}]}', r"file 2 must be a list .*the keys 'path'"),
            ('{"files": [{"path": 3, "events": []}]}', r"file 1: recording must be text and not empty; got 3"),
            ("[3]", r"event 1 must be an object with onset, offset and label; got 3"),
            ('[{"onset": 1, "label": "Bark"}]', r"event 1 must be an object with onset, offset and label; got {"),
            ('[{"onset": 1, "offset": 2, "label": null}]', r"event 1 must be an object"),
            ('{"path": "a", "events": [{"onset": 1, "offset": NaN, "label": "Bark"}]}', r"event 1 of 'a': .*1.0 … nan"),
            ('[{"onset": true, "offset": 2, "label": "Bark"}]', r"event 1: onset must be a number; got True"),
            ('[{"onset": [], "offset": 2, "label": "Bark"}]', r"event 1: onset must be a number; got \[\]"),
            ('[{"onset": 1, "offset": 1' + "0" * 400 + ', "label": "Bark"}]', r"event 1: offset must be a number"),
            ('[{"onset": 1, "offset": 2, "label": 5}]', r"event 1: label must be text and not empty; got 5"),
            (r'[{"onset": 1, "offset": 2, "label": "\ud800"}]', r"event 1: label must be text"),
            (
                '[{"onset": 1, "offset": 2, "label": "Bark", "score": 7}]',
                r"event 1: .*score must be from 0 to 1; got 7",
            ),
        ],
    )
    def test_what_is_wrong_is_told(self, read, text, words) -> None:
        with pytest.raises(InputError, match=rf"dog\.json {words}"):
            read(text, "dog.json")

    def test_the_suffix_promises_json(self, read) -> None:
        with pytest.raises(InputError, match=r"dog\.JSON line 1: it is not JSON"):
            read("0.5\t2.0\tBark\n", "dog.JSON")


class TestHostileTables:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_line_ends_and_marks(self, read, end, encoding) -> None:
        text = DCASE.replace("Bark", "Bärk").replace("\n", end)
        assert read(text.encode(encoding))["b.wav"] == [Event(0.5, 2.0, "Bärk")]

    @pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", " \t \n"])
    def test_an_empty_file_is_a_recording_without_events(self, read, text) -> None:
        assert read(text) == {"dog": []}

    def test_blank_lines_count_as_lines(self, read) -> None:
        with pytest.raises(InputError, match=r"line 4: "):
            read("\n0.5\t2\tBark\n\n3\t2\tBark\n")

    def test_a_line_of_csv_is_that_on_which_it_begins(self, read) -> None:
        with pytest.raises(InputError, match=r"line 4: onset must be a number; got 'x'"):
            read('filename,onset,offset,label\n"a\nb",0,1,Bark\nc,x,2,Bark\n')

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("a.wav\tnan\t1\tBark", r"0 <= onset < offset; got nan … 1.0 \(Bark\)"),
            ("a.wav\t0\tNaN\tBark", r"0 <= onset < offset; got 0.0 … nan"),
            ("a.wav\t-0.5\t1\tBark", r"0 <= onset < offset; got -0.5 … 1.0"),
            ("a.wav\t2\t1\tBark", r"0 <= onset < offset; got 2.0 … 1.0"),
            ("a.wav\t0\t1e999\tBark", r"0 <= onset < offset; got 0.0 … inf"),
            ("a.wav\t1e300\t1e300\tBark", r"0 <= onset < offset; got 1e\+300 … 1e\+300"),
            ("a.wav\tinf\tinf\tBark", r"0 <= onset < offset; got inf … inf"),
            ("a.wav\t0,5\t2\tBark", r"onset must be a number; got '0,5': write a decimal point"),
            ("a.wav\t1_0\t20\tBark", r"onset must be a number; got '1_0'"),
            ("a.wav\t0:01\t0:02\tBark", r"onset must be a number; got '0:01'"),
            ("a.wav\t\t2\tBark", r"onset must be a number; got ''"),
            ("\t1\t2\tBark", r"recording must be text and not empty; got ''"),
            ("a.wav\t1\t2\t ", r"label must be text and not empty; got ''"),
            ("a.wav\t1\t2", r"label must be text and not empty; got ''"),
            ("a.wav\t1\t2\tBark\tloud", r"has 5 cells, the header 4"),
        ],
    )
    def test_rows_under_a_header(self, read, row, words) -> None:
        with pytest.raises(InputError, match=rf"dog\.txt line 2:? .*{words}"):
            read(f"filename\tonset\toffset\tevent_label\n{row}\n")

    @pytest.mark.parametrize(
        "text",
        [
            "name,begin,stop,kind\n",
            "hello\n",
            "hello, world\n",
            "0.5\t2.0\n",
            "0.5\n",
            "0.5\t2.0\tBark\t0.5\tloud\n",
            "a.wav\tkitchen\t0.5\t2.0\tBark\n",
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n[dog barks]\n",
            "1\n00:00:01,000 --> 00:00:02,000\n[dog barks]\n",
        ],
    )
    def test_what_is_no_list(self, read, text) -> None:
        with pytest.raises(InputError, match=r"dog\.txt line 1: rows must be onset, offset, label, or .*cli caption"):
            read(text)

    def test_rows_of_another_form(self, read) -> None:
        with pytest.raises(InputError, match=r"line 2: rows must be .*; got 'a\.wav', '0\.5', '2\.0', 'Bark': "):
            read("0.5\t2.0\tBark\na.wav\t0.5\t2.0\tBark\n")
        with pytest.raises(InputError, match=r"line 2: rows must be .*; got '0\.5', '2\.0', 'Bark': "):
            read("a.wav\t0.5\t2.0\tBark\n0.5\t2.0\tBark\n")

    def test_a_column_that_is_missing(self, read) -> None:
        with pytest.raises(
            InputError, match=r"line 1: .* a column of offsets \(offset, .*\); .* are 'filename', 'onset'"
        ):
            read("filename,onset,label\na.wav,1,Bark\n")

    def test_a_column_that_is_there_twice(self, read) -> None:
        with pytest.raises(InputError, match=r"line 1: the header has column 'onset' more than once; keep one"):
            read("onset,Onset,offset,label\n1,1,2,Bark\n")

    def test_other_encodings(self, read) -> None:
        with pytest.raises(InputError, match=r"dog\.txt line 2: text must be UTF-8; got byte 0xe4: save it as UTF-8"):
            read("1\t2\tBark\n1\t2\tBär\n".encode("latin-1"))
        with pytest.raises(InputError, match="text must be UTF-8"):
            read("1\t2\tBark\n".encode("utf-16") + b"\0")

    def test_csv_that_is_none(self, read) -> None:
        with pytest.raises(InputError, match=r"line 2: it is not CSV"):
            read('onset,offset,label\n1,2,"Bark\n')

    @settings(deadline=None, max_examples=100)
    @given(data=st.binary(max_size=200) | st.text(alphabet='09.-e\t,;"\\\n[{:}]aonset', max_size=100).map(str.encode))
    def test_anything_is_read_or_refused_in_a_sentence(self, tmp_path_factory, data) -> None:
        path = tmp_path_factory.getbasetemp() / "any.txt"
        path.write_bytes(data)
        message = f"{path} "
        try:
            assert all(events == sorted(events) for events in read_event_list(path).values())
        except EarmarkError as error:
            message = str(error)
        assert message.startswith(f"{path} ")

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.builds(
                lambda onset, length, label: Event(onset, onset + length, label),
                st.floats(0, 1e6),
                st.floats(0.001, 1e3),
                st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda text: text[0] != '"'),
            )
        )
    )
    def test_each_format_gives_the_same_events(self, tmp_path_factory, events) -> None:
        folder = tmp_path_factory.mktemp("lists")
        rows = [[repr(event.onset), repr(event.offset), event.label] for event in events]
        (folder / "three.txt").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        header = "offset\tonset\tlabel\n"
        table = header + "".join(f"{offset}\t{onset}\t{label}\n" for onset, offset, label in rows)
        (folder / "headed.tsv").write_text(table, encoding="utf-8")
        objects = [{"onset": event.onset, "offset": event.offset, "label": event.label} for event in events]
        (folder / "objects.json").write_text(json.dumps(objects), encoding="utf-8")
        assert read_event_list(folder) == dict.fromkeys(["headed", "objects", "three"], sorted(events))


class TestFolders:
    def test_a_recording_a_file(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_text("0.5\t2.0\tBark\n")
        (tmp_path / "b.CSV").write_text("onset,offset,label\n1.25,3,Meow\n")
        (tmp_path / "c.json").write_text("[]")
        (tmp_path / "d.tsv").write_text("filename\tonset\toffset\tevent_label\n")
        (tmp_path / "e.tsv").write_text("filename\tonset\toffset\tevent_label\ne.wav\t0.5\t2\tBark\n")
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        (tmp_path / ".hidden.txt").write_text("nothing")
        (tmp_path / "deeper.txt").mkdir()
        assert read_event_list(tmp_path) == {"a": [BARK], "b": [MEOW], "c": [], "d": [], "e.wav": [BARK]}

    def test_two_files_of_one_recording(self, tmp_path) -> None:
        for name in ("a.tsv", "a.txt"):
            (tmp_path / name).write_text("0.5\t2.0\tBark\n")
        with pytest.raises(InputError, match=r"a\.tsv and a\.txt are both of the recording 'a'; keep one of them"):
            read_event_list(tmp_path)

    def test_the_file_is_named(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_text("0.5\t2.0\tBark\n")
        (tmp_path / "b.txt").write_text("0.5\tBark\n")
        with pytest.raises(InputError, match=r"b\.txt line 1: rows must be"):
            read_event_list(tmp_path)

    def test_a_folder_without_lists(self, tmp_path) -> None:
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        with pytest.raises(NotFoundError, match=r"holds no event list \(\.csv, \.json, \.tsv, \.txt\)"):
            read_event_list(tmp_path)

    def test_nothing_there(self, tmp_path) -> None:
        with pytest.raises(NotFoundError, match=r"there is no event list .*nowhere\.tsv"):
            read_event_list(tmp_path / "nowhere.tsv")

    def test_a_pipe_is_not_waited_for(self, tmp_path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(InputError, match=r"pipe\.txt is not a regular file"):
            read_event_list(tmp_path / "pipe.txt")

    def test_a_name_that_is_not_utf8_is_shown(self, tmp_path) -> None:
        path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
        try:
            Path(os.fsdecode(path)).write_text("0.5\t2.0\tBark\n")
        except OSError:
            pytest.skip("this file system has UTF-8 names only")
        assert read_event_list(tmp_path) == {"caf\\xe9": [BARK]}

    @pytest.mark.parametrize(
        "name",
        [
            "a.txt",
            "a.Table.1.selections.txt",
            "a.selections.txt",
            "a.BirdNET.selection.table.txt",
            "a.BirdNET.results.csv",
        ],
    )
    def test_the_recordings_name_is_the_files(self, name) -> None:
        assert recording_of(Path("folder") / name) == "a"
