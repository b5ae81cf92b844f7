"""Word and character error rates of a model, offline and streamed."""

from speechbrain_llsa.evaluation.measure import evaluate
from speechbrain_llsa.evaluation.utterance import Utterance
from speechbrain_llsa.training.bad_utterances import BadUtterances, name_of

MODES = ("offline", "streamed")


def compare_offline_and_streamed(
    asr,
    dataset,
    push_seconds,
    errors_file=None,
    name="model",
    bad_utterances=None,
    hop=None,
    look_ahead=None,
    streamed_count=None,
):
    """Evaluates a model on the utterances of a training.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model.
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances with ``id``, ``wav``, ``wrd``, and ``fault``: why it cannot
        be used, else "".
    push_seconds : float
        Audio per push.
    errors_file : str or pathlib.Path, optional
        Where the alignments go: of the streamed text of an utterance, or else
        of the offline one. Nothing is written without utterances.
    name : str
        For the progress bars.
    bad_utterances : BadUtterances, optional
        What to do with utterances that cannot be used; by default they are
        left out.
    hop : int, optional
        As for ``StreamingASR.session``, of both.
    look_ahead : int, optional
        As for ``StreamingASR.session``, of both.
    streamed_count : int, optional
        How many utterances are streamed, evenly spread; by default all.

    Returns
    -------
    dict
        ``utterances``; ``left_out``, utterances that could not be used;
        ``audio_seconds`` of the others; ``offline`` and ``streamed``, each
        with ``utterances``, ``wer`` and ``cer`` in percent,
        ``real_time_factor`` of the first minute, ``device`` and ``threads``,
        or ``None`` where nothing was transcribed so; ``different_texts``,
        utterances whose two texts differ, ``None`` where none has two.
    """
    utterances, left_out = _usable(dataset, bad_utterances or BadUtterances())
    results = {
        "utterances": len(utterances),
        "left_out": left_out,
        "audio_seconds": 0.0,
        **dict.fromkeys(MODES),
        "different_texts": None,
    }
    if not any(each.transcript.split() for each in utterances):
        return results
    evaluation = evaluate(
        asr,
        utterances,
        name=name,
        hop=hop,
        look_ahead=look_ahead,
        push_seconds=push_seconds,
        streamed_count=streamed_count,
        timing_push_seconds=push_seconds,
        timing_runs=1,
        resamples=1,
        progress=True,
    )
    results["audio_seconds"] = evaluation.audio_seconds
    for mode in MODES:
        measured = getattr(evaluation, mode)
        if measured is not None:
            texts = [getattr(each, mode) for each in evaluation.texts]
            factor = measured.real_time_factor
            results[mode] = {
                "utterances": sum(text is not None for text in texts),
                "wer": measured.wer.percent,
                "cer": measured.cer.percent,
                "real_time_factor": factor and factor.best,
                "device": evaluation.device,
                "threads": evaluation.threads,
            }
    results["different_texts"] = evaluation.different_texts
    if errors_file is not None:
        evaluation.write_alignments(errors_file)
    return results


def _usable(dataset, bad_utterances):
    """The utterances that can be used, and the number of the others."""
    utterances, left_out = [], 0
    for item in dataset:
        if item["fault"]:
            name = name_of(item["id"], item["wav"])
            left_out += bad_utterances.report({name: item["fault"]})
        else:
            utterances.append(Utterance(item["id"], item["wrd"], item["wav"]))
    return utterances, left_out


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
