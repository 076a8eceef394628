"""Several methods at once."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.dimensions import LogUniform
from fgd_core.spec.methods.base import AnyMethod, MethodPart, Space, Unmet, with_fixed_scale
from fgd_core.spec.methods.fgd import Fgd
from fgd_core.spec.methods.pkd import Pkd
from fgd_core.spec.methods.single import SingleMethod

_Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=30)]


_Part: TypeAlias = Annotated[SingleMethod, AfterValidator(with_fixed_scale)]


class Mixed(AnyMethod):
    """Several methods at once: the loss is the sum of their losses, each with its own `scale`. What a part needs, the
    mixture needs. In curves and reports, the terms of a part begin with its name.

    Published for COCO, as teacher / student alone / CrossKD / CrossKD with PKD: GFL R101 to R50 44.9 / 40.2 / 43.7 /
    43.9; RetinaNet R101 to R50 38.9 / 37.4 / 39.7 / 39.8. Not known: scales for other mixtures; each part has its
    published values, so a sweep over `mixed-scales` is a sensible start.
    """

    type: Literal["mixed"] = "mixed"
    parts: Mapping[_Name, _Part] = Field(default={"focal": Fgd(), "pearson": Pkd()}, min_length=1)
    """The methods, by a name of your choice, for example `{features: {type: pkd}, boxes: {type: ld, scale: 0.5}}`. Each
    scale is a number: the share of the part in the mixture."""

    @property
    def compares_stages(self) -> bool:
        """Whether any part compares the maps of the backbones."""
        return any(part.compares_stages for part in self.parts.values())

    @property
    def pictures(self) -> Mapping[str, int | None]:
        """The other pictures that any part compares, each as long as any part does."""
        epochs: dict[str, list[int | None]] = {}
        for part in self.parts.values():
            for name, of_part in part.pictures.items():
                epochs.setdefault(name, []).append(of_part)
        return {name: None if None in each else max(filter(None, each)) for name, each in epochs.items()}

    @property
    def weighs_nothing(self) -> bool:
        """Whether no part distils anything."""
        return self.scale == 0 or all(part.weighs_nothing for part in self.parts.values())

    def parts_for(self, student: AnyDetector) -> Iterator[MethodPart]:
        """Yield the parts, each with the common scale on its own."""
        for name, method in self.parts.items():
            for each in method.parts_for(student):
                title = f"{name} ({each.title})"
                scale, is_auto = self.fixed_scale * each.scale, self.scale == "auto"
                yield each._replace(title=title, prefix=f"{name}/", scale=scale, finds_scale=is_auto)

    @classmethod
    def spaces(cls, published: Self) -> Mapping[str, Space]:
        """Return the presets: the common scale, or the scale of each part."""
        scales = {f"method.parts.{name}.scale": LogUniform(low=0.001, high=10) for name in published.parts}
        return {**super().spaces(published), "mixed-scales": scales}

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the parts with their published values; each keeps its scale, which is its share of the mixture."""
        parts = {
            name: part.published(student, teacher).model_copy(update={"scale": part.scale})
            for name, part in self.parts.items()
        }
        return super().published(student, teacher).model_copy(update={"parts": parts})

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled with one of the parts."""
        yield from dict.fromkeys(each for part in self.parts.values() for each in part.unmet(student, teacher))

    def unmet_by_images(self, num_images: int) -> Iterator[Unmet]:
        """Yield why one of the parts teaches nothing with so few images at a time."""
        yield from dict.fromkeys(each for part in self.parts.values() for each in part.unmet_by_images(num_images))
