"""Every use of private members of napari and vispy.

Tried on napari 0.9.2 with vispy 0.17.0; the oldest napari that the package allows is 0.6.2. Each function or class says
what it replaces and what happens where the private member is missing; `tests/widgets/canvas/test_napari_internals.py`
removes the members one by one and checks that fallback.
"""
