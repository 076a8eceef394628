"""Lists the distillation methods.

To add a method: a file here, a member of `spec.methods.MethodSpec`, a row in each table below.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from fgd_core.methods.fgd import FGDLoss
from fgd_core.methods.temperature import advise_temperature
from fgd_core.spec import methods as spec


def _fgd(method: spec.Fgd, student_channels: int, teacher_channels: int) -> nn.Module:
    return FGDLoss(
        student_channels,
        teacher_channels,
        alpha=method.scale * method.alpha,
        beta=method.scale * method.beta,
        gamma=method.scale * method.gamma,
        lambda_=method.scale * method.lambda_,
        temperature=method.temperature,
        mask=method.mask,
    )


# (the method's spec, channels of the student's map, channels of the teacher's map) -> a module, a `base.LevelLoss`
METHODS: Mapping[type[spec.MethodSpec], Callable[[spec.MethodSpec, int, int], nn.Module]] = {spec.Fgd: _fgd}

# (the method's spec, the teacher's maps by level) -> advice for a person; None if the settings suit the maps
ADVICE: Mapping[type[spec.MethodSpec], Callable[[spec.MethodSpec, Mapping[str, Tensor]], str | None]] = {
    spec.Fgd: lambda method, maps: advise_temperature(method.temperature, maps)
}
