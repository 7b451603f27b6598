"""One model on several devices: rank 0 decides and tells, the other ranks follow, each computes its part."""
