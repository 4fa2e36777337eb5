//! What runs on clients and instances: metadata on ordinary sockets, state reports.
