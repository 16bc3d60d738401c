"""A task for the tests: counts steps, keeps a checkpoint, and misbehaves when it is asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Rehearsal(Recipe):
    """Counts steps and makes a tetrahedron."""

    label: ClassVar[str] = "Rehearsal"
    input: ClassVar[str] = "capture"
    example: ClassVar[str] = "maquette rehearsal transforms.json -o out.glb"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"steps": 2}}

    steps: int = param(3, "Steps to take", min=1, max=100_000)
    step_seconds: float = param(0.02, "Time that a step takes", unit="s", min=0.0, max=100.0)
    resolution: int = param(100, "What a full GPU lowers", min=10, max=1000)
    memory: int = param(1, "Estimated memory", unit="MB", min=1, max=10**9)
    trouble: Literal["none", "input", "defect", "gpu", "gpu-always", "ram", "disk", "crash", "deaf", "child", "warn",
                     "upgraded"] = (
        param("none", "What goes wrong"))

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        return Estimate(memory_mb=self.memory, seconds=self.steps * self.step_seconds)
