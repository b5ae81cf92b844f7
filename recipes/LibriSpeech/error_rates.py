"""Word and character error rates of a model, offline and streamed."""

import time

import torch
from tqdm import tqdm

from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa.geometry import SAMPLE_RATE


def stream_waveform(
    asr,
    waveform,
    push_seconds,
    sample_rate=SAMPLE_RATE,
    hop=None,
    look_ahead=None,
):
    """Transcribes a waveform through a session.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model.
    waveform : torch.Tensor
        Samples, (samples,).
    push_seconds : float
        How much is pushed at once; the text does not depend on it.
    sample_rate : int
        Samples per second.
    hop : int, optional
        As for ``StreamingASR.session``.
    look_ahead : int, optional
        As for ``StreamingASR.session``.

    Returns
    -------
    str
        The text.
    """
    session = asr.session(hop=hop, look_ahead=look_ahead)
    for samples in waveform.split(max(1, round(push_seconds * sample_rate))):
        session.push(samples, sample_rate)
    session.finish()
    return session.text


def compare_offline_and_streamed(
    asr,
    dataset,
    push_seconds,
    errors_file=None,
    name=None,
    hop=None,
    look_ahead=None,
):
    """Transcribes every utterance twice: at once, and as a stream.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model.
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances with ``id``, ``sig`` at the rate of the model, and ``wrd``.
    push_seconds : float
        How much a session is pushed at once.
    errors_file : str or pathlib.Path, optional
        Where the alignments go, of the streamed texts where there are any.
    name : str, optional
        For the progress bar.
    hop : int, optional
        As for ``StreamingASR.session``, of both.
    look_ahead : int, optional
        As for ``StreamingASR.session``, of both.

    Returns
    -------
    dict
        ``utterances``; ``offline`` and ``streamed``, each with ``wer`` and
        ``cer`` in percent and ``real_time_factor``, the latter ``None`` for an
        attention that cannot stream; ``different_texts``, utterances whose
        two texts differ.
    """
    geometry = {"hop": hop, "look_ahead": look_ahead}
    modes = {
        "offline": lambda wave: asr.transcribe_batch(wave[None], **geometry)[0]
    }
    if asr.model.encoder_wrapper.latent_encoder.attention != "aa":
        modes["streamed"] = lambda wave: stream_waveform(
            asr, wave, push_seconds, **geometry
        )
    rates = {mode: ErrorRates() for mode in modes}
    spent = dict.fromkeys(modes, 0.0)
    audio_seconds, different = 0.0, 0
    for item in tqdm(dataset, desc=name, dynamic_ncols=True, disable=None):
        audio_seconds += len(item["sig"]) / SAMPLE_RATE
        texts = set()
        for mode, transcribe in modes.items():
            begin = time.perf_counter()
            text = transcribe(item["sig"])
            spent[mode] += time.perf_counter() - begin
            rates[mode].append(item["id"], text, item["wrd"])
            texts.add(text)
        different += len(texts) > 1
    results = {"utterances": len(dataset), "audio_seconds": audio_seconds}
    for mode in ("offline", "streamed"):
        results[mode] = None
        if mode in modes:
            results[mode] = {
                "wer": rates[mode].word_error_rate,
                "cer": rates[mode].character_error_rate,
                "real_time_factor": spent[mode] / audio_seconds,
                "threads": torch.get_num_threads(),
            }
    results["different_texts"] = different
    if errors_file is not None:
        with open(errors_file, "w", encoding="utf-8") as stream:
            rates[list(modes)[-1]].words.write_stats(stream)
    return results


def format_error_rates(error_rates):
    """A table for people.

    Arguments
    ---------
    error_rates : dict
        By split, as :func:`compare_offline_and_streamed` gives them.

    Returns
    -------
    str
        One line for each split.

    Example
    -------
    >>> rates = {"wer": 5.0, "cer": 1.0, "real_time_factor": 0.1}
    >>> print(
    ...     format_error_rates(
    ...         {
    ...             "test": {
    ...                 "utterances": 9,
    ...                 "offline": rates,
    ...                 "streamed": rates,
    ...                 "different_texts": 0,
    ...             }
    ...         }
    ...     )
    ... )
    split             utterances  WER %: offline streamed  CER %: offline streamed  different texts  RTF streamed
    test                       9            5.00     5.00            1.00     1.00                0         0.100
    """  # noqa: E501
    lines = [
        f"{'split':<16}{'utterances':>12}  WER %: offline streamed"
        "  CER %: offline streamed  different texts  RTF streamed"
    ]
    for split, result in error_rates.items():

        def cell(mode, value, width, digits, result=result):
            if result[mode] is None:
                return f"{'-':>{width}}"
            return f"{result[mode][value]:>{width}.{digits}f}"

        lines.append(
            f"{split:<16}{result['utterances']:>12}"
            f"{cell('offline', 'wer', 16, 2)}{cell('streamed', 'wer', 9, 2)}"
            f"{cell('offline', 'cer', 16, 2)}{cell('streamed', 'cer', 9, 2)}"
            f"{result['different_texts']:>17}"
            f"{cell('streamed', 'real_time_factor', 14, 3)}"
        )
    return "\n".join(lines)
