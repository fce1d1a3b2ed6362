"""`python -m zephyr_lab ...` is `zephyr-lab ...`."""

from zephyr_lab.cli import main

if __name__ == "__main__":
    main()
