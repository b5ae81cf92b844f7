"""Text files of users: what marks, encodings and line ends they may have."""

import pytest

from speechbrain_llsa_runtime.utils.text_files import (
    read_lines,
    read_text,
    without_byte_order_mark,
)

UTF8_MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("mark", [b"", UTF8_MARK])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines(tmp_path, mark, end, last):
    """The same with and without a mark, a last line end, and carriage
    returns; an empty line stays."""
    text = end.join(["É A", "", "B\tC"]) + end * last
    (tmp_path / "a.txt").write_bytes(mark + text.encode())
    assert read_lines(tmp_path / "a.txt") == ["É A", "", "B\tC"]


@pytest.mark.parametrize("character", "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e")
def test_lines_end_at_line_feeds_alone(tmp_path, character):
    """Python's ``splitlines`` knows eight other ends."""
    (tmp_path / "a.txt").write_text(f"A{character}B\nC\n", encoding="utf-8")
    assert read_lines(tmp_path / "a.txt") == [f"A{character}B", "C"]


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(UTF8_MARK)
    assert read_lines(tmp_path / "a.txt") == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("A\nÉ".encode("latin-1"), "got the byte 0xc9 in line 2"),
        (b"A\nB\xc3", "got the byte 0xc3 in line 2"),
        ("A\n".encode("utf-16"), "got UTF-16"),
        ("A\n".encode("utf-16-be"), "got UTF-16"),
        ("\ufeffA\n".encode("utf-16-be"), "got UTF-16"),
        ("A\n".encode("utf-32"), "got UTF-32"),
        (b"RIFF\0\0\0\0WAVE", "got zero bytes"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, fault):
    """With the file, and the line."""
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.txt must be UTF-8, {fault}"):
        read_text(tmp_path / "a.txt")


def test_a_copy_without_a_mark(tmp_path):
    """For readers of others; a file without one is not copied."""
    path = tmp_path / "a.arpa"
    path.write_bytes(UTF8_MARK + b"A\n")
    with without_byte_order_mark(path) as copy:
        assert copy.read_bytes() == b"A\n"
        assert copy.suffix == ".arpa"
    assert not copy.exists()
    path.write_bytes(b"A\n")
    with without_byte_order_mark(path) as same:
        assert same == path
