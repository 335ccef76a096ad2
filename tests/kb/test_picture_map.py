"""Files of ids and pictures: every line is taken, or named with its fault."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dualway.errors import DataError
from dualway.kb.picture_map import PictureMap, read_picture_map
from dualway.schema import Picture

KNOWN = {"Q1", "Q2", "Q3"}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "pics"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "sub/日本 \u00e9.jpg", '"q".png', "c,d.png"):
        Image.new("RGB", (4, 3)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "page.jpg").write_text("<html>")
    (folder / "empty.jpg").write_bytes(b"")
    os.mkfifo(folder / "pipe.jpg")
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "in.png").symlink_to("b.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "circle.png").symlink_to("circle.png")
    return folder


def read(root: Path, content: str | bytes, name: str = "map.tsv", **options) -> PictureMap:
    path = root.parent / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_picture_map(path, root, **{"known": KNOWN, **options})


def taken(given: PictureMap) -> list[tuple[int, str, Picture]]:
    return [(row.line, row.entity_id, row.picture) for row in given.rows]


class TestForms:
    EXPECTED = (
        ("Q1", Picture("a.jpg", "somewhere", "CC BY 4.0")),
        ("Q1", Picture("b.png", "", "CC0")),
        ("Q2", Picture("sub/日本 \u00e9.jpg", "somewhere else")),
    )

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("map.tsv", "Q1\ta.jpg\tsomewhere\tCC BY 4.0\nQ1\tb.png\t\tCC0\nQ2\tsub/日本 é.jpg\tsomewhere else\n"),
            (
                "map.tsv",
                '"Q1"\t"a.jpg"\t"somewhere"\t"CC BY 4.0"\r\n\r\nQ1\t./b.png\t\t CC0\r\n'
                "Q2\tsub//日本 é.jpg\tsomewhere else",
            ),
            (
                "map.txt",
                "\ufeffid\tpicture\tsource\tlicence\nQ1\ta.jpg\tsomewhere\tCC BY 4.0\n"
                "Q1\tb.png\t\tCC0\t\nQ2\tsub/日本 é.jpg\tsomewhere else\n".replace("\t\n", "\n"),
            ),
            (
                "map.CSV",
                "License,QID,Image,Remark,source\n"
                'CC BY 4.0,Q1,a.jpg,,somewhere\n"CC0",Q1,b.png\n,Q2,sub/日本 é.jpg,"x, y",somewhere else\n',
            ),
        ],
    )
    def test_every_way_of_writing_it(self, root, name, content):
        given = read(root, content, name)
        assert [row[1:] for row in taken(given)] == list(self.EXPECTED)
        assert given.problems == []
        assert given.unread == (["Remark"] if name.endswith("CSV") else [])

    def test_paths_start_from_the_file_unless_a_folder_is_given(self, root):
        (root.parent / "map.tsv").write_text("Q1\tpics/a.jpg\n")
        given = read_picture_map(root.parent / "map.tsv", known=KNOWN)
        assert (given.root, given.rows[0].picture.path) == (root.parent, "pics/a.jpg")

    def test_a_header_is_told_by_two_names(self, root):
        assert read(root, "id\tpicture\nQ1\ta.jpg\n").columns == ("id", "picture")
        given = read(root, "id\ta.jpg\nQ1\ta.jpg\n", known={"id", "Q1"})
        assert [row.entity_id for row in given.rows] == ["id", "Q1"]
        assert read(root, "Q1\ta.jpg\nid\tpicture\n").kinds == {"unknown entity": 1}

    def test_names_with_quotes_and_separators(self, root):
        given = read(root, 'Q1\t"""q"".png"\nQ2\tc,d.png\n')
        assert [row.picture.path for row in given.rows] == ['"q".png', "c,d.png"]
        assert read(root, 'Q2,"c,d.png"\n', "map.csv").rows[0].picture.path == "c,d.png"

    def test_progress(self, root):
        seen: list[int] = []
        read(root, "\nQ1\ta.jpg\n\nQ9\ta.jpg\n", progress=seen.append)
        assert seen == [1, 2]


