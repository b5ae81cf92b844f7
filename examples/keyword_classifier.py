"""Learns keywords on frozen features, and spots them as audio comes in.

python examples/keyword_classifier.py MODEL_FOLDER CORPUS

MODEL_FOLDER is a streaming/ or pretrained/ folder; CORPUS is in LibriSpeech
layout, as recipes/Synthetic/synthesize.py makes it, with splits train and
test. What is learned from is which words an utterance has, not when they come.
"""

import sys

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from speechbrain_llsa import StreamingEncoder, WeightedLayerSum
from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa_runtime.dataio.audio_files import audio_info, read_blocks

KEYWORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT"]

sys.stdout.reconfigure(errors="backslashreplace")  # any name is printed
torch.manual_seed(0)
encoder = StreamingEncoder.from_hparams(sys.argv[1], layer="all")
layer_sum = WeightedLayerSum(encoder.num_layers + 1, normalize=True)
head = torch.nn.Linear(encoder.features, len(KEYWORDS))
classifier = torch.nn.Sequential(layer_sum, head)  # a logit for each keyword


def encode(utterance):
    """Frames of an utterance, and which keywords it has."""
    words = utterance.transcript.split()
    has = torch.tensor([word in words for word in KEYWORDS])
    return encoder.encode_file(utterance.path), has


def classify(batch):
    """Logits of the best frame of each utterance, and the truth."""
    logits = [classifier(frames).amax(dim=0) for frames, _ in batch]
    return torch.stack(logits), torch.stack([has for _, has in batch])


def live(path):
    """Frames of a file one by one, as those of a microphone would come."""
    session = encoder.session()
    for block in read_blocks(path, 0.1):
        yield from session.push(block, audio_info(path).sample_rate)
    yield from session.finish()


voices, others = (read_split(sys.argv[2], split) for split in ("train", "test"))
train = [encode(each) for each in voices[:: max(1, len(voices) // 400)]]
optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
for _ in range(2 * len(train)):
    logits, has = classify([train[i] for i in torch.randint(len(train), [16])])
    optimizer.zero_grad()
    binary_cross_entropy_with_logits(logits, has.float()).backward()
    optimizer.step()
print("layers", [round(w, 2) for w in layer_sum.weights.softmax(0).tolist()])
logits, has = classify([encode(each) for each in others])
hits, alarms = (logits > 0)[has].float(), (logits > 0)[~has].float()
print(f"unheard voices: {hits.mean():.1%} found, {alarms.mean():.1%} in error")


print(f"{others[0].path} says {others[0].transcript}")
before = torch.zeros(len(KEYWORDS), dtype=torch.bool)
for number, frame in enumerate(live(others[0].path)):
    now = classifier(frame) > 0
    for index in torch.nonzero(now & ~before):
        print(f"{KEYWORDS[index]} at {number * encoder.frame_seconds:.2f} s")
    before = now
