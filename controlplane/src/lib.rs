//! Configuration, telemetry, publishing, API and metrics of the Agent Forwarding Router.
