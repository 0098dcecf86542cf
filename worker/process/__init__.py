"""What a worker is to its machine: started, named, asked how it is, asked to stop, parent and child."""
