"""Work on untrusted input, in processes that may hang, balloon or crash without taking anything else with them.

    pool = Pool(start, workers=4, seconds=300, megabytes=4096)
    future = pool.submit(request)   # from any thread
    answer = future.result()        # or raises Rejected: over a limit, or the end of its process
    pool.close()

`start()` is called once in each process and returns the function that turns requests into answers; it, they, and
what the function raises (CorpusvecError only) are pickled. Knows nothing of documents.
"""

from pipeline.workers.pool import Inline, Pool, Work, default_workers

__all__ = ["Inline", "Pool", "Work", "default_workers"]
