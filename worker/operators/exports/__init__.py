"""Dead letters in a file: a copy before an upgrade, or the way to another broker.

``lines`` are the bytes, ``files`` the file, ``exporting`` and ``importing`` what is done with the
queue. An export never removes a letter and an import never publishes one that lies about itself.
"""
