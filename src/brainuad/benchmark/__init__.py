"""Compare methods on the same cohorts: plan the runs, start them, read their scores, write tables.

`python -m brainuad.benchmark --settings mine.yaml --out mine/`
"""
