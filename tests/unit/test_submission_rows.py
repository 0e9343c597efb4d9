"""Rows out of files: where each begins, what it holds, and which files are trusted at all."""

import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract.bodies import REQUEST_FIELDS
from worker.submission.documents import document_rows, line_rows, shape_of
from worker.submission.rows import Row, Shape, UnreadableFileError
from worker.submission.tables import table_rows

HEADER = "payment_target,amount,email"


def table(text: str | bytes, key_column: str | None = None) -> list[Row]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(table_rows(data, key_column=key_column))


def lines(text: str | bytes, key_column: str | None = None) -> list[Row]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(line_rows(data, key_column=key_column))


def document(text: str, key_column: str | None = None) -> list[Row]:
    return list(document_rows(text.encode(), key_column=key_column))


def content(row: Row) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(row.body or b"null")
    return parsed


def codes(row: Row) -> list[tuple[str, str]]:
    return [(fault.field, fault.code) for fault in row.faults]


# --- CSV -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_with_either_separator_mark_and_line_end(
    separator: str, mark: bytes, end: str
) -> None:
    text = separator.join(["paymentTarget", "AMOUNT", "e_mail"]) + end
    text += separator.join(["PAYBOX", "0012", "a@b.c"]) + end
    (row,) = table(mark + text.encode())
    assert content(row) == {"payment_target": "PAYBOX", "amount": "0012", "email": "a@b.c"}
    assert (row.number, row.line, row.faults, row.ignored) == (1, 2, (), ())


def test_an_empty_cell_is_an_absent_field_and_an_unknown_column_is_left_out() -> None:
    (row,) = table("amount,name,commentaire\n1250,Dupont,\n")
    assert content(row) == {"amount": "1250"}
    assert row.ignored == ("name",)


def test_lines_are_those_where_rows_begin_and_empty_rows_are_not_counted() -> None:
    rows = table('amount,commentaire\n1,"two\nlines"\n\n , \n2,x\n')
    assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 6)]


def test_a_row_of_another_width_is_refused_for_that_alone_but_padding_is_not() -> None:
    rows = table("amount,email\n1\n1,a@b.c,\n1,a@b.c,x\n")
    assert [codes(row) for row in rows] == [
        [("row", "column_count")],
        [],
        [("row", "column_count")],
    ]
    assert rows[0].body is None


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("name;city\nx;y\n", "header_missing", 1),
        ('{"amount": "1"}\n', "header_missing", 1),
        ("amount,Amount\n1,2\n", "column_repeated", 1),
        ("\namount,payment_target,paymentTarget\n1,2,3\n", "column_repeated", 2),
        (f'{HEADER}\nPAYBOX,1,"open\nand,never,closed\n', "not_csv", 2),
        (f'{HEADER}\nPAYBOX,1,"a"b\n', "not_csv", 2),
        (f"{HEADER}\nPAYBOX,1,é\n".encode("latin-1"), "not_utf8", 2),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_as_a_whole(
    text: str | bytes, code: str, line: int
) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        table(text)
    assert (caught.value.code, caught.value.line) == (code, line)


def test_a_cell_longer_than_the_parsers_own_limit_is_left_to_the_reader() -> None:
    (row,) = table(f"amount,commentaire\n1,{'x' * 200_000}\n")
    assert len(row.body or b"") > 200_000