class TestProblems:
    @pytest.mark.parametrize(
        ("line", "kind", "said"),
        [
            ("Q1", "broken line", "'Q1' alone, expected an id and a picture; lines are split at tabs"),
            ("Q1,a.jpg", "broken line", "a file with commas is called .csv"),
            ("Q1\ta.jpg\tx\ty\tz", "broken line", "5 values, expected at most 4"),
            ("\ta.jpg", "broken line", "no id"),
            ("Q1\t", "broken line", "no picture"),
            ("Q1\t\tsource", "broken line", "no picture"),
            ('Q1\t"a.jpg', "broken line", "unexpected end of data"),
            ('Q1\t"a".jpg', "broken line", "expected after"),
            ("Q1\ta.jpg\rQ2\ta.jpg", "broken line", "new-line"),
            (b"Q1\ta\xff.jpg", "broken line", "not UTF-8: byte 0xff"),
            (b"Q1\ta.jpg\t" + b"x" * 200_000, "broken line", "field larger"),
            (b"Q1\ta.jpg\t" + b"x\t" * 2_000_000, "broken line", "longer than 1,048,576 bytes"),
            ("Q9\ta.jpg", "unknown entity", "'Q9'"),
            ("q1\ta.jpg", "unknown entity", "'q1'"),
            ("Q3\ta.jpg", "erased entity", "'Q3' were erased"),
            ("Q1\t/etc/passwd", "path", "absolute"),
            ("Q1\t../secret.png", "path", "'..'"),
            ("Q1\tsub/../../secret.png", "path", "'..'"),
            ("Q1\thttps://example.org/a.jpg", "path", "is an address"),
            ("Q1\tout.png", "picture", "leads out of"),
            ("Q1\tgone.png", "picture", "no such picture"),
            ("Q1\tcircle.png", "picture", "circle.png"),
            ("Q1\tnowhere.jpg", "picture", "no such picture"),
            ("Q1\ta.jpg/b.jpg", "picture", "no such picture"),
            ("Q1\tsub", "picture", "not a file"),
            ("Q1\t.", "picture", "not a file"),
            ("Q1\tpipe.jpg", "picture", "not a file"),
            ("Q1\tbroken.jpg", "picture", "'broken.jpg': "),
            ("Q1\tpage.jpg", "picture", "not a picture"),
            ("Q1\tempty.jpg", "picture", "'empty.jpg'"),
            ("Q1\ta\x00.jpg", "picture", "'a\\x00.jpg'"),
            ("Q1\t" + "x" * 5000, "picture", "xxx..."),
            ("Q2\t./a.jpg", "given twice", "'a.jpg' was given to 'Q2' in line 1"),
        ],
    )
    def test_a_line_is_named_and_costs_no_other(self, root, line, kind, said):
        raw = line if isinstance(line, bytes) else line.encode()
        given = read(root, b"Q2\ta.jpg\n\n" + raw + b"\nQ1\tin.png\n", erased={"Q3"})
        assert [(row.entity_id, row.picture.path) for row in given.rows] == [("Q2", "a.jpg"), ("Q1", "in.png")]
        numbers = [row.line for row in given.rows]
        assert numbers == [1, 4]
        (problem,) = given.problems
        assert (problem.line, problem.kind) == (3, kind)
        assert said in problem.problem
        assert len(problem.problem) < 400
        assert given.place(problem).startswith(f"{root.parent / 'map.tsv'}, line 3: ")
        assert given.kinds == {kind: 1}

    def test_a_picture_of_two_entities_is_no_fault(self, root):
        assert len(read(root, "Q1\ta.jpg\nQ2\ta.jpg\n").rows) == 2

    @pytest.mark.parametrize("content", ["", "\n \n", "\ufeff\n", "\t\t\n", "id\tpicture\n"])
    def test_a_file_that_names_none(self, root, content):
        with pytest.raises(DataError, match=r"map\.tsv: names no pictures"):
            read(root, content)

    def test_files_and_folders_that_are_not_there(self, root):
        for path, said in ((root / "none.tsv", "no such file"), (root, "is a folder")):
            with pytest.raises(DataError, match=said):
                read_picture_map(path, root, known=KNOWN)
        with pytest.raises(DataError, match="no such folder"):
            read_picture_map(root / "a.jpg", root / "nowhere", known=KNOWN)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
    @given(lines=st.lists(st.binary(max_size=30) | st.sampled_from([b"Q1\ta.jpg", b"Q2\tb.png", b'"', b"id\tpicture"])))
    def test_no_line_gets_lost(self, root, lines):
        content = b"\n".join([*lines, b"Q3\ta.jpg"])
        given = read(root, content)
        told = [row.line for row in given.rows] + [problem.line for problem in given.problems]
        assert len(set(told)) == len(told)
        filled = {number for number, line in enumerate(content.split(b"\n"), start=1) if re.search(rb"\w", line)}
        assert len(filled - set(told)) == bool(given.columns)
