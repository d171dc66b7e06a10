"""The camera: what falls between the lens and the street, and what the picture makes of the light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vprdist.demo.light import Light
from vprdist.demo.looks import Floats
from vprdist.demo.visits import Pose, Visit


def _weather_veil(rgb: Floats, drive: Visit, now: Light, rng: np.random.Generator) -> None:
    """Falling snow and streaks of rain between the lens and the street."""
    height, width = rgb.shape[:2]
    if drive.weather not in ("snow", "rain"):
        return
    snow = drive.weather == "snow"
    tint = now.horizon * (1.1 if snow else 0.9) + np.float32(0.12 * now.lamps)
    for _ in range(int((260 if snow else 120) * height * width / 12288)):
        r, c = int(rng.random() * height), int(rng.random() * width)
        tall = max(1, int(height / 96 * (1 if snow else 5)))
        spot = rgb[r : r + tall, c : c + max(1, height // 96)]
        spot += (tint - spot) * np.float32(0.55 if snow else 0.16)


def expose(rgb: Floats, drive: Visit, now: Light, pose: Pose, measured: float | None) -> NDArray[np.uint8]:
    """White balance, exposure, vignette, a soft shoulder, noise: (H, W, 3) radiance to uint8.

    Args:
        measured: the light that the exposure follows; None: the picture's own.
    """
    rng = np.random.default_rng(pose.seed)
    _weather_veil(rgb, drive, now, rng)
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - 0.13 * (x * x + y * y)).astype(np.float32)
    # The camera's automatic exposure follows the light half-way.
    level = float(np.clip(rgb, 0, 1).mean()) if measured is None else measured
    gain = now.gain * (0.42 / max(level, 0.05)) ** 0.45
    out = rgb * vignette[..., None] * np.float32(gain) * np.array(drive.balance, np.float32)
    out = np.where(out > 0.75, 0.75 + 0.25 * (1 - np.exp(-(out - 0.75) / 0.25)), np.maximum(out, 0))
    grain = 0.008 + 0.014 * min(1.0, now.lamps)
    out = out + grain * rng.standard_normal(out.shape, np.float32)
    result: NDArray[np.uint8] = (out.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return result
