"""Run every benchmark and print its table."""

from __future__ import annotations

from benchmarks import event_log, forecast, import_time, store_year

if __name__ == "__main__":
    import_time.main()
    print()
    event_log.main([])
    print()
    forecast.main()
    print()
    store_year.main([])
