"""Locates the samples of an uncompressed file, and how many of them its header
declares. Needs only the standard library."""

import struct
from dataclasses import dataclass

LARGEST_SIZE = {4: 0x7FFF_0000, 8: 0x7FFF_0000 << 32}
"""By bytes of a size field: values from here on mean that it was written before
the end of the file was known."""

LARGEST_DESCRIPTION = 1 << 12
"""Maximum number of bytes to read of the description of samples."""


@dataclass(frozen=True)
class _ChunkLayout:
    """Layout of the chunks of a format."""

    first: int
    """Offset of the first chunk."""

    header: str
    """``struct`` format of a chunk header: name and size."""

    data: bytes
    """Name of the chunk of samples."""

    lead_bytes: int = 0
    """Bytes before the samples in that chunk."""

    align: int = 2
    """Alignment of chunks in bytes."""

    counts_header: bool = False
    """Whether sizes include the chunk header."""


_LAYOUTS = {
    b"RIFF": _ChunkLayout(12, "<4sI", b"data"),
    b"RIFX": _ChunkLayout(12, ">4sI", b"data"),
    b"RF64": _ChunkLayout(12, "<4sI", b"data"),
    b"FORM": _ChunkLayout(12, ">4sI", b"SSND", lead_bytes=8),
    b"caff": _ChunkLayout(8, ">4sQ", b"data", lead_bytes=4, align=1),
    b"riff": _ChunkLayout(
        40,
        "<16sQ",
        b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a",
        align=8,
        counts_header=True,
    ),
}
"""Layouts by the first bytes of WAV, RF64, AIFF, CAF and W64."""

_AU = {b".snd": ">", b"dns.": "<"}
"""Byte orders of AU, which has no chunks, by its first bytes."""


@dataclass(frozen=True)
class DataChunk:
    """Location and declared size of the samples of a file."""

    offset: int
    """Offset of the first sample."""

    declared: int | None
    """Declared bytes of samples. ``None`` if the header was written before that
    was known."""

    size_offset: int
    """Offset of the size field."""

    size_format: str
    """``struct`` format of the size field."""

    size_excess: int = 0
    """Bytes other than samples that the size field includes."""

    description: bytes | None = None
    """Content of the chunk that describes the samples, ``fmt`` in WAV and
    ``desc`` in CAF, if there is one."""

    def size_field(self, size):
        """Encodes a size field that declares another size.

        Arguments
        ---------
        size : int
            Bytes of samples.

        Returns
        -------
        bytes
            The bytes to write at ``size_offset``.

        Raises
        ------
        ValueError
            If the format cannot declare that many.
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

    A size of 0, or the largest possible one, means that it was unknown when the
    header was written, unless another chunk follows immediately.

    Arguments
    ---------
    file : binary file
        A seekable file; it may hold only the beginning of a stream.
    ended : bool
        Whether the file is complete.

    Returns
    -------
    DataChunk or None
        ``None`` if it is another format, or too short to tell.

    Example
    -------
    >>> import io
    >>> header = b"RIFF\\0\\0\\0\\0WAVEdata\\0\\0\\0\\0"
    >>> chunk = find_data(io.BytesIO(header + bytes(9)))
    >>> chunk.offset, chunk.declared
    (20, None)
    """
    file.seek(0)
    head = file.read(12)
    order = _AU.get(head[:4])
    if order and len(head) == 12:
        offset, size = struct.unpack_from(order + "II", head, 4)
        return DataChunk(offset, _known_size(size, order + "I"), 8, order + "I")
    layout = _LAYOUTS.get(head[:4])
    if layout is None or len(head) < 12:
        return None
    description = None
    size_format = layout.header[0] + layout.header[-1]
    long_size = None
    for name, content, size in _chunks(file, layout):
        if name in (b"fmt ", b"desc"):
            description = file.read(min(size, LARGEST_DESCRIPTION))
        elif name == b"ds64":
            sizes = file.read(16)
            if len(sizes) == 16:
                long_size = struct.unpack_from("<Q", sizes, 8)[0], content + 8
        elif name == layout.data:
            size_offset = content - struct.calcsize(size_format)
            excess = layout.lead_bytes
            if layout.counts_header:
                excess += struct.calcsize(layout.header)
            size = max(size - layout.lead_bytes, 0)
            if long_size:
                (size, size_offset), size_format = long_size, "<Q"
            offset = content + layout.lead_bytes
            declared = _known_size(size, size_format)
            if size == 0 and layout.first == 12:
                file.seek(offset)
                following = file.read(8)
                if len(following) < 8 and not ended:
                    return None
                if _is_chunk(following, offset, layout, head):
                    declared = 0
            return DataChunk(
                offset, declared, size_offset, size_format, excess, description
            )
    return None


def _chunks(file, layout):
    """Yields name, offset and size of the content of each chunk whose header is
    present."""
    offset, header_bytes = layout.first, struct.calcsize(layout.header)
    end = file.seek(0, 2)
    while offset < end:
        file.seek(offset)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return
        name, size = struct.unpack(layout.header, header)
        if layout.counts_header:
            size = max(size - header_bytes, 0)
        content = offset + header_bytes
        yield name, content, size
        offset = content + size
        offset += -offset % layout.align


def _known_size(size, size_format):
    """Size that a header declares, ``None`` if it was unknown."""
    limit = LARGEST_SIZE[struct.calcsize(size_format)]
    return size if 0 < size < limit else None


def _is_chunk(header, offset, layout, head):
    """Whether bytes are the header of a chunk that fits into the declared size
    of the file."""
    if len(header) < 8 or not all(32 <= byte < 127 for byte in header[:4]):
        return False
    _, file_size = struct.unpack_from(layout.header, head)
    _, size = struct.unpack(layout.header, header)
    return offset + size <= file_size < LARGEST_SIZE[4]
