"""Runs last: none of the tests before has left a socket or a file open."""

import gc
import unittest

from . import unraisable


class LeakTest(unittest.TestCase):
    def test_nothing_was_left_open(self):
        gc.collect()
        self.assertEqual(unraisable, [])
