"""All code that uses private members of napari and vispy.

It was tested with napari 0.6.2, 0.8.0, 0.9.2 and 0.10.0rc1; the package requires napari 0.6.2 or newer. Each docstring
names the public function that is replaced, and the fallback if the private member is missing.
`tests/widgets/canvas/test_napari_internals.py` removes the members one by one and checks each fallback.
"""
