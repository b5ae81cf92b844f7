"""The page of the server, in a browser that hears synthetic speech."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile

from source_files import PYTHON_PATH

pytest.importorskip("onnxruntime")
pytest.importorskip("espeakng_loader")
pytest.importorskip("uvicorn")
sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.slow

TEXT = (
    "the old man walked along the river, and looked at the boats. it was a "
    "cold morning in the month of december, and nobody spoke a word. after a "
    "while, he turned around and went home to his wife and children."
)
SECONDS = 30
"""How long the page may take for what does not hang on the audio."""

WORDS = "[...document.querySelectorAll('.word')].map((w) => w.textContent)"


def find_chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs chromium or google-chrome")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A WAV file with about 14 s of speech."""
    from synthesis.voice import SpeechSynthesizer

    spoken = SpeechSynthesizer().say(TEXT, "en-us", "f2", rate=150)
    pause = np.zeros(spoken.sample_rate, np.int16)
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    samples = np.concatenate([pause, spoken.samples])
    soundfile.write(path, samples, spoken.sample_rate)
    return path


@pytest.fixture(scope="module")
def launch(speech):
    """Launches browsers whose microphone hears the speech."""
    executable = find_chromium()
    with sync_api.sync_playwright() as playwright:

        def launch(allowed=True):
            arguments = [
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={speech}%noloop",
            ]
            if allowed:
                arguments.append("--use-fake-ui-for-media-stream")
            return playwright.chromium.launch(
                executable_path=executable, args=arguments
            )

        yield launch


@pytest.fixture(scope="module")
def browser(launch):
    """One that allows the microphone."""
    with contextlib.closing(launch()) as browser:
        yield browser


@pytest.fixture
def page(browser):
    """An empty page. What its console calls errors is in `page.errors`."""
    with contextlib.closing(new_page(browser)) as page:
        yield page


def new_page(browser, **options):
    page = browser.new_page(**options)
    page.set_default_timeout(1000 * SECONDS)
    page.errors = []
    page.on(
        "console",
        lambda message: (
            message.type in ("error", "warning")
            and page.errors.append(message.text)
        ),
    )
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextlib.contextmanager
def serving(port, *arguments):
    """Runs a server, and kills it in the end."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "speechbrain_llsa_runtime", "serve"),
            *("--port", str(port), *arguments),
        ],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while answer(port, "readyz")[0] != 200:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def answer(port, path, **headers):
    """Status and body of a request; 0 where nobody listens."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{path}", headers=headers
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except urllib.error.URLError:
        return 0, b""


@pytest.fixture(scope="module")
def server():
    """The address of a server."""
    with serving(free_port()) as address:
        yield address


