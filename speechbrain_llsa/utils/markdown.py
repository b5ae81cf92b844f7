"""Tables in Markdown."""


def markdown_table(head, rows, right=(), padded=False):
    """Formats a table.

    Arguments
    ---------
    head : sequence of str
        The names of the columns.
    rows : iterable of sequence of str
        The cells of each row.
    right : collection of int
        Columns that are aligned to the right, counted from 0.
    padded : bool
        Whether cells are padded, so that the source reads as a table too.

    Returns
    -------
    str
        A line for each row, the first two for the head.

    Example
    -------
    >>> print(markdown_table(["split", "WER"], [["test", "4.5"]], right=[1]))
    | split | WER |
    | --- | ---: |
    | test | 4.5 |
    >>> print(markdown_table(["split", "WER"], [["test", "4.5"]], padded=True))
    | split | WER |
    | ----- | --- |
    | test  | 4.5 |
    """
    rows = [list(row) for row in rows]
    widths = [0] * len(head)
    if padded:
        columns = zip(head, *rows, strict=True)
        widths = [max(map(len, column)) for column in columns]
    rule = [
        "-" * (width or 3) + ":" * (place in right)
        for place, width in enumerate(widths)
    ]
    return "\n".join(
        f"| {' | '.join(map(str.ljust, line, widths))} |"
        for line in [list(head), rule, *rows]
    )