@given(st.dictionaries(st.sampled_from(REQUEST_FIELDS), st.text(min_size=1), min_size=1))
def test_every_cell_arrives_as_the_text_it_was(cells: dict[str, str]) -> None:
    """Quoted as RFC 4180 says, whatever a cell holds."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in cells.values()]
    text = ",".join(cells) + "\r\n" + ",".join(quoted) + "\r\n"
    kept = {name: cell for name, cell in cells.items() if cell.strip()}
    assert [content(row) for row in table(text)] == ([kept] if kept else [])


# --- keys ----------------------------------------------------------------------------------------


def test_the_key_column_is_found_by_its_folded_name_and_is_no_unknown_column() -> None:
    rows = table("amount,My_Key\n1, a \n2,\n", key_column="mykey")
    assert [row.key for row in rows] == ["a", None]
    assert [codes(row) for row in rows] == [[], [("mykey", "missing")]]
    assert rows[0].ignored == ()


def test_a_field_may_be_the_key_column_and_stays_in_the_body() -> None:
    (row,) = table("amount,id_commande\n1,40017\n", key_column="id_commande")
    assert row.key == "40017"
    assert content(row)["id_commande"] == "40017"


@pytest.mark.parametrize("header", ["amount,other", "amount,piece,Piece"])
def test_a_key_column_that_is_not_there_once_refuses_the_file(header: str) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        table(f"{header}\n1,2,3\n", key_column="piece")
    assert caught.value.code == "key_column_missing"


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ('{"amount":"1","piece":"a"}', "a", []),
        ('{"amount":"1","Piece":17}', "17", []),
        ('{"amount":"1"}', None, [("piece", "missing")]),
        ('{"amount":"1","piece":null}', None, [("piece", "missing")]),
        ('{"piece":"00000000-0000-0000-0000-000000000000"}', None, [("piece", "missing")]),
        ('{"amount":"1","piece":true}', None, [("piece", "not_text")]),
        ('{"piece":"a","PIECE":"a"}', None, [("piece", "repeated")]),
    ],
)
def test_the_key_of_a_json_row(body: str, key: str | None, expected: list[tuple[str, str]]) -> None:
    (row,) = lines(body, key_column="piece")
    assert (row.key, codes(row)) == (key, expected)


# --- JSON ----------------------------------------------------------------------------------------


def test_each_line_that_is_not_blank_is_a_row_handed_on_as_it_stands() -> None:
    rows = lines(codecs.BOM_UTF8 + b'{"a": NaN, "a": 1}\r\n\n  not json \n')
    assert [(row.number, row.line, row.body) for row in rows] == [
        (1, 1, b'{"a": NaN, "a": 1}'),
        (2, 3, b"not json"),
    ]


def test_a_document_is_one_request_or_an_array_of_them() -> None:
    assert [(row.number, row.line, row.body) for row in document('\n {"a":\n1}\n')] == [
        (1, 2, b'{"a":\n1}')
    ]
    text = '\n[ {"a": 1},\n  {"a": NaN, "a": 2}\n,\n3 ]\n'
    assert [(row.number, row.line, row.body) for row in document(text)] == [
        (1, 2, b'{"a": 1}'),
        (2, 3, b'{"a": NaN, "a": 2}'),
        (3, 5, b"3"),
    ]
    assert document("[]") == document(" [ ] ") == document("") == []


def test_a_number_longer_than_python_reads_is_still_one_element() -> None:
    assert [row.body for row in document(f"[{'9' * 5000}]")] == [b"9" * 5000]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('[{"a":1}\n{"a":2}]', "not_json", 1),
        ('[{"a":1},\n]', "not_json", 2),
        ('[{"a":1},\n{"a":', "not_json", 2),
        ('[{"a":1}]\nx', "not_json", 1),
        ('[{"a":1}', "not_json", 1),
        ("[", "not_json", 1),
        ("[]x", "not_json", 1),
        ("[" * 100_000, "too_deep", 1),
    ],
)
def test_an_array_that_cannot_be_taken_apart_is_refused_as_a_whole(
    text: str, code: str, line: int
) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        document(text)
    assert (caught.value.code, caught.value.line) == (code, line)


def test_an_array_in_another_encoding_names_the_line() -> None:
    with pytest.raises(UnreadableFileError) as caught:
        list(document_rows('\n[\n"é"]'.encode("latin-1"), key_column=None))
    assert (caught.value.code, caught.value.line) == ("not_utf8", 3)


# --- shape ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "data", "shape"),
    [
        (".CSV", b"{}", Shape.CSV),
        (".jsonl", b"a,b", Shape.JSON_LINES),
        (".ndjson", b"", Shape.JSON_LINES),
        (".json", b"a,b", Shape.JSON),
        ("", b'{"a":1}\n{"a":2}', Shape.JSON_LINES),
        ("", b'{"a":1}', Shape.JSON_LINES),
        (".txt", b'{\n"a":1}', Shape.JSON),
        ("", b"\xef\xbb\xbf [", Shape.JSON),
        ("", codecs.BOM_UTF8 + b"payment_target;amount", Shape.CSV),
        ("", b"", Shape.CSV),
        ("", b'{"a":' * 50_000, Shape.JSON),
    ],
)
def test_the_shape_follows_from_the_suffix_else_from_the_beginning(
    suffix: str, data: bytes, shape: Shape
) -> None:
    assert shape_of(suffix, data) is shape


def test_a_row_shows_neither_body_nor_key() -> None:
    (row,) = lines('{"email":"client@example.org","piece":"secret"}', key_column="piece")
    assert "example.org" not in repr(row)
    assert "secret" not in repr(row)
