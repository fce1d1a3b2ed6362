from zephyr_lab.cli import main

main()
