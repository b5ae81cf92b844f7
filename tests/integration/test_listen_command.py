"""The command that listens: standard input, terminals and microphones."""

import contextlib
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import types
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from unicodedata import east_asian_width

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.encoder import CTCTextEncoder

from headers import encoded
from source_files import PYTHON_PATH
from speechbrain_llsa import StreamingASR
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.commands.text_output import TerminalOutput
from speechbrain_llsa_runtime.dataio.microphone import Microphone
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from tiny_model import make_model, make_signal, make_tokenizer

COLUMNS = 17
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose text is Latin."""
    folder = tmp_path_factory.mktemp("listen") / "streaming"
    return write_streaming_folder(folder, make_model(), make_tokenizer())


@pytest.fixture(scope="module")
def latencies(tmp_path_factory):
    """A model for many latencies."""
    folder = tmp_path_factory.mktemp("latencies") / "streaming"
    model = make_model(hop=[2, 1, 5], look_ahead=[4, 7])
    return write_streaming_folder(folder, model, make_tokenizer())


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """A model whose characters take two columns of a terminal."""
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable("一二三四五六七 ")
    tokenizer.insert_blank(index=0)
    folder = tmp_path_factory.mktemp("wide") / "streaming"
    return write_streaming_folder(folder, make_model(), tokenizer)


def pcm(samples, seed=0):
    """Audio as 16 bits."""
    signal = make_signal(samples, seed).numpy()
    return (signal * 32767).astype(np.int16)


def text_of(folder, samples, sample_rate=16000):
    """What a session makes of all samples at once."""
    session = StreamingASR.from_hparams(folder).session()
    session.push(samples, sample_rate)
    session.finish()
    return session.text


def odd_chunks(data):
    """Pieces of 1, 3, 5, 7, 1001, ... bytes."""
    sizes, place = [1, 3, 5, 7, 1001, 1, 333, 4097], 0
    while place < len(data):
        size = sizes[place % len(sizes)]
        yield data[place : place + size]
        place += size


@pytest.fixture
def feed(monkeypatch):
    """Makes bytes the standard input of this process."""
    descriptors = []

    def feed(data):
        receive, send = os.pipe()
        descriptors.append(receive)

        def write():
            with os.fdopen(send, "wb", buffering=0) as pipe:
                for piece in odd_chunks(data):
                    pipe.write(piece)

        threading.Thread(target=write, daemon=True).start()
        stdin = types.SimpleNamespace(fileno=lambda: receive)
        monkeypatch.setattr(sys, "stdin", stdin)

    yield feed
    for descriptor in descriptors:
        os.close(descriptor)


SHORT_SEGMENTS = ["--maximum_length", "0.04", "--silence_after_speech", "0"]


@pytest.mark.parametrize(
    "options",
    [
        ["--no-endpoint"],
        ["--endpoint"],
        SHORT_SEGMENTS,
        ["--endpoint", "--hop", "5", "--look_ahead", "7"],
    ],
)
def test_the_text_is_that_of_transcribe(
    latencies, tmp_path, feed, capsys, options
):
    """A WAV file through a pipe, at a rate of its own and in stereo; with the
    same options for the session."""
    samples = pcm(60000).reshape(-1, 2)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 22050)
    options = ["--model", str(latencies), *options]
    assert main(["transcribe", *options, str(path)]) == 0
    expected = capsys.readouterr().out
    assert len(expected) > 10
    assert (expected.count("\n") > 2) == (SHORT_SEGMENTS[0] in options)
    feed(path.read_bytes())
    assert main(["listen", *options, "-"]) == 0
    assert capsys.readouterr() == (expected, "")


def test_hop_and_look_ahead_matter(latencies, feed, capsys):
    """So that the test above says something."""
    texts = set()
    for hop in "215":
        feed(pcm(30000).tobytes())
        options = ["--hop", hop, "--look_ahead", "7"]
        assert main(["listen", "--model", str(latencies), "-", *options]) == 0
        texts.add(capsys.readouterr().out)
    assert len(texts) == 3


@pytest.mark.parametrize("encoding", ["s16", "f32"])
def test_raw_samples(folder, feed, capsys, encoding):
    """As arecord writes them, in two channels; a part of a sample at the end
    is told."""
    samples = pcm(30000).reshape(-1, 2)
    if encoding == "f32":
        samples = samples.astype(np.float32) / 32768
    feed(samples.tobytes() + b"x")
    command = ["listen", "--model", str(folder), "-", "--channels", "2"]
    command += ["--sample_rate", "8000", "--encoding", encoding]
    command += ["--no-endpoint"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == text_of(folder, samples, 8000) + "\n"
    assert err == "1 bytes at the end are no sample\n"


FORMATS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_24"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAV", "GSM610"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_formats(folder, feed, tmp_path, monkeypatch, capsys, format, subtype):
    """The text is that of transcribe, whatever the format; a line says so
    where it has to wait for the end."""
    monkeypatch.setitem(sys.modules, "av", None)
    content = encoded(pcm(30000), format, subtype)
    path = tmp_path / "a"
    path.write_bytes(content)
    options = ["--model", str(folder), "--no-endpoint"]
    assert main(["transcribe", *options, str(path)]) == 0
    expected, _ = capsys.readouterr()
    feed(content)
    assert main(["listen", *options, "-"]) == 0
    out, err = capsys.readouterr()
    assert out == expected and len(out) > 10
    waits = "cannot be decoded here as it comes"
    live = subtype in ("PCM_U8", "PCM_24", "ULAW", "ALAW") or format == "RF64"
    assert err.count(waits) == err.count("\n") == (0 if live else 1)


@pytest.mark.parametrize("format", ["FLAC", "AU"])
def test_formats_with_pyav(folder, feed, capsys, format):
    """What it decodes as it comes gives the same text."""
    pytest.importorskip("av")
    samples = pcm(30000)
    feed(encoded(samples, format, "PCM_16"))
    assert main(["listen", "--model", str(folder), "--no-endpoint", "-"]) == 0
    expected = text_of(folder, samples) + "\n"
    assert capsys.readouterr() == (expected, "")


def test_a_truncated_wav(folder, feed, capsys):
    """What is there is transcribed, and what is missing is told."""
    samples = pcm(30000)
    feed(encoded(samples, "WAV")[:-20001])
    assert main(["listen", "--model", str(folder), "--no-endpoint", "-"]) == 0
    out, err = capsys.readouterr()
    assert out == text_of(folder, samples[:19999]) + "\n"
    assert err.startswith("the input is truncated: 20001 bytes of samples")
    assert err.count("\n") == 1


def test_a_truncated_flac(folder, feed, tmp_path, capsys, monkeypatch):
    """What can be decoded is transcribed and written; then comes the error."""
    monkeypatch.chdir(tmp_path)
    content = encoded(pcm(60000), "FLAC")
    feed(content[: len(content) * 2 // 3])
    options = ["--no-endpoint", "--format", "ctm"]
    assert main(["listen", "--model", str(folder), *options, "-"]) == 2
    out, err = capsys.readouterr()
    assert len(out.split()) > 2
    (ctm,) = tmp_path.glob("listen-*.ctm")
    assert len(ctm.read_text().splitlines()) == len(out.split())
    assert "error: " in err and "Traceback" not in err


def test_json(folder, feed, tmp_path, capsys):
    """The lines of transcribe, each as soon as its segment closes."""
    samples = pcm(40000)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    options = ["--model", str(folder), "--json", *SHORT_SEGMENTS]
    assert main(["transcribe", *options, str(tmp_path / "a.wav")]) == 0
    expected = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    feed(samples.tobytes())
    assert main(["listen", *options, "-"]) == 0
    lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert len(lines) > 5
    heard = [line.pop("heard_seconds") for line in lines]
    assert heard == sorted(heard) and heard[0] < 1 and heard[-1] == 2.5
    for line in expected:
        del line["file"], line["duration_seconds"]
    assert lines == expected


def test_word_files(folder, feed, tmp_path, monkeypatch, capsys):
    """Those of transcribe, named after the time when listening began; here,
    or in a folder."""
    monkeypatch.chdir(tmp_path)
    samples = pcm(40000)
    soundfile.write("a.wav", samples, 16000)
    options = ["--model", str(folder), "--format", "srt", "--format", "ctm"]
    assert main(["transcribe", *options, "--endpoint", "a.wav"]) == 0
    for place in ([], ["--output", "new/folder"]):
        feed(samples.tobytes())
        assert main(["listen", *options, *place, "-"]) == 0
    assert "".join(capsys.readouterr().err) == ""
    for place in (Path(), Path("new", "folder")):
        (srt,), (ctm,) = place.glob("listen-*.srt"), place.glob("listen-*.ctm")
        assert re.fullmatch(r"listen-\d{8}-\d{6}", ctm.stem)
        assert srt.read_text() == Path("a.srt").read_text() != ""
        of_file = Path("a.ctm").read_text().replace("a 1", f"{ctm.stem} 1")
        assert ctm.read_text() == of_file


def test_a_place_for_word_files_that_is_none(folder, feed, tmp_path, capsys):
    """It is told before anything is heard."""
    (tmp_path / "a").write_text("")
    options = ["--format", "srt", "--output", str(tmp_path / "a")]
    feed(b"")
    assert main(["listen", "--model", str(folder), *options, "-"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and str(tmp_path / "a") in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", [], r"input must .*got a damaged WAV header"),
        (
            b"\0\0\xc0\x7f" * 9,
            ["--encoding", "f32"],
            r"samples must .*got NaN",
        ),
        (b"#!AMR\n" + bytes(99), [], "input must be"),
        (b"", ["--channels", "0"], r"channels must .*got 0"),
        (b"", ["--sample_rate", "0"], r"sample_rate must .*got 0"),
        (b"", ["--device", "2"], r"--device must be absent.*got '2'"),
        (b"", ["--hop", "3"], r"hop must .*got 3"),
        (
            b"",
            ["--output", "x"],
            r"--format must .*got only --output 'x'",
        ),
        (
            b"",
            ["--no-endpoint", "--maximum_length", "3"],
            r"--maximum_length must .*got 3",
        ),
    ],
)
def test_bad_input(folder, feed, capsys, data, arguments, message):
    """One line, and the exit code 2."""
    feed(data)
    assert main(["listen", "--model", str(folder), "-", *arguments]) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err) and captured.err.count("\n") == 1


class Screen:
    """A terminal that knows what tqdm sends: characters of one or two
    columns, carriage returns, line feeds and the cursor going up."""

    def __init__(self, columns):
        self.columns, self.rows, self.row, self.column = columns, [[]], 0, 0

    def feed(self, text):
        for part in re.findall(r"\x1b\[\w|.", text, re.DOTALL):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
                self.rows.extend([[]] * (self.row - len(self.rows) + 1))
            elif part == "\x1b[A":
                self.row -= 1
            else:
                assert "\x1b" not in part
                self.put(part)

    def put(self, character):
        width = 2 if east_asian_width(character) in "FW" else 1
        row = list(self.rows[self.row])
        row += [" "] * (self.column + width - len(row))
        row[self.column : self.column + width] = [character, ""][:width]
        self.column += width
        assert self.column < self.columns, "a line that the terminal wraps"
        self.rows[self.row] = row

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self.rows]


@pytest.fixture
def start():
    """Runs the command, as a shell starts it, and ends it at last."""
    processes = []

    def start(folder, *arguments, **streams):
        command = [sys.executable, "-m", "speechbrain_llsa", "listen"]
        environment = {
            **os.environ,
            "PYTHONPATH": PYTHON_PATH,
        }
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        environment.pop("COLUMNS", None)  # the terminal says how many
        process = subprocess.Popen(
            [*command, "--model", str(folder), "-", *arguments],
            stdin=subprocess.PIPE,
            bufsize=0,
            env=environment,
            **streams,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()


def read_until(master, output, found):
    """Reads a pseudo-terminal until something is there, or it ends."""
    while not found(output.decode(errors="ignore")):
        ready, _, _ = select.select([master], [], [], 120)
        assert ready, output
        try:
            new = os.read(master, 65536)
        except OSError:  # the other side has been closed
            new = b""
        if not new:
            break
        output += new
    return output


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-endpoint"], SHORT_SEGMENTS])
def test_a_terminal(wide_folder, start, options):
    """Odd pieces of a WAV file, in a narrow pseudo-terminal, with wide
    characters. Then an interrupt, while standard input stays open: the rest
    comes, and all is well."""
    samples = pcm(64000)
    content = io.BytesIO()
    soundfile.write(content, samples, 16000, "PCM_16", format="WAV")
    expected = text_of(wide_folder, samples)
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = start(wide_folder, *options, stdout=slave, stderr=slave)
    os.close(slave)
    for piece in odd_chunks(content.getvalue()):
        process.stdin.write(piece)
    # the header says that the audio ends there, so that all of it was heard
    # once the text stands there but for what waits for its look-ahead
    session = StreamingASR.from_hparams(wide_folder).session()
    transcript = session.push(samples, 16000)
    shown = "".join((transcript.committed + transcript.provisional).split())

    def heard(output):
        screen = Screen(COLUMNS)
        screen.feed(output)
        return "".join("".join(screen.lines).split()).endswith(shown[-4:])

    output = read_until(master, b"", heard)
    process.send_signal(signal.SIGINT)
    output = read_until(master, output, lambda output: False).decode()
    assert process.wait() == 0, output
    screen = Screen(COLUMNS)
    screen.feed(output)
    assert "".join(screen.lines).replace(" ", "") == expected.replace(" ", "")
    full = [line for line in screen.lines if line][:-1]
    assert len(full) > 2
    os.close(master)


@pytest.mark.slow
def test_a_service(folder, start, tmp_path):
    """As systemd or docker end it while standard input stays open: the whole
    text, complete files, and the exit code 0."""
    samples = pcm(64000)
    options = ["--no-endpoint", "--output", str(tmp_path)]
    for kind in ("srt", "vtt", "ctm"):
        options += ["--format", kind]
    process = start(
        folder, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(samples.tobytes())
    session = StreamingASR.from_hparams(folder).session()
    committed = session.push(samples).committed
    out = b""
    while len(out) < len(committed):  # all has been heard
        out += os.read(process.stdout.fileno(), 65536)
    process.send_signal(signal.SIGTERM)
    rest, err = process.communicate()
    text = text_of(folder, samples)
    assert (process.returncode, err) == (0, b"")
    assert (out + rest).decode() == text + "\n"
    files = {path.suffix: path.read_text() for path in tmp_path.iterdir()}
    assert set(files) == {".srt", ".vtt", ".ctm"}
    words = [line.split()[4] for line in files[".ctm"].splitlines()]
    assert words == text.split()
    for kind in (".srt", ".vtt"):
        spoken = re.findall(r"^[A-G ]+$", files[kind], re.MULTILINE)
        assert " ".join(spoken).split() == words


@pytest.mark.slow
def test_a_terminal_that_closes(folder, start, tmp_path):
    """Nobody reads the text any more, but the files of words are complete."""
    samples = pcm(64000)
    options = ["--no-endpoint", "--format", "ctm", "--output", str(tmp_path)]
    master, slave = pty.openpty()
    process = start(folder, *options, stdout=slave, stderr=slave)
    os.close(slave)
    process.stdin.write(samples.tobytes())
    read_until(master, b"", lambda output: len(output.split()) > 3)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    process.wait()
    (ctm,) = tmp_path.iterdir()
    words = [line.split()[4] for line in ctm.read_text().splitlines()]
    *whole, _ = words  # the last one may be heard in part
    assert len(whole) > 1
    assert text_of(folder, samples).split()[: len(whole)] == whole


@pytest.mark.slow
def test_nobody_reads(folder, start):
    """The reader ends first: no error, and no word about it."""
    process = start(folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):  # once it has ended
        for piece in odd_chunks(pcm(64000).tobytes()):
            process.stdin.write(piece)
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


class FakeError(Exception):
    """As PortAudio's."""


