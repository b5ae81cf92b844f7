"""All that a hyperparameter file may name: ``!new:speechbrain_llsa.hparams.X``.

Where a class lives in this package may change; its name here does not, so that
files and folders of trained models stay readable. Names load when they are
first used.
"""

from speechbrain_llsa.utils.lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        # models and their parts
        "StreamingLatentExtractor": "nnet.frontend",
        "StreamingTransformerEncoder": "nnet.encoder",
        "StreamingEncoderWrapper": "lobes.wav2vec2",
        "StreamingCTC": "lobes.ctc",
        "StreamingTransformerASR": "lobes.transformer_asr",
        # pre-training
        "SpanMasker": "lobes.masking",
        "JointVectorQuantizer": "lobes.quantiser",
        "MaskedContrastiveLoss": "lobes.contrastive",
        "RandomGain": "lobes.augmentation",
        "SilencePadding": "lobes.augmentation",
        # from log-probabilities to transcripts
        "BeamSearchOptions": "decoders.options",
        "CTCGreedyState": "decoders.greedy",
        "TextState": "decoders.greedy",
        "Endpointer": "transcripts.endpointer",
        "WordOffsets": "transcripts.words",
        # what SpeechBrain's StreamingASR asks for
        "ChunkFeatureExtractor": "inference.speechbrain_interface",
        "ChunkEncoder": "inference.speechbrain_interface",
        "ChunkHead": "inference.speechbrain_interface",
        "ChunkText": "inference.speechbrain_interface",
        "decode_chunk": "inference.speechbrain_interface",
        "FolderPretrainer": "model_folder.pretrainer",
        "load_part": "model_folder.pretrainer",
    },
)
