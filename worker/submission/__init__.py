"""From what an operator has, a file or a few options, to confirmed requests.

Pure but for the publishing itself, which goes through the publisher port: ``rows`` finds the
requests in a file, ``keys`` gives each its identity, ``checking`` reads each as the worker will,
``sending`` publishes those that passed.
"""
