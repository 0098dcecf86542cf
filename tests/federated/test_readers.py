"""Every kind of file gives the same examples, and every kind of damage one clear error that names the row."""

import json
import sqlite3
from contextlib import closing

import pyarrow
import pytest
from msgspec import UNSET
from pyarrow import parquet

from federated.data.examples import Example
from federated.data.readers import Source, read_examples
from federated.errors import DataError

pytestmark = pytest.mark.fast

ROWS = [
    {"review": "很快，好吃", "stars": 1, "user": "a"},
    {"review": 'said "no",\nthen left', "stars": 0, "user": "b"},
]
EXPECTED = [Example("很快，好吃", "1", "a"), Example('said "no",\nthen left', "0", "b")]
CSV = 'review,stars,user\r\n"很快，好吃",1,a\r\n"said ""no"",\nthen left",0,b\r\n'


def read(path, client_field="user", table=None):
    return list(read_examples(Source(path, "review", "stars", client_field, table)))


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path):
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.csv", "a.CSV"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_csv(tmp_path, name, bom):
    assert read(write(tmp_path / name, bom + CSV.encode())) == EXPECTED


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_json_lines(tmp_path, name, bom):
    lines = "\n\n".join(json.dumps(row) for row in ROWS)
    assert read(write(tmp_path / name, bom + lines.encode())) == EXPECTED


def test_parquet(tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == EXPECTED


@pytest.fixture
def database(tmp_path):
    """Two tables, one of them with a name that has to be quoted."""
    path = tmp_path / "a b?.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE "re ""views" (review, stars, user)')
        connection.executemany('INSERT INTO "re ""views" VALUES (:review, :stars, :user)', ROWS)
        connection.execute("CREATE TABLE other (x)")
    return path


def test_a_table_of_a_database(database):
    assert read(database, table='re "views') == EXPECTED
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE other")
    assert read(database) == EXPECTED, "the only table needs no name"


def test_a_database_without_the_table(database):
    assert """has 2 tables. Name one that it has with --table: 'other', 're "views'.""" in refusal(database)
    with pytest.raises(DataError, match=r"has no table 'x'\. Name one that it has"):
        read(database, table="x")


def test_a_damaged_database(tmp_path, database):
    assert "is damaged after row 0" in refusal(write(tmp_path / "a.sqlite", b"SQLite format 3\0 but no more"))
    content = bytearray(database.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    with pytest.raises(DataError, match="is damaged after row 0"):
        read(write(database, bytes(content)), table='re "views')


def test_a_file_has_no_tables(tmp_path):
    with pytest.raises(DataError, match="has no tables"):
        read(write(tmp_path / "a.csv", CSV), table="x")


def test_without_a_client_column_nobody_owns_the_rows(tmp_path):
    examples = read(write(tmp_path / "a.csv", CSV), client_field=None)
    assert {example.client for example in examples} == {None}


@pytest.mark.parametrize(("value", "label"), [(1, "1"), (1.0, "1"), (0.5, "0.5"), (" x ", "x"), (-3, "-3")])
def test_labels_become_text(tmp_path, value, label):
    path = write(tmp_path / "a.jsonl", json.dumps({"review": "r", "stars": value, "user": 7}))
    assert read(path) == [Example("r", label, "7")]


def test_a_csv_field_may_be_larger_than_python_allows_by_itself(tmp_path):
    text = "long " * 100_000
    assert read(write(tmp_path / "a.csv", f"review,stars,user\n{text},1,a\n"))[0].text == text


def test_blank_lines_are_no_rows(tmp_path):
    assert read(write(tmp_path / "a.csv", CSV.replace("\r\n", "\r\n\r\n"))) == EXPECTED


def test_planted_spans_are_kept_with_their_text(tmp_path):
    line = {"text": "not on", "subject": "lamp", "label": "x", "planted": [[0, 3]]}
    path = write(tmp_path / "a.jsonl", json.dumps(line))
    assert next(read_examples(Source(path, "text", "label"))).planted == [(0, 3)]
    assert next(read_examples(Source(path, "subject", "label"))).planted is UNSET


def test_planted_that_is_no_list_of_spans_is_refused(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "a rose", "label": "x", "planted": "2020-05-01"}))
    with pytest.raises(DataError, match=r"row 1 \(line 1\): 'planted' is not a list.*Rename the column"):
        next(read_examples(Source(path, "text", "label")))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.db"])
def test_a_missing_file(tmp_path, name):
    assert "No such file" in refusal(tmp_path / name)


def test_a_directory(tmp_path):
    (tmp_path / "a.csv").mkdir()
    assert "Is a directory" in refusal(tmp_path / "a.csv")


def test_an_unknown_kind(tmp_path):
    assert ".csv, .jsonl, .json, .parquet, .sqlite, .sqlite3, .db" in refusal(write(tmp_path / "a.xlsx", b""))


