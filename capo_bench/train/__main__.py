"""`python -m capo_bench.train`, which `accelerate launch -m capo_bench.train` starts as well."""

import sys

from capo_bench.train.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
