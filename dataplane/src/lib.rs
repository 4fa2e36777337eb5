//! The packet path of the Agent Forwarding Router.
