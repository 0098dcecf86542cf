"""What the worker's parts cost, layer by layer, each as a share of what the model alone could do. See `plan`."""
