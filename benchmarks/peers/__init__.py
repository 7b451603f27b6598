"""The servers that ours is compared with: installed, fed and started. Nothing here is needed to serve."""
