"""CSV files are read as they are meant, and refused with the line that breaks a rule."""

import os
import re

import pytest

from cache.errors import CorpusError
from corpus.rows import counted, merge_rows, named, read_rows


@pytest.fixture
def read(tmp_path):
    def reader(content, **columns):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_rows(path, **({"required": ("fname", "label")} | columns))

    return reader


@pytest.mark.parametrize(
    "content",
    [
        b"fname,label\na.wav,Bark\nb.wav,Meow\n",
        b"\xef\xbb\xbffname,label\na.wav,Bark\nb.wav,Meow\n",
        b"fname,label\r\na.wav,Bark\r\nb.wav,Meow\r\n",
        b"fname,label\na.wav,Bark\nb.wav,Meow\n\n\n,\n  \n",
        b'"fname","label"\n"a.wav","Bark"\n"b.wav",Meow',
        b"label,fname,more\nBark,a.wav,1\nMeow,b.wav,\n",
        b"fname, label \na.wav, Bark\nb.wav,Meow \n",
    ],
    ids=["plain", "bom", "crlf", "blank-lines", "quoted", "other-columns", "spaces"],
)
def test_equal_tables_read_equal(read, content):
    rows = read(content)
    assert list(rows.columns) == ["fname", "label"]
    assert rows.to_numpy().tolist() == [["a.wav", "Bark"], ["b.wav", "Meow"]]


def test_cells_stay_text(read):
    rows = read('fname,label\n0123,NA\nNA,None\nnan,1e5\nNone,\n\'q,"a""b"\n')
    assert rows["fname"].tolist() == ["0123", "NA", "nan", "None", "'q"]
    assert rows["label"].tolist() == ["NA", "None", "1e5", "", 'a"b']


def test_fname_keeps_its_spaces_and_commas(read):
    assert read('fname,label\n" a, b .wav ",x\n')["fname"].tolist() == [" a, b .wav "]


def test_line_ends_inside_quotes_stay(read):
    assert read(b'fname,label\r\n"a\r\nb",x\r\n')["fname"].tolist() == ["a\r\nb"]


def test_index_is_the_line_number(read):
    assert read("fname,label\n\na,x\n\nb,y\n").index.tolist() == [3, 5]


def test_optional_columns_are_read_where_they_are(read):
    assert list(read("fname,label,fold\na,x,1\n", optional=("group", "fold")).columns) == ["fname", "label", "fold"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"is empty; it needs a header line"),
        ("\n\n", r"is empty; it needs a header line"),
        ("fname,lable\na,b\n", r"column 'label' is missing; the columns there are 'fname', 'lable'"),
        ("fname;label\na;b\n", r"column 'fname', 'label' is missing; the columns there are 'fname;label'"),
        ("fname,label,label\na,b,c\n", r"the header has column 'label' more than once"),
        ("fname,label\na,b\nc\n", r"line 3 has 1 field, the header 2"),
        ("fname,label\na,b,c\n", r"line 2 has 3 fields, the header 2"),
        ('fname,label\na,"b\n', r"line 2 is not CSV: unexpected end of data"),
        (b"fname,label\ncaf\xe9.wav,x\n", r"is not UTF-8 \(byte 0xe9 at position 15\)"),
        ("fname,label\na,b\n".encode("utf-16"), r"is not UTF-8 \(byte 0xff at position 0\)"),
        ("fname,label\n,b\n  ,b\n", r"fname must not be empty; 2 rows break this: '' \(line 2\), '  ' \(line 3\)"),
        ("fname,label\na,b\nc,d\na,e\n", r"fname must be unique; 1 row breaks this: 'a' \(line 4\)"),
        ("fname,label\na,b\na,b\n", r"fname must be unique"),
    ],
)
def test_broken_tables_are_refused(read, content, message):
    with pytest.raises(CorpusError, match=message):
        read(content)


@pytest.mark.parametrize("fname", ["/etc/a.wav", "../a.wav", "a/../../b.wav", "./a.wav", "a//b.wav", "a/", ".", ".."])
def test_fnames_that_are_no_plain_relative_path_are_refused(read, fname):
    with pytest.raises(CorpusError, match=re.escape("fname must be a plain relative path, without '..'; 1 row breaks")):
        read(f"fname,label\n{fname},x\n")


def test_many_culprits_are_counted_and_the_first_named(read):
    with pytest.raises(CorpusError, match=r"5 rows break this: '' \(line 2\), '' \(line 3\), '' \(line 4\), …$"):
        read("fname,label\n" + ",x\n" * 5)


def test_a_pipe_in_place_of_a_table_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(CorpusError, match=r"table\.csv is not a regular file"):
        read_rows(tmp_path / "table.csv", required=("fname",))


def test_merge_fills_gaps_and_appends(read):
    first = read("fname,label,fold\na,x,\nb,,2\n", optional=("fold",))
    second = read("fname,label,group\nc,z,g\nb,y,h\na,x,\n", optional=("group",))
    merged = merge_rows([("1.csv", first), ("2.csv", second)])
    assert merged.to_dict("list") == {
        "fname": ["a", "b", "c"],
        "label": ["x", "y", "z"],
        "fold": ["", "2", ""],
        "group": ["", "h", "g"],
    }
    assert merged.index.tolist() == [2, 3, 2]


def test_merge_of_one_is_itself(read):
    rows = read("fname,label\na,x\n")
    assert merge_rows([("1.csv", rows)]).equals(rows)


def test_merge_refuses_conflicts(read):
    first, second = read("fname,label\na,x\nb,y\n"), read("fname,label\nb,z\na,w\n")
    message = r"1\.csv and 2\.csv disagree on the label of 2 clips: 'a' is 'x' in one and 'w' in the other"
    with pytest.raises(CorpusError, match=message):
        merge_rows([("1.csv", first), ("2.csv", second)])


def test_named_and_counted():
    assert named(["a"]) == "'a'"
    assert named("abcd") == "'a', 'b', 'c' and 1 more"
    assert (counted(1, "row"), counted(0, "row"), counted(1600, "row")) == ("1 row", "0 rows", "1,600 rows")
