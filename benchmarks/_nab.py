"""The scoring rules of the Numenta Anomaly Benchmark, rebuilt from its published description and proven on its results.

Source: Lavin and Ahmad (2015); per-file standard scores of ``windowedGaussian`` as published with NAB.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

Floats = NDArray[np.float64]
PROFILES = {
    "standard": (1.0, 0.11, 1.0),
    "reward_low_FP_rate": (1.0, 0.22, 1.0),
    "reward_low_FN_rate": (1.0, 0.11, 2.0),
}
"""Weights of a detected window, of a false positive and of a missed window."""

PROBATION_SHARE, PROBATION_ROWS_MAX = 0.15, 750

PUBLISHED = {
    "artificialNoAnomaly/art_daily_no_noise.csv": 0.0,
    "artificialNoAnomaly/art_daily_perfect_square_wave.csv": 0.0,
    "artificialNoAnomaly/art_daily_small_noise.csv": 0.0,
    "artificialNoAnomaly/art_flatline.csv": 0.0,
    "artificialNoAnomaly/art_noisy.csv": 0.0,
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv": -1.266678759349383,
    "realAWSCloudwatch/ec2_cpu_utilization_53ea38.csv": -0.14142319611668508,
    "realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv": -2.0,
    "realAWSCloudwatch/ec2_cpu_utilization_77c1ca.csv": -1.0,
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2.csv": 0.956537840284,
    "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv": 0.8606718242697022,
    "realAWSCloudwatch/ec2_cpu_utilization_c6585a.csv": -1.32,
    "realAWSCloudwatch/ec2_cpu_utilization_fe7f93.csv": 0.6387577917723906,
    "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de.csv": -4.190896785522053,
    "realAWSCloudwatch/ec2_disk_write_bytes_c0d644.csv": -1.0959985303155564,
    "realAWSCloudwatch/ec2_network_in_257a54.csv": 0.8606718242697022,
    "realAWSCloudwatch/ec2_network_in_5abac7.csv": -3.5219322351911635,
    "realAWSCloudwatch/elb_request_count_8c0756.csv": -0.13844919792440225,
    "realAWSCloudwatch/grok_asg_anomaly.csv": 2.37942230674,
    "realAWSCloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn.csv": -2.0,
    "realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv": -0.13844919792440225,
    "realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv": -0.13844919792440225,
    "realAdExchange/exchange-2_cpc_results.csv": -1.0,
    "realAdExchange/exchange-2_cpm_results.csv": -2.0,
    "realAdExchange/exchange-3_cpc_results.csv": 2.5026632611866138,
    "realAdExchange/exchange-3_cpm_results.csv": 0.862098587352162,
    "realAdExchange/exchange-4_cpc_results.csv": 0.2922884634276035,
    "realAdExchange/exchange-4_cpm_results.csv": 1.274710362684976,
    "realKnownCause/ambient_temperature_system_failure.csv": -2.0,
    "realKnownCause/cpu_utilization_asg_misconfiguration.csv": -1.11,
    "realKnownCause/ec2_request_latency_system_failure.csv": 2.02150685678,
    "realKnownCause/machine_temperature_system_failure.csv": -4.0,
    "realKnownCause/nyc_taxi.csv": -5.0,
    "realKnownCause/rogue_agent_key_hold.csv": -2.44,
    "realKnownCause/rogue_agent_key_updown.csv": -1.3964908955014117,
}
"""Standard-profile score per file of ``windowedGaussian`` at its published threshold of 1.0."""


@dataclass(frozen=True, slots=True)
class File:
    """One series with its labelled windows as inclusive row ranges."""

    name: str
    times: NDArray[np.datetime64]
    values: Floats
    windows: tuple[tuple[int, int], ...]

    @property
    def folder(self) -> str:
        """The folder, which is the unit that is left out when a threshold is chosen."""
        return self.name.split("/", maxsplit=1)[0]

    @property
    def probation(self) -> int:
        """Rows at the beginning that are not scored."""
        return int(min(np.floor(PROBATION_SHARE * len(self.values)), PROBATION_SHARE * 5_000))


def load(root: Path) -> list[File]:
    """Read every labelled series that is present under ``root``."""
    labels = json.loads((root / "labels/combined_windows.json").read_text())
    files = []
    for name, windows in sorted(labels.items()):
        path = root / "data" / name
        if not path.exists():
            continue
        with path.open(newline="") as source:
            rows = list(csv.DictReader(source))
        times = np.array([row["timestamp"] for row in rows], dtype="datetime64[s]")
        values = np.array([float(row["value"]) for row in rows])
        spans = tuple(
            (
                int(np.searchsorted(times, np.datetime64(lo[:19]))),
                int(np.searchsorted(times, np.datetime64(hi[:19]), side="right")) - 1,
            )
            for lo, hi in windows
        )
        files.append(File(name, times, values, spans))
    return files


def sigmoid(position: Floats) -> Floats:
    """Return the reward at a position relative to the window's right end: 1 before, -1 long after it."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(np.minimum(5.0 * position, 700.0))) - 1.0)


def rewards(file: File) -> tuple[Floats, NDArray[np.int64]]:
    """Return the unweighted reward of an alert at every row, and the window each row lies in (-1 for none)."""
    rows = np.arange(len(file.values))
    reward = np.full(len(rows), -1.0)
    inside = np.full(len(rows), -1)
    for at, (left, right) in enumerate(file.windows):
        after = rows > right
        past = (rows[after] - right) / max(right - left, 1)
        reward[after] = sigmoid(past)
        within = (rows >= left) & (rows <= right)
        reward[within] = sigmoid(-(right - rows[within] + 1) / (right - left + 1)) / sigmoid(np.array(-1.0))
        inside[within] = at
    return reward, inside


def score(file: File, alerts: NDArray[np.bool_], profile: str = "standard") -> tuple[float, int, int]:
    """Return the raw score, the detected windows and the false-positive rows of alerts on one file."""
    hit, false, miss = PROFILES[profile]
    reward, inside = rewards(file)
    counted = alerts & (np.arange(len(alerts)) >= file.probation)
    total = false * float(reward[counted & (inside < 0)].sum())
    found = 0
    for at in range(len(file.windows)):
        here = reward[counted & (inside == at)]
        found += bool(len(here))
        total += hit * float(here.max()) if len(here) else -miss
    return total, found, int((counted & (inside < 0)).sum())


def normalised(raw: float, windows: int, profile: str) -> float:
    """Return 100 for a perfect and 0 for a silent detector."""
    hit, _, miss = PROFILES[profile]
    return 100.0 * (raw + miss * windows) / ((hit + miss) * windows)


def windowed_gaussian(values: Floats, window: int = 6_400, step: int = 100) -> Floats:
    """Return the anomaly scores of NAB's simplest detector: one minus the Gaussian tail of a value in a sliding window.

    The published scores were written with twelve digits; its threshold of 1.0 means "rounds to 1".
    """
    scores = np.zeros(len(values))
    mean, deviation, seen = 0.0, 1.0, 0
    for at, value in enumerate(values):
        if seen:
            scores[at] = 1.0 - 0.5 * erfc(abs(value - mean) / deviation / 1.4142)
        if at < window:
            past, seen = values[: at + 1], at + 1
        elif (at - window + 1) % step == 0:
            past = values[at + 1 - window : at + 1]
        else:
            continue
        mean, deviation = float(past.mean()), float(past.std()) or 1e-6
    return np.round(scores, 12)
