"""The same rows of load on several servers, one after the other on one machine, side by side."""
