"""Keras building blocks of the classifiers."""
