"""MNIST inside the package, so that a fresh machine needs no network.

The MNIST database is by Yann LeCun, Corinna Cortes and Christopher J.C. Burges, under the licence CC BY-SA 3.0.
"""
