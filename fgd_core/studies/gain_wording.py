"""Writes the finding of a gain study as sentences."""

from collections.abc import Iterator, Mapping

from fgd_core.spec.study_findings.gain import ArmResult, Contrast, Gain

_SUBJECTS = {
    ("distilled", "plain"): "Distilling",
    ("inherited", "plain"): "Inheriting",
    ("both", "plain"): "Distilling and inheriting together",
    ("both", "inherited"): "Distilling, added to inheriting,",
    ("both", "distilled"): "Inheriting, added to distilling,",
}


def sentences(found: Gain) -> list[str]:
    """Say what each contrast shows, which classes lost, and what these seeds can show."""
    arms = {arm.arm: arm for arm in found.arms}
    said = [sentence for contrast in found.contrasts for sentence in _contrast(contrast, arms)]
    return said or ["No two arms have results that can be compared."]


def _contrast(contrast: Contrast, arms: Mapping[str, ArmResult]) -> Iterator[str]:
    subject = _SUBJECTS[contrast.first, contrast.second]
    change = contrast.change
    if change is None:
        yield f"{subject} cannot be judged: there is no AP."
        return
    first, second = (len(arms[name].seeds) for name in (contrast.first, contrast.second))
    by = f"{subject} changes AP by {change.value:+.3f} ({first} and {second} seeds)"
    if change.low is None or change.high is None or change.p_adjusted is None:
        yield f"{by}; it is not known whether this is more than noise: run each arm with three or more seeds."
        return
    interval = f"95 % interval {change.low:+.3f} to {change.high:+.3f}, p = {change.p_adjusted:.2g}"
    match change.finding:
        case "gained":
            yield f"{by}: it helps ({interval})."
        case "lost":
            yield f"{by}: it hurts ({interval})."
        case _:
            yield f"{by}: within noise ({interval}). {_what_would_show(contrast)}"
    lost = [row.name for row in contrast.classes if row.change is not None and row.change.finding == "lost"]
    if lost:
        yield f"{subject} loses AP in {', '.join(lost)}, more than chance would."


def _what_would_show(contrast: Contrast) -> str:
    power = contrast.power
    if power is None:
        return ""
    text = (
        f"These seeds show a true gain of {power.shown_gain:.3f} four times in five, and one of "
        f"{power.smallest_gain:.3f} with a probability of {power.power:.0%}"
    )
    if power.power >= 0.8:
        return f"{text}."
    if power.seeds_needed is None:
        return f"{text}; more than 50 seeds would be needed for that."
    return f"{text}; {power.seeds_needed} seeds would show it four times in five."