def fake_sounddevice(blocks, rate=22050, ends=signal.SIGINT, overruns=()):
    """A module that records the blocks, and then a signal comes, or the
    device is unplugged."""

    class InputStream:
        def __init__(self, samplerate, device, channels, callback, **others):
            if ends == "no device":
                raise FakeError("Error querying device -1")
            module.opened = samplerate, device, channels, others["dtype"]
            self.callback = callback
            self.closed = False

        def start(self):
            if ends == "busy":
                raise FakeError("Device unavailable")
            for index, block in enumerate(blocks):
                status = types.SimpleNamespace(input_overflow=index in overruns)
                self.callback(block, len(block), None, status)

        @property
        def active(self):
            """Asked for when all blocks have been taken."""
            if ends in SIGNALS:
                signal.raise_signal(ends)
            return ends in SIGNALS

        def close(self):
            module.closed = True

    module = types.ModuleType("sounddevice")
    module.InputStream = InputStream
    module.PortAudioError = FakeError
    module.query_devices = lambda device, kind: {"default_samplerate": rate}
    return module


@pytest.fixture
def samples():
    """What the microphone hears, (samples, channels)."""
    return make_signal(48000).view(-1, 1).numpy()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_microphone(folder, samples, capsys, monkeypatch, tmp_path, number):
    """At the rate of the device, until a signal asks for the end: the text
    and the files of words are whole."""
    blocks = np.array_split(samples, 40)
    module = fake_sounddevice(blocks, ends=number)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    before = [signal.getsignal(each) for each in SIGNALS]
    command = ["listen", "--model", str(folder), "--no-endpoint"]
    command += ["--format", "ctm", "--output", str(tmp_path)]
    assert main(command) == 0
    text = text_of(folder, samples, 22050)
    assert capsys.readouterr() == (text + "\n", "")
    (ctm,) = tmp_path.iterdir()
    words = [line.split()[4] for line in ctm.read_text().splitlines()]
    assert words == text.split()
    assert module.opened == (22050, None, 1, "float32")
    assert module.closed
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_an_ignored_hang_up_stays_ignored(folder, samples, capsys, monkeypatch):
    """As nohup has it: the command goes on until the device ends."""
    module = fake_sounddevice(np.array_split(samples, 40), ends="unplugged")
    read = Microphone.read

    def hang_up(self, timeout_seconds):
        signal.raise_signal(signal.SIGHUP)
        return read(self, timeout_seconds)

    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(Microphone, "read", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["listen", "--model", str(folder), "--no-endpoint"]) == 2
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    out = capsys.readouterr().out
    assert out == text_of(folder, samples, 22050) + "\n"


