"""Documents from files: where they start and end, what is mended, what is an error."""

import json
import sysconfig
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muonlab.data.documents import Mended
from muonlab.data.sources.local import SHORTEST_DOCUMENT, local_documents, text_files
from muonlab.data.sources.stdlib import stdlib_documents
from muonlab.io.errors import UserError
from muonlab.plan.datasets import source_files


def read(path, document_start=None, field="text"):
    mended = Mended()
    return list(mended.kept(local_documents([path], field, document_start, mended))), mended


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_pattern_starts_documents(tmp_path):
    text = " \n = One = \n \n a \n = = Part = = \n b \n = Two = \n c \n"
    documents, mended = read(write(tmp_path / "wiki.txt", text), "^ = [^=]")
    assert documents == [" = One = \n \n a \n = = Part = = \n b \n", " = Two = \n c \n"]
    assert mended.empty_documents_dropped == 1  # the blank line before the first


def test_paragraphs_are_joined_to_documents_of_some_length(tmp_path):
    paragraph = "word " * 60 + "\n\n"
    documents, _ = read(write(tmp_path / "a.txt", paragraph * 40))
    assert "".join(documents) == paragraph * 40
    assert len(documents) > 3
    for document in documents[:-1]:
        assert SHORTEST_DOCUMENT <= len(document) <= SHORTEST_DOCUMENT + len(paragraph)


def test_a_file_without_blank_lines_is_cut_at_a_line_end(tmp_path, monkeypatch):
    monkeypatch.setattr("muonlab.data.sources.local.LONGEST_UNMARKED", 1000)
    documents, _ = read(write(tmp_path / "a.txt", "some line\n" * 1000))
    assert len(documents) == 10 and all(d.endswith("line\n") for d in documents)


def test_bad_bytes_are_mended_and_counted(tmp_path):
    raw = b"\xef\xbb\xbfone\0two \xff\xfe\r\nhad one: \xef\xbf\xbd\rend\n"
    documents, mended = read(write(tmp_path / "a.txt", raw))
    assert documents == ["onetwo \ufffd\ufffd\nhad one: \ufffd\nend\n"]
    assert (mended.nuls_removed, mended.invalid_utf8_replaced) == (1, 2)


def test_a_file_of_nothing_has_no_documents(tmp_path):
    assert read(write(tmp_path / "empty.txt", b""))[0] == []
    documents, mended = read(write(tmp_path / "blank.txt", b"\n\0\n  \n"))
    assert documents == [] and mended.empty_documents_dropped == 1


@given(st.binary(max_size=300))
def test_any_bytes_become_text_that_can_be_encoded(raw):
    mended = Mended()
    for text in mended.kept(iter([mended.decode(raw)])):
        assert "\0" not in text and "\r" not in text
        text.encode("utf-8")


def test_jsonl_records(tmp_path):
    lines = [json.dumps({"body": f"text {i}", "id": i}) for i in range(3)]
    path = write(tmp_path / "a.jsonl", "\n".join([lines[0], "", *lines[1:]]))
    assert read(path, field="body")[0] == ["text 0", "text 1", "text 2"]


def test_half_a_surrogate_pair_is_replaced(tmp_path):
    documents, mended = read(write(tmp_path / "a.jsonl", '{"text": "a\\ud800b"}'))
    assert documents == ["a\ufffdb"] and mended.invalid_utf8_replaced == 1


BROKEN = {
    "cut off": ('{"text": "a"}\n{"text": "b', "a.jsonl, line 2: is not JSON"),
    "without the field": ('{"text": "a"}\n\n{"other": "b"}', "line 3: has no text in the field"),
    "null": ('{"text": null}', "line 1: has no text in the field 'text'"),
    "a list": ('["text"]', "line 1: has no text"),
    "nested": ("[" * 100_000, "line 1: is not JSON"),
}


@pytest.mark.parametrize("content, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_by_file_and_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "a.jsonl", content))


def test_parquet_is_read_in_row_groups(tmp_path):
    texts = [f"text {i}" for i in range(1000)]
    table = pa.table({"text": texts, "other": range(1000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    assert read(tmp_path / "a.parquet")[0] == texts
    with pytest.raises(UserError, match="no column 'body'; its columns are text, other"):
        read(tmp_path / "a.parquet", field="body")
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="row 2: has no text"):
        read(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="not a readable parquet file"):
        read(write(tmp_path / "c.parquet", b"nonsense" * 10))


def test_the_standard_library_without_tests():
    mended = Mended()
    first = list(stdlib_documents(300_000, mended))
    assert sum(len(text.encode()) for text in first) <= 300_000
    assert first == list(stdlib_documents(300_000, mended))
    whole = list(stdlib_documents(None, mended))
    assert whole[: len(first)] == first
    library = Path(sysconfig.get_paths()["stdlib"])
    assert (library / "json" / "decoder.py").read_text() in whole
    tests = [*library.glob("test/test_*.py"), *library.glob("*/test*/test_*.py")]
    assert not set(whole) & {path.read_text("utf-8", "replace") for path in tests}


def plan_of(section):
    def place(*path):
        return f"my.yaml: {'.'.join(path)}"

    return SimpleNamespace(data={"corpus": section}, place=place)


def test_local_files_are_found_by_path_and_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a.txt", "deep/c.txt", "x[1].md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, "text")
    names = ["b.txt", "*.txt", "**/c.txt", "x[1].md"]
    assert list(map(str, text_files(names, "f"))) == ["b.txt", "a.txt", "deep/c.txt", "x[1].md"]
    found = source_files("corpus", plan_of({"source": "local", "files": names, "tokenizer": None}))
    assert found == sorted(["b.txt", "a.txt", "deep/c.txt", "x[1].md"])


def test_what_is_wrong_with_a_file_is_said_when_the_rules_are_read(tmp_path):
    write(tmp_path / "a.txt.gz", b"")
    start = r"^my.yaml: data.corpus.files\[0\]: "
    for name, message in (
        ("gone.txt", "gone.txt does not exist$"),
        ("*.none", r"\*.none matches no file$"),
        ("", "is a folder; name its files"),
        ("a.txt.gz", "is compressed; unpack it first$"),
    ):
        section = {"source": "local", "files": [str(tmp_path / name)], "tokenizer": None}
        with pytest.raises(UserError, match=start + ".*" + message):
            source_files("corpus", plan_of(section))
    section = {"source": "stdlib", "tokenizer": str(tmp_path / "tokenizer.json")}
    with pytest.raises(UserError, match="data.corpus.tokenizer: the file .* does not exist"):
        source_files("corpus", plan_of(section))
    assert source_files("corpus", plan_of(section | {"tokenizer": "a-hub/name"})) == []


def test_a_replacement_character_that_the_text_had_is_not_counted_as_ours():
    mended = Mended()
    assert mended.decode("kept \ufffd".encode() + b" \xff") == "kept \ufffd \ufffd"
    assert mended.invalid_utf8_replaced == 1


def test_the_standard_library_comes_in_the_order_of_its_paths_digests():
    places = {text: i for i, text in enumerate(stdlib_documents(None, Mended()))}
    root = Path(sysconfig.get_paths()["stdlib"])
    names = sorted((p.name for p in root.glob("*.py")), key=lambda n: sha256(n.encode()).digest())
    texts = [(root / name).read_bytes().decode("utf-8", "replace") for name in names]
    found = [places[text] for text in texts if text in places]
    assert len(found) > 100 and found == sorted(found)
