"""Where the words of an utterance end, by forced alignment with the acoustic
model of pocketsphinx, which none of the recognisers that stream has a part
in."""

FRAME_SECONDS = 0.01


class WordAligner:
    """Aligns transcripts with the speech.

    Example
    -------
    >>> aligner = WordAligner()  # doctest: +SKIP
    >>> aligner.ends(samples, "ONE TWO")  # doctest: +SKIP
    [0.71, 1.16]
    """

    def __init__(self):
        from pocketsphinx import Decoder

        self.decoder = Decoder(loglevel="FATAL")

    def ends(self, samples, transcript):
        """Ends of the words.

        Arguments
        ---------
        samples : numpy.ndarray
            int16 at 16 kHz, (samples,).
        transcript : str
            What was spoken.

        Returns
        -------
        list of float or None
            Seconds for each word; ``None`` where the dictionary lacks a word,
            or where nothing fits.
        """
        words = transcript.lower().split()
        if any(self.decoder.lookup_word(word) is None for word in words):
            return None
        self.decoder.set_align_text(" ".join(words))
        self.decoder.start_utt()
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        if self.decoder.hyp() is None:
            return None
        ends = [
            (each.end_frame + 1) * FRAME_SECONDS
            for each in self.decoder.seg()
            if not each.word.startswith(("<", "["))
        ]
        return ends if len(ends) == len(words) else None
