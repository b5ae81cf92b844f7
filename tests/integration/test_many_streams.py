"""The benchmark of many streams: a smoke run, its search, its refusal."""

import pytest

import many_streams


def test_tiny(tmp_path):
    """Both tables are written, with what was measured."""
    out = tmp_path / "new" / "many.md"
    result = many_streams.main(["--tiny", "--out", str(out)])
    assert set(result["speeds"]) == {"sessions", "batcher"}
    assert all(speed > 0 for (speed,) in result["speeds"].values())
    assert set(result["measured"]) == {1, 2} or result["holds"] == 0
    for values in result["measured"].values():
        assert 0 < values[0] <= values[1] <= values[2]
    table = out.read_text(encoding="utf-8")
    assert "| sessions one by one |" in table
    assert "| streams in real time | p50 | p95 | p99 |" in table
    assert f"The machine holds {result['holds']} streams." in table


@pytest.mark.parametrize("holds", [0, 1, 7, 100, 4096])
def test_the_search_finds_the_last_number_that_holds(holds):
    """To an eighth, and no further than the end of the search."""
    found, measured = many_streams.find_most_streams(
        lambda count: [0.0, 0.1 if count <= holds else 0.2, 0.3], 0.15, 4096
    )
    assert holds - holds // 8 <= found <= holds
    assert list(measured) == sorted(measured)
    assert max(measured) <= 4096


def test_refuses_another_text(monkeypatch):
    """No speed where the batcher says something else."""
    monkeypatch.setattr(
        many_streams,
        "run_batcher",
        lambda model, decoder, streams: ["?"] * len(streams),
    )
    with pytest.raises(ValueError, match="text of stream 0 must"):
        many_streams.main(["--tiny"])
