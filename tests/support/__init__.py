"""Models, images and servers that tests share."""
