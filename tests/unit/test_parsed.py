"""What is kept of parsed modules saves time, and never says anything else than parsing anew."""

import ast
import json
import os

import pytest

from muonlab import parsed
from muonlab.io.atomic import write_text


@pytest.fixture
def project(tmp_path):
    (tmp_path / "muonlab" / "room").mkdir(parents=True)
    (tmp_path / "muonlab" / "room" / "one.py").write_text("import muonlab.room.two\nONE = 1\n")
    (tmp_path / "muonlab" / "room" / "two.py").write_text('"""Two."""\nTWO = 2\n')
    (tmp_path / "job.py").write_text("from muonlab.room.one import ONE\n")
    return tmp_path


@pytest.fixture
def kept(tmp_path_factory):
    file = tmp_path_factory.mktemp("kept") / "folder" / "code.json"
    parsed.keep_in(file)
    yield file
    parsed.keep_in(None)


@pytest.fixture
def count(monkeypatch):
    """The files that are parsed, in order."""
    files = []

    def parse(text, path):
        files.append(path.name)
        return whole(text, path)

    whole = parsed.parse
    monkeypatch.setattr(parsed, "parse", parse)
    return files


def fresh(project):
    parsed.parsed_modules.cache_clear()
    return parsed.parsed_modules(project)


def without_file(project):
    file, parsed._kept = parsed._kept, None
    try:
        return fresh(project)
    finally:
        parsed._kept = file


def test_a_second_process_parses_nothing(project, kept, count):
    before = fresh(project)
    assert sorted(count) == ["job.py", "one.py", "two.py"]
    assert fresh(project) == before == without_file(project)
    assert len(count) == 6  # three the first time, and three without the file


def test_an_edited_file_alone_is_parsed_again(project, kept, count):
    fresh(project)
    count.clear()
    edited = project / "muonlab" / "room" / "two.py"
    stamp = edited.stat()
    edited.write_text('"""Two."""\nTWO = 3\n')
    os.utime(edited, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # of the same size, too
    after = fresh(project)
    assert count == ["two.py"]
    assert after == without_file(project)


def test_files_that_are_gone_are_forgotten(project, kept):
    fresh(project)
    (project / "muonlab" / "room" / "two.py").unlink()
    assert fresh(project) == without_file(project)
    assert not [path for path in json.loads(kept.read_text())["modules"] if "two" in path]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"reader": 1, "modules": 2}'])
def test_a_file_that_is_not_ours_is_replaced(project, kept, text):
    before = fresh(project)
    right = kept.read_text()
    write_text(kept, text)
    assert fresh(project) == before
    assert kept.read_text() == right


def test_findings_of_another_python_are_not_used(project, kept, count, monkeypatch):
    fresh(project)
    monkeypatch.setattr(parsed.sys, "version", "4.0")
    fresh(project)
    assert len(count) == 6


def test_a_folder_that_cannot_be_written_to_only_costs_time(project, tmp_path):
    (tmp_path / "file").touch()
    parsed.keep_in(tmp_path / "file" / "code.json")
    try:
        assert fresh(project) == without_file(project)
    finally:
        parsed.keep_in(None)


def test_a_file_that_is_not_python_keeps_its_mistake(project, kept):
    (project / "muonlab" / "room" / "two.py").write_text("def")
    for _ in range(2):
        found = fresh(project)
        assert isinstance(found[project / "muonlab" / "room" / "two.py"], SyntaxError)
        assert found[project / "job.py"].imports == ("muonlab.room.one", "muonlab.room.one.ONE")


def test_the_code_is_the_syntax_tree(project):
    found = fresh(project)[project / "muonlab" / "room" / "two.py"]
    tree = ast.dump(ast.parse("TWO = 2\n"))
    assert found.code == parsed._sha256(tree.encode())
