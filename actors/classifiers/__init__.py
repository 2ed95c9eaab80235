"""Text classifiers: training, the model directory each of them writes, and inference from it without pickle."""
