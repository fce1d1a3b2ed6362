"""What makes the notebooks a course: their result cells, their execution, their stored form."""

from zephyr_lab.course.result import result

__all__ = ["result"]
