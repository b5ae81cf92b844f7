"""Commands take folders of transducers, written or exported, without an option
of their own."""

import json

import numpy as np
import pytest
import soundfile

from live_server import RATE, live_server, read_all, send, transcript_of
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.__main__ import main as run_runtime
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from tiny_model import make_signal, make_tokenizer
from tiny_transducer import make_transducer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("uvicorn")

SAMPLES = (make_signal(3 * RATE, 3).numpy() * 3000).astype(np.int16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, the same exported, a file, and a split of it."""
    place = tmp_path_factory.mktemp("place")
    write_streaming_folder(
        place / "written", make_transducer(), make_tokenizer()
    )
    folders = [str(place / name) for name in ("written", "exported")]
    line = ["export", "--model", folders[0], "--out", folders[1]]
    assert main(line) == 0
    soundfile.write(place / "a.wav", SAMPLES, RATE)
    chapter = place / "corpus" / "test" / "7" / "1"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "7-1-0000.flac", SAMPLES, RATE)
    (chapter / "7-1.trans.txt").write_text("7-1-0000 A FADED CAB\n")
    return place


@pytest.fixture(scope="module")
def asr(place):
    return StreamingASR.from_hparams(place / "written")


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs a command there; gives what it prints."""
    monkeypatch.chdir(place)

    def run(*arguments, program=main):
        assert program(list(arguments)) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("folder", ["written", "exported"])
def test_transcribe(run, asr, folder):
    """Greedy, with beams and with hotwords."""
    line = "transcribe", "--model", folder, "a.wav"
    text = asr.transcribe_file_offline("a.wav")
    assert run(*line) == run(*line, "--search", "greedy") == text + "\n"
    beams = asr.transcript_offline("a.wav", search="beam").committed
    assert run(*line, "--search", "beam") == beams + "\n"
    search = asr.beam_search(hotwords=["FADED", "CAB"])
    hot = asr.transcript_offline("a.wav", search=search).committed
    line = *line, "--hotword", "FADED", "--hotword", "CAB"
    assert run(*line) == hot + "\n"
    assert len({text, beams, hot}) > 1


def test_transcribe_without_pytorch(run, asr):
    """The runtime's own command."""
    text = run(
        "transcribe", "--model", "exported", "a.wav", program=run_runtime
    )
    assert text == asr.transcribe_file_offline("a.wav") + "\n"


def test_listen(run, asr, monkeypatch):
    """Of a file as standard input: with endpoints, as a session has them."""
    with open("a.wav", "rb") as file:
        monkeypatch.setattr("sys.stdin", file)
        said = run("listen", "--model", "written", "-")
    session = asr.session(endpointer=Endpointer())
    said_alone = [session.push(SAMPLES, RATE), session.finish()]
    words = [word for each in said_alone for word in each.final_words]
    assert said.split() == [word.text for word in words]
    assert len(words) > 2


def test_evaluate(run):
    """Offline and streamed alike, for both."""
    folders = "written", "exported"
    run(
        *("evaluate", "--model", *folders, "--runs", "1", "--data", "corpus"),
        *("--split", "test", "--json", "out.json"),
    )
    with open("out.json") as file:
        written, exported = json.load(file)["evaluations"]
    assert written["different_texts"] == 0
    assert written["streamed"]["wer"] == exported["streamed"]["wer"]
    assert written["offline"]["wer"] == written["streamed"]["wer"]


@pytest.mark.parametrize("folder", ["written", "exported"])
def test_serve(place, asr, folder):
    """Streams of the live server, one with its own hotwords."""

    def transcribe(server, **query):
        with server.listen(**query) as connection:
            send(connection, SAMPLES)
            connection.send(json.dumps({"type": "CloseStream"}))
            messages, code = read_all(connection)
        assert code == 1000
        return transcript_of(messages).split()

    def alone(**options):
        session = asr.session(**options)
        first = session.push(SAMPLES, RATE).final_words
        words = [*first, *session.finish().final_words]
        return [word.text for word in words]

    with live_server(place / folder) as server:
        assert transcribe(server) == alone()
        hotwords = ["FADED", "CAB"]
        assert transcribe(server, keyterm=hotwords) == alone(hotwords=hotwords)


def test_sessions_of_exported_models_with_beams(place, asr):
    """What PyTorch says with the same search."""
    exported = OnnxStreamingASR.from_folder(place / "exported", threads=1)
    search = asr.beam_search(beam_size=4)
    texts = []
    for each in (exported, asr):
        session = each.session(search=search)
        session.push(SAMPLES[:20001], RATE)
        session = each.session(session.snapshot(), search=search)
        session.push(SAMPLES[20001:])
        session.finish()
        texts.append(session.text)
    assert texts[0] == texts[1] != ""
