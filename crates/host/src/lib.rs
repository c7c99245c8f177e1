//! The computer: clock, entropy, disk, sockets; real or simulated.