HEADER = "review,stars,user\n"
GOOD = "fine,1,a\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "holds no rows", id="empty file"),
        pytest.param(HEADER, "holds no rows", id="header only"),
        pytest.param("text,stars,user\n" + GOOD, "row 1 (line 2) has no column 'review'. Name one", id="no column"),
        pytest.param("text,stars,user\n" + GOOD, "'text', 'stars', 'user'", id="names the columns there are"),
        pytest.param("review,stars,user,review\nfine,1,a,b\n", "more than one column 'review'", id="repeated column"),
        pytest.param(HEADER + GOOD + " ,1,a\n", "row 2 (line 3): 'review' is empty", id="empty text"),
        pytest.param(HEADER + GOOD + "x,,a\n", "row 2 (line 3): 'stars' is empty", id="empty label"),
        pytest.param(HEADER + GOOD + "x,1,\n", "row 2 (line 3): 'user' is empty", id="empty client"),
        pytest.param(HEADER + GOOD + "a, b,1,a\n", "row 2 (line 3) has 4 values for 3 columns", id="too many values"),
        pytest.param(HEADER + GOOD + "x,1\n", "row 2 (line 3) has 2 values for 3 columns", id="too few values"),
        pytest.param(HEADER + '"a\nb",1,a\n,1,a\n', "row 2 (line 4)", id="line breaks do not count as rows"),
        pytest.param(HEADER + GOOD + '"x,1,a\n' + GOOD, "row 2 (line 4) is not valid CSV", id="open quote"),
        pytest.param(HEADER.encode() + b"fine,1,a\n\xb2\xee,1,a\n", "row 2 (line 3) is not UTF-8", id="not UTF-8"),
        pytest.param(b"\xb2\xee,stars,user\n", "header (line 1) is not UTF-8", id="header is not UTF-8"),
    ],
)
def test_damaged_csv(tmp_path, content, message):
    assert message in refusal(write(tmp_path / "a.csv", content))


def test_columns_without_a_name_are_nobodys(tmp_path):
    content = "review,stars,user,,\nfine,1,a,x,y\n"
    assert read(write(tmp_path / "a.csv", content)) == [Example("fine", "1", "a")]


LINE = json.dumps(ROWS[0]) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "holds no rows", id="empty file"),
        pytest.param(LINE + "\n{oops\n", "row 2 (line 3) is not a JSON object", id="broken line"),
        pytest.param("[1]\n", "row 1 (line 1) is not a JSON object", id="no object"),
        pytest.param(LINE.encode() + b'{"review": "\xff"}', "row 2 (line 2) is not a JSON object", id="not UTF-8"),
        pytest.param('{"review": ' + "[" * 100_000, "row 1 (line 1) is not a JSON object", id="deep nesting"),
        pytest.param("{}", "has no column 'review'. Name one that it has: none", id="no columns"),
        pytest.param(LINE + '{"review": "x"}', "row 2 (line 2) has no column 'stars'", id="missing key"),
        pytest.param('{"review": 5, "stars": 1, "user": 1}', "'review' holds int, not text", id="text is a number"),
        pytest.param('{"review": null, "stars": 1, "user": 1}', "'review' is empty", id="text is null"),
        pytest.param('{"review": "x", "stars": [1], "user": 1}', "'stars' holds list", id="label is a list"),
        pytest.param('{"review": "x", "stars": null, "user": 1}', "'stars' is empty", id="label is null"),
    ],
)
def test_damaged_json_lines(tmp_path, content, message):
    assert message in refusal(write(tmp_path / "a.jsonl", content))


def test_damaged_parquet(tmp_path):
    assert "is damaged after row 0" in refusal(write(tmp_path / "a.parquet", b"PAR1 but not really PAR1"))


def test_a_repeated_column_of_parquet(tmp_path):
    names = ["review", "stars", "user", "stars"]
    parquet.write_table(pyarrow.table([["fine"], [1], ["a"], [2]], names=names), tmp_path / "a.parquet")
    assert "more than one column 'stars'" in refusal(tmp_path / "a.parquet")


def test_a_missing_text_in_parquet(tmp_path):
    parquet.write_table(pyarrow.table({"review": ["x", None], "stars": [1, 1], "user": [1, 1]}), tmp_path / "a.parquet")
    assert "row 2: 'review' is empty" in refusal(tmp_path / "a.parquet")


def test_a_missing_number_in_parquet_is_empty(tmp_path):
    rows = [{"review": "x", "stars": float("nan"), "user": "a"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "row 1: 'stars' is empty" in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")),
        pyarrow.array([1], pyarrow.timestamp("ns")),
    ],
    ids=["not UTF-8", "nanoseconds"],
)
def test_a_parquet_column_that_python_cannot_hold(tmp_path, column):
    table = pyarrow.table({"review": ["good"], "stars": ["1"], "other": column})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert "is damaged after row 0" in refusal(tmp_path / "a.parquet")


def test_a_text_cannot_be_its_own_label(tmp_path):
    path = write(tmp_path / "a.csv", CSV)
    with pytest.raises(DataError, match="'stars' cannot be both the text and its label"):
        next(read_examples(Source(path, "stars", "stars")))


def test_a_text_without_a_visible_character(tmp_path):
    content = "review,stars,user\ngood,1,a\n\u200b,1,a\n"
    assert "row 2 (line 3): 'review' holds no visible character" in refusal(write(tmp_path / "a.csv", content))
