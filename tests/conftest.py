"""One thread for each test process: two one-thread processes beat one of two threads."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
