"""The catalogue of anomalies, and the matrix of their verdicts at each level."""

from zephyr_lab.anomalies.catalogue import CATALOGUE, Anomaly, anomaly
from zephyr_lab.anomalies.matrix import Cell, Matrix

__all__ = ["CATALOGUE", "Anomaly", "Cell", "Matrix", "anomaly"]
