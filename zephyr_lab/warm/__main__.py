"""Runs a command, and ends with its exit status."""

import subprocess
import sys

from zephyr_lab.warm import warm_kernels

if __name__ == "__main__":
    with warm_kernels():
        sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
