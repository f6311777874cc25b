"""Sliders of the viewer: what they show is all that a browser can set, whatever it sends."""

from typing import Any, NamedTuple

SLIDERS = {
    "horizon": (1, 24, 1),
    "num_samples": (16, 512, 16),
    "num_iterations": (1, 10, 1),
    "temperature": (0.1, 10.0, 0.1),
    "min_std": (0.01, 0.5, 0.01),
}
"""Settings of the planner: lowest, highest, step. Each change compiles, in the background."""


class Slider(NamedTuple):
    """What a slider shows, and what it began with."""

    low: float
    high: float
    step: float
    first: float

    def read(self, given: Any) -> float:
        """What a browser sent as a number that the slider shows; the first one for no number."""
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given:
            return self.first
        given = min(max(given, self.low), self.high)
        if given == self.first:
            return self.first
        shown = self.low + self.step * round((given - self.low) / self.step)
        return type(self.first)(round(min(shown, self.high), 6))
