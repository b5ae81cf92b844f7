"""Every class that a hyperparameter file may name:
``!new:speechbrain_llsa.hparams.X``.

Classes may move within the package, but their names here are stable, so that
files and folders of trained models stay readable. Names are imported on first
use.
"""

from speechbrain_llsa_runtime.utils.lazy import lazy_names

_PACKAGE = "speechbrain_llsa"
_RUNTIME = "speechbrain_llsa_runtime"

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        # models and their parts
        "StreamingLatentExtractor": f"{_PACKAGE}.nnet.frontend",
        "ConvolutionalFrontEnd": f"{_PACKAGE}.nnet.convolutional_front_end",
        "LogMelFrontEnd": f"{_PACKAGE}.nnet.log_mel_front_end",
        "StreamingTransformerEncoder": f"{_PACKAGE}.nnet.encoder",
        "StreamingEncoderWrapper": f"{_PACKAGE}.lobes.wav2vec2",
        "StreamingCTC": f"{_PACKAGE}.lobes.ctc",
        "StreamingTransducer": f"{_PACKAGE}.lobes.transducer",
        "TransducerDecoder": f"{_PACKAGE}.lobes.transducer",
        "StreamingTransformerASR": f"{_PACKAGE}.lobes.transformer_asr",
        "HopSampler": f"{_PACKAGE}.lobes.hop_sampler",
        "transducer_cost": f"{_PACKAGE}.lobes.transducer_loss",
        # pre-training
        "SpanMasker": f"{_PACKAGE}.lobes.masking",
        "JointVectorQuantizer": f"{_PACKAGE}.lobes.quantiser",
        "MaskedContrastiveLoss": f"{_PACKAGE}.lobes.contrastive",
        "RandomGain": f"{_PACKAGE}.lobes.augmentation",
        "SilencePadding": f"{_PACKAGE}.lobes.augmentation",
        "GeneratedNoise": f"{_PACKAGE}.lobes.noise",
        "Reverberation": f"{_PACKAGE}.lobes.reverberation",
        # from log-probabilities to transcripts
        "BeamSearchOptions": f"{_PACKAGE}.decoders.options",
        "CTCGreedyState": f"{_RUNTIME}.decoders.greedy",
        "TextState": f"{_RUNTIME}.decoders.greedy",
        "Endpointer": f"{_RUNTIME}.transcripts.endpointer",
        "WordOffsets": f"{_RUNTIME}.transcripts.words",
        # what SpeechBrain's StreamingASR asks for
        "ChunkFeatureExtractor": f"{_PACKAGE}.inference.speechbrain_interface",
        "ChunkEncoder": f"{_PACKAGE}.inference.speechbrain_interface",
        "ChunkHead": f"{_PACKAGE}.inference.speechbrain_interface",
        "ChunkText": f"{_PACKAGE}.inference.speechbrain_interface",
        "ChunkTransducer": f"{_PACKAGE}.inference.speechbrain_interface",
        "ChunkLabelState": f"{_PACKAGE}.inference.speechbrain_interface",
        "decode_chunk": f"{_PACKAGE}.inference.speechbrain_interface",
        "build_for_finetuning": f"{_PACKAGE}.model_folder.finetuning",
        "log_mel_from_speechbrain": f"{_PACKAGE}.pretrained.log_mel",
        "FolderPretrainer": f"{_PACKAGE}.model_folder.pretrainer",
        "load_part": f"{_PACKAGE}.model_folder.pretrainer",
    },
)
