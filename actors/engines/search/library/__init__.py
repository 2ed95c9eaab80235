"""Transformations of grids, of which programs are composed: each is a short function of numpy that stands by itself.

A function is used twice: it is called while programs are searched for, and its source is copied into the programs that
are found. So it may use numpy as `np` and other functions of this library, and nothing else. Its docstring is one
sentence, which explains the step in an answer. A grid is a two-dimensional array of int64; 0 is the background. A grid
that a function is not made for raises a ValueError or an IndexError, or comes out as an array without cells.
"""
