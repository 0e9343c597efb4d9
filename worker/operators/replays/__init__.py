"""Replay runs: putting planned dead letters back to work, and finding out what comes of each.

``intents`` is what a run sets out to do, ``decisions`` when it may go on and when it must stop,
``outcomes`` what a letter has come to; ``letters`` does with one letter what its step asks for,
``watch`` follows those that were sent, ``walked`` goes round the queue once, and ``runner`` begins
and ends that (operations 1.5).
"""
