//! What a server asks of its process: signals, descriptor limit, memory, CPU.
