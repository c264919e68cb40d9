"""`python -m capo_bench`, the command `capo-bench`."""

from capo_bench.cli.app import main

if __name__ == "__main__":
    main()