@pytest.mark.parametrize(
    ("second", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 0)],
)
def test_a_second_signal_breaks_off(
    folder, samples, capsys, monkeypatch, tmp_path, second, code
):
    """At once, and the words so far are kept. A hang-up does not: when a
    terminal closes it comes from the shell and from the kernel."""
    whole = text_of(folder, samples, 22050) if code == 0 else ""
    module = fake_sounddevice(np.array_split(samples, 40), ends=signal.SIGHUP)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    finish = Session.finish

    def interrupted(self):
        signal.raise_signal(second)
        return finish(self)

    monkeypatch.setattr(Session, "finish", interrupted)
    command = ["listen", "--model", str(folder), "--no-endpoint"]
    command += ["--format", "ctm", "--output", str(tmp_path)]
    assert main(command) == code
    out, err = capsys.readouterr()
    assert err == "" and out.strip() and (out == whole + "\n") == (code == 0)
    (ctm,) = tmp_path.iterdir()
    words = [line.split()[4] for line in ctm.read_text().splitlines()]
    assert len(words) > 2 and words == out.split()[: len(words)]


def test_in_a_thread(folder, samples, monkeypatch):
    """Where no handler can be set, the command runs without."""
    module = fake_sounddevice(np.array_split(samples, 40), ends="unplugged")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(main(["listen", "--model", str(folder)]))
    )
    thread.start()
    thread.join()
    assert codes == [2]


