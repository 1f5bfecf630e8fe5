"""Norms: how tokens are brought to one scale. One file each.

A class of the folder is a module for tokens (B, N, D), made with `(dim, *, its options)`.
"""
