"""The engines that are compared, each in a process of its own.

An engine is a file here with a class `Engine`, a `session.Session`. It runs in a worker process with the Python
environment that has it: peers disagree about versions of NumPy and ONNX, bring their own thread pools, and have memory
that is to be told apart. `worker.py` is the far side of the pipe, `remote.py` the near one.
"""
