"""Decodes audio of any format from a stream of bytes, such as a pipe."""

import tempfile

import numpy as np

from speechbrain_llsa_runtime.dataio.audio_files import (
    MISSING_SECONDS,
    audio_info,
    read_blocks,
)
from speechbrain_llsa_runtime.dataio.containers import (
    MP3,
    SIGNATURE_BYTES,
    WAV,
    recognise,
    tag_bytes,
)
from speechbrain_llsa_runtime.dataio.pcm import OtherEncoding, PCMDecoder
from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.utils.errors import must_be, reason

SPOOL_GIB = 1
"""Maximum size of an input that cannot be decoded as it arrives."""

SPOOL_BLOCK_SECONDS = 0.1
"""Duration of the blocks that such an input is decoded in once it has ended."""

READ_BYTES = 1 << 9
"""Maximum number of bytes that a decoder asks for at once."""

PROMPT = {"probesize": "32", "analyzeduration": "1"}
"""Makes PyAV start with the first audio that it finds."""


class AudioStream:
    """Decodes a stream of bytes into samples. Raw samples, WAV and RF64 are
    decoded as they arrive; so are other formats if PyAV is installed and
    supports that. Otherwise they are kept in a temporary file until the input
    ends.

    Arguments
    ---------
    read : callable
        Returns the next bytes, as many as are available; none once the input
        has ended.
    decoder : PCMDecoder or None
        Decoder of samples without a header; ``None`` to refuse those.
    notify : callable
        Called with messages for the user.
    spool : bool
        Whether a temporary file may be used; otherwise formats that need one
        are refused.

    Example
    -------
    >>> import io
    >>> import soundfile
    >>> from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros(100), 8000, format="WAV")
    >>> pieces = iter([file.getvalue()[:99], file.getvalue()[99:], b""])
    >>> stream = AudioStream(lambda: next(pieces), PCMDecoder(), print)
    >>> sum(len(samples) for samples in stream), stream.sample_rate
    (100, 8000)
    """

    def __init__(self, read, decoder, notify, spool=True):
        self._read = read
        self._needs_header = decoder is None
        self._decoder = decoder or PCMDecoder()
        self._notify = notify
        self._spool = spool
        self.sample_rate = self._decoder.sample_rate
        """Samples per second; valid once there are samples."""
        self._buffered = b""

    def __iter__(self):
        """Yields the samples as they are decoded, (samples, channels).

        Yields
        ------
        numpy.ndarray
            float32, float64, int16 or int32.

        Raises
        ------
        OSError
            If the input cannot be read.
        ValueError
            If the input is damaged, too long for a temporary file, or of a
            format that cannot be decoded.
        """
        container = self._recognise()
        if container is None and self._needs_header:
            raise ValueError(
                must_be(
                    "input",
                    "audio with the header of a known format",
                    "bytes without one",
                )
            )
        if container in (None, WAV):
            try:
                yield from self._decode_uncompressed()
                return
            except OtherEncoding:
                container = WAV
        av = container.pyav_name and _import_av()
        if av:
            yield from self._decode_live(av, container)
        elif container.known_to_soundfile and self._spool:
            yield from self._decode_spooled(container)
        else:
            raise ValueError(
                f"input must be {self._allowed()} where PyAV is not "
                f"installed, got {container.name}: pip install "
                '"speechbrain-llsa[codecs]"'
            )

    def _allowed(self):
        if self._spool:
            return "audio that soundfile can decode"
        return "WAV"

    def read(self, size):
        """The next bytes.

        Arguments
        ---------
        size : int
            Maximum number of bytes.

        Returns
        -------
        bytes
            Empty once the input has ended.
        """
        if not self._buffered:
            self._buffered = self._read()
        data, self._buffered = self._buffered[:size], self._buffered[size:]
        return data

    def _recognise(self):
        """Recognises the format. The bytes read for that are buffered, without
        a leading tag."""
        head, ended, tagged = b"", False, False
        while True:
            if len(head) >= SIGNATURE_BYTES and (tag := tag_bytes(head)):
                head, tagged = self._skip(head, tag), True
            container, decided = recognise(head, ended)
            if decided:
                self._buffered = head
                return MP3 if tagged and container is None else container
            data = self._read()
            ended = not data
            head += data

    def _skip(self, head, size):
        """Skips bytes of the stream, and returns what has been read after
        them."""
        while len(head) < size and (data := self._read()):
            size -= len(head)
            head = data
        return head[size:]

    def _decode_uncompressed(self):
        header = b""
        while data := self.read(1 << 16):
            if not self._decoder.started:
                header += data
            try:
                samples = self._decoder.push(data)
            except OtherEncoding:
                self._buffered = header
                raise
            self.sample_rate = self._decoder.sample_rate
            if len(samples):
                yield samples
        samples = self._decoder.finish()
        if len(samples):
            yield samples
        if self._decoder.missing:
            self._notify(
                f"the input is truncated: {self._decoder.missing} bytes of "
                "samples that its header declares are missing"
            )
        elif self._decoder.left_over:
            self._notify(
                f"{self._decoder.left_over} bytes at the end are no sample"
            )

    def _decode_live(self, av, container):
        seconds = 0
        try:
            with av.open(
                self,
                format=container.pyav_name,
                options=PROMPT,
                buffer_size=READ_BYTES,
            ) as source:
                stream = source.streams.audio[0]
                for frame in source.decode(stream):
                    self.sample_rate = check_rate(
                        "sample_rate", frame.sample_rate
                    )
                    seconds += frame.samples / frame.sample_rate
                    yield _frame_samples(frame)
                declared = (stream.duration or 0) * stream.time_base
        except (av.error.FFmpegError, IndexError) as error:
            raise ValueError(
                f"input must be whole {container.name} audio, got: "
                f"{reason(error)}"
            ) from error
        if seconds < declared - MISSING_SECONDS:
            self._notify(
                f"the input is truncated: {float(declared):.2f} s are "
                f"declared, {seconds:.2f} s have come"
            )

    def _decode_spooled(self, container):
        self._notify(
            f"{container.name} cannot be decoded here as it comes: it waits in "
            f"a temporary file of at most {SPOOL_GIB} GiB for its end"
        )
        with tempfile.TemporaryFile() as file:
            while data := self.read(1 << 16):
                if file.tell() + len(data) > SPOOL_GIB << 30:
                    raise ValueError(
                        f"input must be at most {SPOOL_GIB} GiB of "
                        f"{container.name}, which cannot be decoded here as "
                        "it comes, got more"
                    )
                file.write(data)
            self.sample_rate = audio_info(file).sample_rate
            yield from read_blocks(file, SPOOL_BLOCK_SECONDS)


def _frame_samples(frame):
    """Samples of a PyAV frame, (samples, channels)."""
    samples = frame.to_ndarray()
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.int16) - 128) << 8
    if frame.format.is_planar:
        return samples.T
    return samples.reshape(-1, len(frame.layout.channels))


def _import_av():
    try:
        import av
    except ImportError:
        return None
    return av
