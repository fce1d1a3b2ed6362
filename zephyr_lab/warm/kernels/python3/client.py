"""Stands for a warm kernel: as long as this process lives the kernel does, and the other way round.

Jupyter starts this program as the kernel. It asks the process that has everything imported (`server.py`) for a fork,
passes interrupts on, and ends with the kernel's exit status. Where nobody listens it becomes an ordinary kernel.
"""

import json
import os
import signal
import socket
import sys

ADDRESS = "ZEPHYR_LAB_WARM_KERNELS"


def main() -> None:
    arguments = ["-f", *sys.argv[1:]]
    environment = dict(os.environ)
    address = environment.pop(ADDRESS, "")
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(address)
    except OSError:
        if not os.path.isdir(os.path.dirname(environment.get("IPYTHONDIR", ""))):  # it was with who does not listen
            environment.pop("IPYTHONDIR", None)
        os.execve(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *arguments], environment)
    signal.signal(signal.SIGINT, lambda *_: server.send(b"i"))
    umask = os.umask(0o077)
    order = {"arguments": arguments, "folder": os.getcwd(), "umask": umask, "environment": environment}
    text = json.dumps(order).encode()
    socket.send_fds(server, [len(text).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(text)
    ended = server.recv(1)
    sys.exit(ended[0] if ended else 1)


if __name__ == "__main__":
    main()
