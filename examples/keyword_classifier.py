"""Learns keywords on frozen features, and spots them as audio comes in.

python examples/keyword_classifier.py MODEL_FOLDER CORPUS [UTTERANCES]

MODEL_FOLDER is a streaming/ or pretrained/ folder; CORPUS is in LibriSpeech
layout, as recipes/LibriSpeech/synthesize.py makes it, with splits train and
test. What is learned from is which words an utterance has, not when they come.
"""

import sys
from pathlib import Path

import torch

from speechbrain_llsa import StreamingEncoder, WeightedLayerSum
from speechbrain_llsa.inference.audio import audio_info, read_blocks

KEYWORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT"]
most = int(sys.argv[3]) if len(sys.argv) > 3 else 400

torch.manual_seed(0)
encoder = StreamingEncoder.from_hparams(sys.argv[1], layer="all")
layer_sum = WeightedLayerSum(encoder.num_layers + 1, normalize=True)
head = torch.nn.Linear(encoder.features, len(KEYWORDS))
classifier = torch.nn.Sequential(layer_sum, head)  # a logit for each keyword


def utterances(split):
    """Audio files, evenly from all voices, with frames and keywords."""
    files = sorted(Path(sys.argv[2], split).rglob("*.trans.txt"))
    lines = [(f, line) for f in files for line in f.read_text().splitlines()]
    for file, line in lines[:: max(1, len(lines) // most)]:
        name, *words = line.split()
        path = file.with_name(f"{name}.flac")
        has = torch.tensor([word in words for word in KEYWORDS])
        yield path, encoder.encode_file(path), has


def spot(batch):
    """Logits of whole utterances, of the best frame each, and the truth."""
    best = [classifier(frames).amax(dim=0) for _, frames, _ in batch]
    return torch.stack(best), torch.stack([has for *_, has in batch])


train, test = list(utterances("train")), list(utterances("test"))
optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
for _ in range(len(train) * 2):
    batch = [train[i] for i in torch.randint(len(train), [16]).tolist()]
    logits, has = spot(batch)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, has.float()
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    logits, has = spot(test)
hits, passes = (logits > 0)[has].float(), (logits < 0)[~has].float()
accuracy = (hits.mean() + passes.mean()).item() / 2
print(f"layers {[round(w, 2) for w in layer_sum.weights.softmax(0).tolist()]}")
print(f"unheard voices: balanced accuracy {accuracy:.3f}")

path, _, has = test[0]
print(f"{path.name} has {[k for k, h in zip(KEYWORDS, has, strict=True) if h]}")
sample_rate = audio_info(path).sample_rate
session, active, heard = encoder.session(), torch.zeros_like(has), 0.0
for block in [*read_blocks(path, 0.1), None]:
    if block is None:
        frames = session.finish()
    else:
        frames = session.push(block, sample_rate)
        heard += len(block) / sample_rate
    times = encoder.frame_times(len(frames), session.frames - len(frames))
    for seconds, logits in zip(times, classifier(frames), strict=True):
        for index in torch.nonzero((logits > 0) & ~active).flatten():
            print(f"{KEYWORDS[index]} at {seconds:.2f} s, heard {heard:.2f} s")
        active = logits > 0
