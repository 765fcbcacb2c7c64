"""Spec files: scans, points, headers, as silx maps them."""
