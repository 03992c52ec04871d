"""10,000 random orgs of the sandbox: does every interval of the reconciliation hold the truth?

``python -m benchmarks.random_orgs [orgs]``. The tests look at 3,000 of the same orgs.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from tests.usage.test_random_orgs import check

ORGS = 10_000


def violation(seed: int) -> str | None:
    """Return what does not hold of one org, or ``None``."""
    try:
        check(seed)
    except AssertionError as violated:
        return f"{violated}: {violated.__cause__}"
    return None


def main(orgs: int = ORGS) -> None:
    """Look at all orgs and print how many violate an interval."""
    begun = perf_counter()
    with ProcessPoolExecutor() as pool:
        found = [text for text in pool.map(violation, range(orgs), chunksize=50) if text]
    for text in found[:10]:
        print(text)
    took = perf_counter() - begun
    print(f"{orgs:,} random orgs, {len(found):,} with an interval that leaves out the truth; {took:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ORGS)
