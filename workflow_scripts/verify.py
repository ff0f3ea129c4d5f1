"""Verifies this package: `python verify.py` in the folder where it was unpacked.

It needs the packages of code/envs/requirements.txt. It compares every file with the manifest, the
code with the digest that each run recorded, and every table with one that is made anew from the
records.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "code" / "workflow_scripts"))

from muonlab.plan.code import run_digest  # noqa: E402
from muonlab.report.reproduce import changed_files, rebuilt_tables  # noqa: E402


def main() -> int:
    os.chdir(HERE)
    changed = changed_files(HERE)
    print("files:", f"changed: {', '.join(changed)}" if changed else "all as packed")
    runs = [
        json.loads(path.read_text()) for path in sorted(HERE.glob("results/*/runs/*/*/run.json"))
    ]
    other = [r for r in runs if r["provenance"]["code_digest"] != run_digest(r["config"])]
    print(f"code: {len(runs) - len(other)} of {len(runs)} runs were trained by the code in code/")
    found = list(rebuilt_tables(HERE))
    wrong = [(table, how) for table, how in found if how]
    for table, how in wrong:
        print(f"  {table} differs: {how}")
    print(f"tables: {len(found) - len(wrong)} of {len(found)} are the same when they are made anew")
    return bool(changed or other or wrong)


if __name__ == "__main__":
    sys.exit(main())
