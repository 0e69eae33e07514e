"""The plane's figures, from the board."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.core.audio.board import BUCKET, COUNTERS, DROPPED, Board


def percentile(histogram: NDArray[np.int64], part: float) -> float:
    """Seconds below which ``part`` of the frames of a lateness histogram began; 0 for none."""
    total = int(histogram.sum())
    if not total:
        return 0.0
    return float(np.searchsorted(np.cumsum(histogram), part * total) + 1) * BUCKET


class Meter:
    """Reads the board; keeps what it read last, to tell what has been since."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lateness = board.lateness.copy()

    def read(self, legs: int) -> dict[str, tuple[float, str]]:
        """Names, values and what they mean."""
        board = self._board
        now = board.lateness.copy()
        since, self._lateness = now - self._lateness, now
        count = dict(zip(COUNTERS, board.counters.tolist(), strict=True))
        found = {
            "pbx_audio_legs": (float(legs), "Legs"),
            "pbx_audio_frames_total": (count["frames"], "Frames of 20 ms"),
            "pbx_audio_frames_skipped_total": (count["skipped"], "Frames not sent, after a pause"),
            "pbx_audio_late_seconds": (
                percentile(since, 0.99),
                "99th percentile of how late frames began, since it was read last",
            ),
            "pbx_audio_busy_seconds_total": (count["busy"], "Time at work in frames"),
            "pbx_audio_packets_in_total": (count["packets_in"], "Datagrams received"),
            "pbx_audio_packets_out_total": (count["packets_out"], "RTP packets sent"),
            "pbx_audio_unsent_total": (count["unsent"], "RTP packets that the network refused"),
        }
        for reason, value in zip(DROPPED, board.dropped.tolist(), strict=True):
            name = f"pbx_audio_dropped_{reason}_total"
            found[name] = (float(value), f"Datagrams dropped: {reason.replace('_', ' ')}")
        return found
