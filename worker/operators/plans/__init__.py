"""Plans: which dead letters a replay is about, frozen in a file before anything is done.

``rows`` are the words, ``lines`` their bytes, ``files`` the file, ``making`` the judgement.
"""
