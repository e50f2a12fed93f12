"""SELECTs in processes of their own: short of memory and time, that write nothing, and that may be ended at any moment."""
