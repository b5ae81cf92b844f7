"""A streaming folder behind the server: hotwords of one stream, and beams."""

import json

import pytest

from live_server import (
    RATE,
    live_server,
    read_all,
    samples_of,
    send,
    transcript_of,
)
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_tokenizer

pytest.importorskip("uvicorn")

CLOSE = json.dumps({"type": "CloseStream"})
SIGNAL = samples_of(3 * RATE, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("streaming") / "tiny"
    write_streaming_folder(place, make_model(), make_tokenizer())
    return place


def words_alone(folder, **options):
    session = StreamingASR.from_hparams(folder).session(**options)
    first = session.push(SIGNAL, RATE).final_words
    return [word.text for word in (*first, *session.finish().final_words)]


def transcribe(server, **query):
    with server.listen(**query) as connection:
        send(connection, SIGNAL)
        connection.send(CLOSE)
        messages, code = read_all(connection)
    assert code == 1000
    return transcript_of(messages).split()


def test_keyterms(folder):
    """Change the text of the stream that has them, and of no other one."""
    hotwords = ["DAB", "BEE"]
    with live_server(folder) as server:
        plain = transcribe(server)
        assert plain == words_alone(folder)
        assert transcribe(server, keyterm=hotwords) == words_alone(
            folder, hotwords=hotwords
        )
        assert transcribe(server) == plain


def test_beams_survive_a_lost_connection(folder):
    """A stream with beam search goes on where it was."""
    with live_server(folder, "--search", "beam") as server:
        whole = transcribe(server)
        assert whole == words_alone(folder, search="beam")
        connection = server.listen(resume="new")
        name = json.loads(connection.recv())["id"]
        send(connection, SIGNAL[:30000])
        connection.close()
        with server.listen(resume=name) as connection:
            session = json.loads(connection.recv())
            assert session["samples"] == 30000
            send(connection, SIGNAL[30000:])
            connection.send(CLOSE)
            messages, _ = read_all(connection)
        assert transcript_of(messages).split() == whole
