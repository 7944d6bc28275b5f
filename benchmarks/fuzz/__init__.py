"""The fuzzer: reads damaged files of every format, and counts what does not end in one sentence.

`make fuzz`, or `python -m benchmarks.fuzz --help`.
"""
