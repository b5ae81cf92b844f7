"""Sentences of books, a line each."""

import book_sentences
import pytest

BOOK = """[A Book by Nobody 1900]

CHAPTER I


It was caf\xe9 time, said Mr. Hill, and J. R. Smith
came; "why?" he asked--nobody knew.

1:1 In the beginning: 1:2 And the end!
"""


def test_sentences(tmp_path, capsys):
    """Lines are joined; titles, initials and verses part nothing."""
    path, out = tmp_path / "book.txt", tmp_path / "out.txt"
    path.write_text(BOOK, "latin-1")
    line = [str(path), "--encoding", "latin-1", "--out", str(out)]
    book_sentences.main(line)
    assert out.read_text("utf-8").splitlines() == [
        "[A Book by Nobody 1900]",
        "It was caf\xe9 time, said Mr. Hill, and J. R. Smith came;",
        '"why?',
        "he asked--nobody knew.",
        "In the beginning:",
        "And the end!",
    ]
    assert "6 sentences" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("missing.txt", [], "missing.txt"),
        ("book.txt", [], "must be UTF-8"),
        ("book.txt", ["--encoding", "morse"], "got 'morse'"),
        ("book.txt", ["--encoding", "hex"], "got 'hex'"),
    ],
)
def test_bad_books(tmp_path, capsys, name, options, words):
    """One line, and nothing is written."""
    (tmp_path / "book.txt").write_text(BOOK, "latin-1")
    line = [str(tmp_path / name), *options, "--out", str(tmp_path / "out.txt")]
    with pytest.raises(SystemExit) as ended:
        book_sentences.main(line)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and words in error
    assert not (tmp_path / "out.txt").exists()
