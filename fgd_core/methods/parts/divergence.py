"""Measures how far the student's distributions are from the teacher's, both given as logits."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits


def tempered_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compute T^2 KL(p || q) of each row, where p = softmax(teacher / T) and q = softmax(student / T).

    The factor T^2 keeps the gradients about as large at every temperature (arXiv:1503.02531 §2).

    Args:
        student: (…, K) logits.
        teacher: (…, K) logits; no gradient flows into them.
        temperature: the T.
    Returns:
        (…) in nats, at least 0.
    """
    log_q = (student / temperature).log_softmax(-1)
    log_p = (teacher.detach() / temperature).log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1) * temperature**2


def soft_focal_loss(student: Tensor, teacher: Tensor, beta: float = 1.0) -> Tensor:
    """Compute the binary cross entropy against the teacher's probabilities, focused where both still differ.

    Each class is compared for itself, because the scores of dense detectors are sigmoids: they do not sum to 1.

    Args:
        student: (…) logits.
        teacher: (…) logits; no gradient flows into them.
        beta: the exponent of the focus; 0 is the plain cross entropy.
    Returns:
        (…): |sigmoid(s) - sigmoid(t)|^beta times the cross entropy of sigmoid(s) against sigmoid(t).
    Source: the class loss of CrossKD, arXiv:2306.11369.
    """
    target = teacher.detach().sigmoid()
    focus = (student.sigmoid() - target).abs() ** beta
    return focus * binary_cross_entropy_with_logits(student, target, reduction="none")


def probability_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the binary cross entropy of softmax probabilities, averaged over the classes.

    Args:
        student: (n, K) logits.
        teacher: (n, K) logits; no gradient flows into them.
    Returns:
        (n,)
    """
    probabilities = student.softmax(-1).clamp(0, 1)
    return binary_cross_entropy(probabilities, teacher.detach().softmax(-1), reduction="none").mean(-1)
