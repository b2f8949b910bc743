"""The only rooms that read or draw data: drawn scenes, images, CIFAR-10, Broden directories, models."""
