"""The job folder, the queue, and the worker's process: started, watched, cancelled, resumed."""