def click(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def wait_for_words(page, count):
    page.locator(".word").nth(count - 1).wait_for(state="attached")


def wait_for_status(page, status):
    sync_api.expect(page.get_by_role("status")).to_have_text(
        status, timeout=1000 * SECONDS
    )


def wait_for_error(page, error):
    sync_api.expect(page.get_by_role("alert")).to_have_text(
        error, timeout=1000 * SECONDS
    )


def downloaded(page, name):
    with page.expect_download() as download:
        click(page, name)
    return download.value.path()


def transcribed(page, first=0):
    """What a session makes of the samples that the page has sent, from the
    first one on: its words, and the seconds of audio."""
    from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

    path = downloaded(page, "Download WAV")
    samples, rate = soundfile.read(path, dtype="int16")
    session = OnnxStreamingASR.from_folder("english", threads=1).session()
    pushed = session.push(samples[first:], rate)
    finished = session.finish()
    words = pushed.final_words + finished.final_words
    assert [word.text for word in words] == session.text.split()
    return words, len(samples) / rate


def transcribe_file(page, path):
    page.locator("#file").set_input_files(path)


def check_text(page):
    """Compares what is on the page, and its subtitles; gives the seconds of
    audio."""
    from speechbrain_llsa_runtime.transcripts.subtitles import to_srt

    words, seconds = transcribed(page)
    assert page.evaluate(WORDS) == [word.text for word in words]
    assert len(words) > 10
    subtitles = downloaded(page, "Download SRT").read_text("utf-8")
    assert subtitles == to_srt(words)
    return seconds


def test_microphone(page, server):
    page.goto(server)
    click(page, "Start microphone")
    wait_for_status(page, "Listening.")
    assert page.evaluate("document.activeElement.id") == "stop"
    wait_for_words(page, 25)
    assert re.fullmatch(r"\d+ ms", page.locator("#latency").inner_text())
    click(page, "Stop")
    wait_for_status(page, "Done.")
    assert page.evaluate("document.activeElement.id") == "start"
    assert 5 < check_text(page) < 60
    assert page.locator("#provisional").inner_text() == ""
    title = page.locator(".word").first.get_attribute("title")
    assert re.fullmatch(r"[\d.]+ to [\d.]+ s, confidence \d+ %", title)
    assert page.errors == []


def test_file(page, server, speech):
    page.goto(server)
    transcribe_file(page, speech)
    wait_for_status(page, "Done.")
    assert check_text(page) == pytest.approx(soundfile.info(speech).duration)
    assert page.errors == []


def test_dropped_file(page, server, speech):
    page.goto(server)
    page.evaluate(
        """async (bytes) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(
                new File([new Uint8Array(bytes)], "speech.wav"),
            );
            const options = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        list(speech.read_bytes()),
    )
    wait_for_status(page, "Done.")
    check_text(page)


def test_ring(page, server):
    """The newest samples are kept, at their places."""
    page.goto(server)
    kept = page.evaluate(
        """async () => {
            const { Recording } = await import("/recording.js");
            const recording = new Recording(8000, 10);
            let next = 0;
            const kept = [];
            for (const size of [3, 4, 10, 0, 1, 7]) {
                const samples = new Int16Array(size);
                recording.push(samples.map(() => next++));
                const { start, end } = recording;
                const all = Array.from(recording.read(start, 20));
                const two = Array.from(recording.read(end - 2, 2));
                kept.push([start, end, all, two]);
            }
            const wav = await recording.toWav().arrayBuffer();
            return [kept, Array.from(new Int16Array(wav, 44))];
        }"""
    )
    ends = [3, 7, 17, 17, 18, 25]
    assert kept[0] == [
        [
            max(0, end - 10),
            end,
            list(range(max(0, end - 10), end)),
            [end - 2, end - 1],
        ]
        for end in ends
    ]
    assert kept[1] == list(range(15, 25))


def test_not_audio(page, server, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("no audio")
    page.goto(server)
    transcribe_file(page, path)
    wait_for_error(page, 'The browser cannot read "notes.wav" as audio.')
    assert page.get_by_role("button", name="Start microphone").is_enabled()


def test_killed_server(page, tmp_path):
    """The page and the next process go on as if nothing had happened."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    port = free_port()
    options = "--store", str(tmp_path / "store"), "--resume_key", str(key)
    with serving(port, *options) as address:
        page.goto(address)
        click(page, "Start microphone")
        wait_for_words(page, 8)
    before = page.evaluate(WORDS)
    sync_api.expect(page.get_by_role("status")).to_contain_text("is lost")
    with serving(port, *options):
        wait_for_status(page, "Listening.")
        wait_for_words(page, 25)
        click(page, "Stop")
        wait_for_status(page, "Done.")
    assert page.get_by_role("alert").inner_text() == ""
    assert page.evaluate(WORDS)[: len(before)] == before
    check_text(page)


def test_forgetful_server(page):
    """A server that does not know the session gets the audio from where the
    text ends."""
    port, connections = free_port(), []

    def note(connection):
        messages = []
        connections.append(messages)
        connection.on("framereceived", lambda text: messages.append(text))

    page.on("websocket", note)
    with serving(port) as address:
        page.goto(address)
        click(page, "Start microphone")
        wait_for_words(page, 8)
    before = page.evaluate(WORDS)
    results = [json.loads(message) for message in connections[0]]
    samples = [each["samples"] for each in results if each.get("is_final")][-1]
    with serving(port):
        wait_for_error(page, re.compile("has lost the session"))
        wait_for_words(page, len(before) + 8)
        click(page, "Stop")
        wait_for_status(page, "Done.")
    expected, _ = transcribed(page, samples)
    after = [word.text for word in expected]
    assert page.evaluate(WORDS) == before + after


def test_no_permission(launch, server):
    with (
        contextlib.closing(launch(allowed=False)) as browser,
        contextlib.closing(new_page(browser)) as page,
    ):
        page.goto(server)
        click(page, "Start microphone")
        wait_for_error(page, re.compile("does not let this page use the micro"))
        assert page.get_by_role("button", name="Start micro").is_enabled()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            "Object.defineProperty(navigator, 'mediaDevices', {})",
            "The browser gives a microphone only on https or localhost.",
        ),
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject("
            "new DOMException('', 'NotFoundError'))",
            "There is no microphone.",
        ),
    ],
)
def test_no_microphone(page, server, script, error):
    page.add_init_script(script)
    page.goto(server)
    click(page, "Start microphone")
    wait_for_error(page, error)


