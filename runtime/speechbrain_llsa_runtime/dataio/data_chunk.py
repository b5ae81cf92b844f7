"""Where the samples of an uncompressed file lie, and how many its header
declares. Needs the standard library alone."""

import struct
from dataclasses import dataclass

LARGEST_SIZE = {4: 0x7FFF_0000, 8: 0x7FFF_0000 << 32}
"""A field of so many bytes that holds this or more was written before the end
was known."""

LARGEST_DESCRIPTION = 1 << 12
"""Bytes of the description of samples that are read, at most."""


@dataclass(frozen=True)
class _Form:
    """How a format writes its chunks."""

    first: int
    """Where the first one begins."""

    header: str
    """Name and size, for ``struct``."""

    data: bytes
    """Name of the chunk of samples."""

    lead_bytes: int = 0
    """What stands before the samples in it."""

    align: int = 2
    """Chunks begin at multiples of it."""

    counts_header: bool = False
    """Whether the size counts the header too."""


_FORMS = {
    b"RIFF": _Form(12, "<4sI", b"data"),
    b"RIFX": _Form(12, ">4sI", b"data"),
    b"RF64": _Form(12, "<4sI", b"data"),
    b"FORM": _Form(12, ">4sI", b"SSND", lead_bytes=8),
    b"caff": _Form(8, ">4sQ", b"data", lead_bytes=4, align=1),
    b"riff": _Form(
        40,
        "<16sQ",
        b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a",
        align=8,
        counts_header=True,
    ),
}
"""By the first bytes of WAV, RF64, AIFF, CAF and W64."""

_AU = {b".snd": ">", b"dns.": "<"}
"""AU has no chunks, in either order of bytes."""


@dataclass(frozen=True)
class DataChunk:
    """The samples of a file."""

    place: int
    """Where the first one begins."""

    declared: int | None
    """How many bytes of them there are. ``None`` where the header was written
    before that was known."""

    size_place: int
    """Where their size is written."""

    size_format: str
    """How it is written, for ``struct``."""

    size_excess: int = 0
    """How much the size that is written counts besides."""

    description: bytes | None = None
    """Content of the chunk that describes the samples, ``fmt`` in WAV and
    ``desc`` in CAF, if there was one."""

    def size_field(self, size):
        """What declares another size.

        Arguments
        ---------
        size : int
            Bytes of samples.

        Returns
        -------
        bytes
            To be written at ``size_place``.

        Raises
        ------
        ValueError
            If the format cannot declare so many.
        """
        try:
            return struct.pack(self.size_format, size + self.size_excess)
        except struct.error as error:
            raise ValueError(
                "samples behind a header without their size must be less than "
                f"4 GiB, got {size} bytes"
            ) from error


def find_data(file, ended=True):
    """Finds the samples of a WAV, RF64, W64, AIFF, CAF or AU file.

    No size, or the largest that there is, stands for one that was not known
    when the header was written, unless another chunk follows right behind.

    Arguments
    ---------
    file : binary file
        It can seek, and may hold only what has come of a stream.
    ended : bool
        Whether it holds all that will come.

    Returns
    -------
    DataChunk or None
        ``None`` if it is another format, or does not hold enough to say.

    Example
    -------
    >>> import io
    >>> header = b"RIFF\\0\\0\\0\\0WAVEdata\\0\\0\\0\\0"
    >>> chunk = find_data(io.BytesIO(header + bytes(9)))
    >>> chunk.place, chunk.declared
    (20, None)
    """
    file.seek(0)
    head = file.read(12)
    order = _AU.get(head[:4])
    if order and len(head) == 12:
        place, size = struct.unpack_from(order + "II", head, 4)
        return DataChunk(place, _known(size, order + "I"), 8, order + "I")
    form = _FORMS.get(head[:4])
    if form is None or len(head) < 12:
        return None
    described = None
    size_format = form.header[0] + form.header[-1]
    long_size = None
    for name, content, size in _chunks(file, form):
        if name in (b"fmt ", b"desc"):
            described = file.read(min(size, LARGEST_DESCRIPTION))
        elif name == b"ds64":
            sizes = file.read(16)
            if len(sizes) == 16:
                long_size = struct.unpack_from("<Q", sizes, 8)[0], content + 8
        elif name == form.data:
            size_place = content - struct.calcsize(size_format)
            excess = form.lead_bytes
            if form.counts_header:
                excess += struct.calcsize(form.header)
            size = max(size - form.lead_bytes, 0)
            if long_size:
                (size, size_place), size_format = long_size, "<Q"
            place = content + form.lead_bytes
            declared = _known(size, size_format)
            if size == 0 and form.first == 12:
                file.seek(place)
                behind = file.read(8)
                if len(behind) < 8 and not ended:
                    return None
                if _is_chunk(behind, place, form, head):
                    declared = 0
            return DataChunk(
                place, declared, size_place, size_format, excess, described
            )
    return None


def _chunks(file, form):
    """Name, place and size of the content of each chunk whose header is
    there."""
    place, header_bytes = form.first, struct.calcsize(form.header)
    end = file.seek(0, 2)
    while place < end:
        file.seek(place)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return
        name, size = struct.unpack(form.header, header)
        if form.counts_header:
            size = max(size - header_bytes, 0)
        content = place + header_bytes
        yield name, content, size
        place = content + size
        place += -place % form.align


def _known(size, size_format):
    """What a size in a header says, ``None`` for nothing."""
    limit = LARGEST_SIZE[struct.calcsize(size_format)]
    return size if 0 < size < limit else None


def _is_chunk(header, place, form, head):
    """Whether bytes are the header of a chunk within the file, as its own size
    has it."""
    if len(header) < 8 or not all(32 <= byte < 127 for byte in header[:4]):
        return False
    _, file_size = struct.unpack_from(form.header, head)
    _, size = struct.unpack(form.header, header)
    return place + size <= file_size < LARGEST_SIZE[4]
