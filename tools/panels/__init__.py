"""The Grafana dashboard, a module a row of panels."""
