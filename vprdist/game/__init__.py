"""What each class contributes: a game whose players are classes, and whose value is a metric. Pure numbers.

A *player* is a class, or a named group of classes. A *subset* of n players is a whole number whose bit i is player i.
The *value* of a subset is the metric of a trial whose mask is made of the subset's classes.
"""
