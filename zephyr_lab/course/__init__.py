"""What makes the notebooks a course: predictions, exercises, result cells; their execution and their stored form."""

from zephyr_lab.course.posed import exercise
from zephyr_lab.course.predict import predict
from zephyr_lab.course.result import result

__all__ = ["exercise", "predict", "result"]