def test_overruns_are_told_once_and_counted(
    folder, samples, capsys, monkeypatch
):
    """On standard error; the text goes on."""
    blocks = np.array_split(samples, 40)
    module = fake_sounddevice(blocks, overruns={3, 4, 20})
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    command = ["listen", "--model", str(folder), "--device", "7"]
    command += ["--no-endpoint", "--sample_rate", "16000"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == text_of(folder, samples) + "\n"
    assert err == "the device loses audio\n3 overruns of the device\n"
    assert module.opened[:2] == (16000, 7)


def test_what_waits_too_long_is_an_overrun(monkeypatch, samples):
    """The queue between device and model is bounded."""
    from speechbrain_llsa_runtime.dataio import microphone

    monkeypatch.setattr(microphone, "LONGEST_WAIT_SECONDS", 0.5)
    module = fake_sounddevice(np.array_split(samples, 40))
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with microphone.Microphone() as recording:
        assert recording.overruns == 30


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("unplugged", "must be an input device that records, .*: it has"),
        ("no device", "got the default input: .*Error querying device"),
        (
            "busy",
            r"device must .*got the default input: Device unavailable",
        ),
    ],
)
def test_no_device(folder, samples, capsys, monkeypatch, ends, message):
    """One line and the exit code 2; what was heard before is printed."""
    module = fake_sounddevice(np.array_split(samples, 40), ends=ends)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert main(["listen", "--model", str(folder), "--no-endpoint"]) == 2
    out, err = capsys.readouterr()
    assert re.search(message, err) and err.count("\n") == 1
    heard = text_of(folder, samples, 22050) + "\n"
    assert out == (heard if ends == "unplugged" else "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("sounddevice"), r'pip install "speechbrain-llsa\[micro'),
        (OSError("PortAudio library not found"), "PortAudio library not foun"),
    ],
)
def test_no_sounddevice(folder, capsys, monkeypatch, error, message):
    """The package is missing, or the library that it loads."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise error

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert main(["listen", "--model", str(folder)]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err) and err.count("\n") == 1


class Bar:
    """Takes what a bar shows."""

    def __init__(self):
        self.lines, self.description = [], ""

    def write(self, line):
        self.lines.append(line)

    def set_description_str(self, text, refresh):
        self.description = text


@pytest.mark.parametrize("wide", [False, True])
def test_lines_wrap(monkeypatch, wide):
    """Each line fits; nothing is lost; the volatile tail is the end."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    output, bar = TerminalOutput(reserved_columns=0), Bar()
    words = "ONE TWO THREEANDMORETHANTHETERMINALHAS FOUR "
    words = words.replace("E", "一") if wide else words
    for character in words * 3:
        output.show(Transcript(character, "TAIL"), [], bar)
        assert bar.description.endswith("TAIL")
        assert width(bar.description) < COLUMNS
    output.end("", 0, [], bar)
    assert bar.description == ""
    assert all(width(line) < COLUMNS for line in bar.lines)
    shown = "".join(bar.lines).replace(" ", "")
    assert shown == (words * 3).replace(" ", "")


def width(text):
    return sum(1 + (east_asian_width(c) in "FW") for c in text)
