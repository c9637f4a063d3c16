"""The families of pipelines; what each figure is modelled on stands in docs/generator.md."""

from circinus_coordinator.generation.families.fusion import FUSION
from circinus_coordinator.generation.families.retrieval import RETRIEVAL
from circinus_coordinator.generation.families.speech import SPEECH
from circinus_coordinator.generation.families.vision import VISION

__all__ = ["FAMILIES"]

FAMILIES = {family.name: family for family in (VISION, SPEECH, RETRIEVAL, FUSION)}
