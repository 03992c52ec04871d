"""Run the shorter benchmarks and print their tables."""

from __future__ import annotations

from benchmarks import event_log, forecast, import_time, random_orgs, store_year

if __name__ == "__main__":
    import_time.main()
    print()
    event_log.main([])
    print()
    random_orgs.main()
    print()
    forecast.main()
    print()
    store_year.main([])
