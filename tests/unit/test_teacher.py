"""A teacher, and how far a student is from it."""

import pytest
import torch

from speechbrain_llsa.model_folder import shipped
from speechbrain_llsa.model_folder.write import (
    write_encoder_folder,
    write_streaming_folder,
)
from speechbrain_llsa.training.teacher import (
    Teacher,
    embedding_distance,
    label_divergence,
)
from tiny_model import (
    CHARACTERS,
    make_front_end,
    make_model,
    make_tokenizer,
)


@pytest.fixture
def acausal(tmp_path):
    """A model that sees whole utterances, and its folder."""
    model = make_model("aa").eval()
    return model, write_streaming_folder(
        tmp_path / "teacher", model, make_tokenizer()
    )


def hear(student, waveforms, lengths=None):
    return student(waveforms, lengths, with_embeddings=True)


def test_nothing_is_left_to_learn_from_oneself(acausal):
    model, folder = acausal
    waveforms, lengths = torch.randn(2, 16000), torch.tensor([1.0, 0.6])
    distances = Teacher(folder)(
        waveforms, lengths, *hear(model, waveforms, lengths)
    )
    assert distances.shape == (2,) and distances.abs().max() < 1e-5


def test_a_student_learns_and_the_teacher_does_not(acausal):
    """Steps along the gradient bring a student closer; no weight of the
    teacher moves, and dropout stays off in it."""
    _, folder = acausal
    teacher = Teacher(folder).train()
    assert not any(module.training for module in teacher.modules())
    student = make_model("llsa", look_ahead=2, hop=2)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.003)
    waveforms = torch.randn(2, 16000)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    distances = []
    for _ in range(12):
        loss = teacher(waveforms, None, *hear(student, waveforms)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distances.append(loss.item())
    assert distances[-1] < 0.8 * distances[0]
    for name, weight in teacher.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_a_teacher_without_labels(tmp_path):
    """Its last layer alone is followed."""
    model = make_model("aa").eval()
    folder = write_encoder_folder(
        tmp_path, model.extractor, model.encoder_wrapper
    )
    student = make_model("sa", look_ahead=1).eval()
    waveforms = torch.randn(1, 8000)
    with torch.no_grad():
        log_probs, lengths, embeddings = hear(student, waveforms)
        taught = hear(model, waveforms)[2]
    assert Teacher(folder, embedding_weight=2.0)(
        waveforms, None, log_probs, lengths, embeddings
    ) == pytest.approx(
        (2 * embedding_distance(embeddings, taught, lengths)).tolist()
    )


def test_padding_does_not_count():
    """A row alone has the distance that it has in a batch."""
    student, teacher = torch.randn(2, 2, 9, 4).unbind()
    teacher[1, 5:] = student[1, 5:] = 1e3 * torch.randn(4, 4)
    lengths = torch.tensor([9, 5])
    together = label_divergence(
        student.log_softmax(2), teacher.log_softmax(2), lengths
    )
    alone = label_divergence(
        student[1:, :5].log_softmax(2),
        teacher[1:, :5].log_softmax(2),
        lengths[1:],
    )
    assert together[1:] == pytest.approx(alone.tolist())
    student[1, 5:] += 7
    assert torch.equal(
        embedding_distance(student, teacher, lengths),
        embedding_distance(student, teacher, torch.tensor([9, 5])),
    )


def test_an_empty_row_has_no_distance():
    rows = torch.randn(2, 3, 4)
    distances = embedding_distance(rows, rows + 1, torch.tensor([3, 0]))
    assert distances[0] > 0 and distances[1] == 0


def test_a_model_that_ships_teaches_by_its_name(acausal, monkeypatch):
    model, folder = acausal
    monkeypatch.setattr(shipped, "MODELS", folder.parent)
    waveforms = torch.randn(1, 8000)
    distances = Teacher(folder.name)(waveforms, None, *hear(model, waveforms))
    assert distances.abs().max() < 1e-5


def test_a_student_of_other_labels(acausal):
    """As many, but in another order: followed in its embeddings alone."""
    model, folder = acausal
    Teacher(folder).check_student(model, make_tokenizer())
    other = make_tokenizer(CHARACTERS[::-1])
    with pytest.raises(ValueError, match="be of the student's units"):
        Teacher(folder).check_student(model, other)
    teacher = Teacher(folder, label_weight=0)
    teacher.check_student(model, other)
    waveforms = torch.randn(1, 8000)
    log_probs, *rest = hear(model, waveforms)
    distance = teacher(waveforms, None, log_probs[..., :3], *rest)
    assert distance.abs().max() < 1e-5


def test_a_student_of_other_frames_or_features(acausal):
    """Is told before training begins."""
    teacher = Teacher(acausal[1])
    student = make_model("llsa", extractor=make_front_end())
    with pytest.raises(ValueError, match="be of 384 samples from frame to fr"):
        teacher.check_student(student, make_tokenizer())
    student = make_model("llsa")
    student.encoder_wrapper.input_projector = torch.nn.Linear(8, 24)
    with pytest.raises(ValueError, match="must be of 24 features, got 16"):
        teacher.check_student(student, make_tokenizer())


@pytest.mark.parametrize(
    "measure, name",
    [(embedding_distance, "embeddings"), (label_divergence, "labels")],
)
def test_a_teacher_of_another_size(measure, name):
    student, teacher = torch.zeros(1, 3, 4), torch.zeros(1, 3, 5)
    with pytest.raises(ValueError, match=rf"teacher must be a model.*{name}"):
        measure(student, teacher, torch.tensor([3]))


@pytest.mark.parametrize(
    "weights, error",
    [((-1, 1), ValueError), ((1, "4"), TypeError)],
)
def test_weights_are_checked(weights, error, acausal):
    with pytest.raises(error, match=r"teacher_.*_weight must be"):
        Teacher(acausal[1], *weights)
