"""What is measured, and how: ``python -m benchmarks``; the table is in ``README.md`` beside this file."""
