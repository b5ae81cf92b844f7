"""Word and character error rates of a model, offline and streamed."""

import time

import torch
from tqdm import tqdm

from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa.evaluation.measure import spread
from speechbrain_llsa.training.bad_utterances import BadUtterances, name_of
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE


def stream_waveform(
    asr,
    waveform,
    push_seconds,
    sample_rate=SAMPLE_RATE,
    hop=None,
    look_ahead=None,
):
    """Transcribes a waveform with a streaming session.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model.
    waveform : torch.Tensor
        Samples, (samples,).
    push_seconds : float
        Audio per push; the text does not depend on it.
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
    transcripts = [
        session.push(samples, sample_rate)
        for samples in waveform.split(max(1, round(push_seconds * sample_rate)))
    ]
    transcripts.append(session.finish())
    return "".join(transcript.committed for transcript in transcripts)


def compare_offline_and_streamed(
    asr,
    dataset,
    push_seconds,
    errors_file=None,
    name=None,
    bad_utterances=None,
    hop=None,
    look_ahead=None,
    streamed_count=None,
):
    """Transcribes utterances twice: offline and streamed.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model.
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances with ``id``, ``wav``, ``wrd``, ``sig`` at the sample rate of
        the model, and ``fault``: why it cannot be used, "" if it can.
    push_seconds : float
        Audio per push to the session.
    errors_file : str or pathlib.Path, optional
        File for the alignments: those of the streamed texts, if every utterance
        was streamed, otherwise the offline ones. Nothing is written without
        utterances.
    name : str, optional
        Label of the progress bar.
    bad_utterances : bad_utterances.BadUtterances, optional
        What to do with utterances that cannot be used; by default they are
        skipped.
    hop : int, optional
        As for ``StreamingASR.session``; applies to both modes.
    look_ahead : int, optional
        As for ``StreamingASR.session``; applies to both modes.
    streamed_count : int, optional
        Number of utterances to stream, evenly spread; by default all. Those
        that cannot be used are not replaced.

    Returns
    -------
    dict
        ``utterances``; ``left_out``, utterances that could not be used;
        ``audio_seconds`` of the others; ``offline`` and ``streamed``, each
        with ``utterances``, ``wer`` and ``cer`` in percent,
        ``real_time_factor``, ``device`` and ``threads``, or ``None`` if
        nothing was transcribed in that mode; ``different_texts``, the number of
        utterances whose two texts differ, ``None`` if nothing was streamed.
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
    audio_seconds = dict.fromkeys(modes, 0.0)
    bad_utterances = bad_utterances or BadUtterances()
    streamed = set(spread(len(dataset), streamed_count))
    different, left_out = 0, 0
    items = tqdm(dataset, desc=name, dynamic_ncols=True, disable=None)
    for place, item in enumerate(items):
        if item["fault"]:
            name_of_item = name_of(item["id"], item["wav"])
            left_out += bad_utterances.report({name_of_item: item["fault"]})
            continue
        texts = set()
        for mode, transcribe in modes.items():
            if mode == "streamed" and place not in streamed:
                continue
            begin = time.perf_counter()
            text = transcribe(item["sig"])
            spent[mode] += time.perf_counter() - begin
            audio_seconds[mode] += len(item["sig"]) / SAMPLE_RATE
            rates[mode].append(item["id"], text, item["wrd"])
            texts.add(text)
        different += len(texts) > 1
    results = {
        "utterances": len(dataset) - left_out,
        "left_out": left_out,
        "audio_seconds": audio_seconds["offline"],
    }
    for mode in ("offline", "streamed"):
        results[mode] = None
        if audio_seconds.get(mode):
            results[mode] = {
                "utterances": len(rates[mode]),
                "wer": rates[mode].word_error_rate,
                "cer": rates[mode].character_error_rate,
                "real_time_factor": spent[mode] / audio_seconds[mode],
                "device": str(asr.device),
                "threads": torch.get_num_threads(),
            }
    results["different_texts"] = different if results["streamed"] else None
    if errors_file is not None and results["offline"]:
        all_streamed = results["streamed"] and (
            results["streamed"]["utterances"] == results["utterances"]
        )
        rates["streamed" if all_streamed else "offline"].write_alignments(
            errors_file
        )
    return results


def format_error_rates(error_rates):
    """Formats error rates as a table.

    Arguments
    ---------
    error_rates : dict
        Results of :func:`compare_offline_and_streamed`, by split.

    Returns
    -------
    str
        A heading, and one line per split.

    Example
    -------
    >>> rates = {"wer": 5.0, "cer": 1.0, "real_time_factor": 0.1}
    >>> rates["utterances"] = 9
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
            f"{_different(result):>17}"
            f"{cell('streamed', 'real_time_factor', 14, 3)}"
        )
    return "\n".join(lines)


def _different(result):
    """Number of different texts, with the total if not all were streamed."""
    if result["streamed"] is None:
        return "-"
    streamed = result["streamed"]["utterances"]
    different = str(result["different_texts"])
    if streamed == result["utterances"]:
        return different
    return f"{different} of {streamed}"
