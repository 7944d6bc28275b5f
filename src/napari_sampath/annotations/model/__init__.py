"""Classes, objects and the operations that change them."""
