"""Linking: finding mentions now; evidence, fusion, joint decisions and calibration have their place here."""
