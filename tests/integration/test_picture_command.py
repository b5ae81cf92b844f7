"""The picture command draws a PNG, and answers bad input in one line."""

import pytest

from speechbrain_llsa.__main__ import main


def test_picture(tmp_path, capsys):
    """A PNG is written, and the latency report printed."""
    out = tmp_path / "seen.png"
    assert (
        main(["picture", str(out), "--layers", "12", "--look_ahead", "8"]) == 0
    )
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "1.920 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seen.jpg"], "OUT.png: got 'seen.jpg'"),
        (["seen.png", "--hop", "0"], "hop: got 0"),
        (["seen.png", "--layers", "0"], "num_layers: got 0"),
        (["nowhere/seen.png"], "nowhere"),
    ],
)
def test_bad_input(arguments, words, tmp_path, monkeypatch, capsys):
    """Exit code 2, one line on standard error, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(["picture", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
