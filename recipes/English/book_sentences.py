#!/usr/bin/env python3
"""Cuts books in plain text into sentences, a line each, for n-grams.

> python recipes/English/book_sentences.py BOOK.txt ... --out books.txt

Lines of a paragraph are joined. Sentences end at a full stop, question or
exclamation mark, semicolon or colon before a space; a full stop behind a title
or a single letter ends none. Numbers of verses such as 1:2, and chapters of
capitals alone, are left out.
"""

import argparse
import codecs
import re
from pathlib import Path

from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters
from speechbrain_llsa_runtime.utils.text_files import read_text

_PARAGRAPH = re.compile(r"\n\s*\n|(?<!\S)\d+:\d+(?!\S)")
_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)"
    r"(?<=[.?!;:])[\"')\]]*(?:\s+|--+|$)"
)


def sentences_of(text):
    """Cuts a text.

    Arguments
    ---------
    text : str
        The text, with an empty line between paragraphs.

    Returns
    -------
    list of str
        Its sentences. Those without a small letter, such as titles of
        chapters, are left out.

    Example
    -------
    >>> sentences_of("CHAPTER I\\n\\n1:1 'Stop!' said\\nMr. Hill; I did.")
    ["'Stop!", 'said Mr. Hill;', 'I did.']
    """
    paragraphs = (" ".join(each.split()) for each in _PARAGRAPH.split(text))
    sentences = (
        sentence.strip()
        for paragraph in paragraphs
        for sentence in _END.split(paragraph)
    )
    return [each for each in sentences if re.search("[a-z]", each)]


def _encoding(name):
    try:
        name.encode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        raise argparse.ArgumentTypeError(
            f"must be the name of an encoding, got {name!r}"
        ) from None


@all_characters()
def main(arguments=None):
    """Runs the script.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = OneLineParser(description="Cuts books into sentences.")
    parser.add_argument("books", nargs="+", help="text files")
    parser.add_argument(
        "--encoding", type=_encoding, help="of the books (default: UTF-8)"
    )
    parser.add_argument("--out", required=True, help="file to write")
    options = parser.parse_args(arguments)
    sentences = []
    try:
        for book in options.books:
            if options.encoding is None:
                text = read_text(book)
            else:
                text = Path(book).read_text(options.encoding)
            found = sentences_of(text)
            words = sum(len(each.split()) for each in found)
            print(f"{book}: {len(found)} sentences, {words} words")
            sentences += found
        write_atomically(
            options.out, "".join(f"{each}\n" for each in sentences)
        )
    except (OSError, ValueError) as error:
        parser.error(error)


if __name__ == "__main__":
    main()