def test_token(page, speech, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("correct-horse\n")
    with serving(free_port(), "--tokens", str(path)) as address:
        page.goto(address)
        transcribe_file(page, speech)
        wait_for_error(page, "The server asks for an access token.")
        for token, error in (
            ("wrong-horse", "The server does not accept this token."),
            ("a b", "The token has characters that a browser cannot send."),
        ):
            page.get_by_label("Token").fill(token)
            transcribe_file(page, speech)
            wait_for_error(page, error)
        assert page.evaluate("document.activeElement.id") == "token"
        page.get_by_label("Token").fill("correct-horse")
        transcribe_file(page, speech)
        wait_for_status(page, "Done.")
        assert page.get_by_role("alert").inner_text() == ""
        assert len(page.evaluate(WORDS)) > 10


def test_full_and_unreachable(browser, page, speech):
    port = free_port()
    with (
        serving(port, "--slots", "1") as address,
        contextlib.closing(new_page(browser)) as other,
    ):
        other.goto(address)
        click(other, "Start microphone")
        wait_for_status(other, "Listening.")
        page.goto(address)
        transcribe_file(page, speech)
        wait_for_error(page, re.compile("^The server is full."))
    transcribe_file(page, speech)
    wait_for_error(page, "The server cannot be reached.")


def test_why_a_websocket_is_refused(server):
    """HTTP tells, since browsers do not."""
    port = int(server.rstrip("/").rpartition(":")[-1])
    path = "v1/listen?encoding=linear16&sample_rate=16000"
    for query, status, code in (
        ("&resume=new", 426, "UPGRADE_REQUIRED"),
        ("", 426, "UPGRADE_REQUIRED"),
        ("&resume=other", 404, "UNKNOWN_SESSION"),
        ("&model=other", 400, "UNKNOWN_MODEL"),
        ("&sample_rate=x", 400, "INVALID_QUERY_PARAMETER"),
    ):
        answered, body = answer(port, path + query)
        assert (answered, json.loads(body)["err_code"]) == (status, code)
    answered, body = answer(port, path, Origin="http://elsewhere.example")
    assert (answered, json.loads(body)["err_code"]) == (403, "FORBIDDEN_ORIGIN")


def test_keyboard_alone(page, server):
    """What the keyboard reaches has a name, and shows that it has the
    focus."""
    page.goto(server)
    seen = []
    for _ in range(4):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert seen[:3] == ["Start microphone", "Choose a file", "Access token"]
    page.get_by_role("button", name="Start microphone").focus()
    page.keyboard.press("Enter")
    wait_for_words(page, 1)
    page.keyboard.press("Enter")
    wait_for_status(page, "Done.")
    live = page.locator("[aria-live=polite]")
    assert live.inner_text() == page.locator("#committed").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screen(browser, server, speech, scheme):
    options = {"viewport": {"width": 360, "height": 640}}
    page = new_page(browser, color_scheme=scheme, **options)
    with contextlib.closing(page):
        page.goto(server)
        transcribe_file(page, speech)
        wait_for_status(page, "Done.")
        wide = "document.documentElement.scrollWidth"
        assert page.evaluate(wide) == 360
        color = "getComputedStyle(document.querySelector('.word')).color"
        dark = scheme == "dark"
        assert (
            page.evaluate(color)
            == f"rgb({', '.join(['255' if dark else '0'] * 3)})"
        )
        assert page.errors == []
