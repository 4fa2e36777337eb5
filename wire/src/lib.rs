//! Codec of the Agent-Aware Metadata: objects, MACs, hashes, carriers.
