"""Becomes another program, which keeps the kernels warm as long as it lives."""

import os
import sys

from zephyr_lab.warm import warm_kernels

if __name__ == "__main__":
    with warm_kernels() as server:
        if server:
            os.set_inheritable(server.lifeline, True)
        os.execvp(sys.argv[1], sys.argv[1:])
