"""What augmentation is worth: ten rows a class, with and without, on clean test rows and on hit ones."""
