"""Instance segmentation: separate objects from a class map."""
