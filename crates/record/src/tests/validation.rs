//! What a leader accepts and refuses.
