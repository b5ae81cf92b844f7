"""The picture command draws a PNG, and answers bad input in one line."""

import re

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
    ("look_back", "look_ahead", "hop"), [(4, 2, 3), (0, 1, 1), (3, 0, 2)]
)
def test_layout(look_back, look_ahead, hop, tmp_path):
    """Two hops of any geometry that can be read are drawn."""
    out = tmp_path / "layout.png"
    arguments = ["picture", str(out), "--layout", "--hop", str(hop)]
    arguments += ["--look_back", str(look_back)]
    assert main([*arguments, "--look_ahead", str(look_ahead)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["seen.jpg"],
            "OUT.png must be a name that ends in .png, got 'seen.jpg'",
        ),
        (["seen.png", "--hop", "0"], r"hop must .*got 0"),
        (["seen.png", "--layers", "0"], r"num_layers must .*got 0"),
        (["nowhere/seen.png"], "nowhere"),
        (["seen.png", "--layers", "1001"], "num_layers must be at most 1000"),
        (["seen.png", "--frames", "20000"], "frames must be few enough"),
        (["seen.png", "--layout", "--hop", "20"], "at most 40 frames"),
    ],
)
def test_bad_input(arguments, words, tmp_path, monkeypatch, capsys):
    """Exit code 2, one line on standard error, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(["picture", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
