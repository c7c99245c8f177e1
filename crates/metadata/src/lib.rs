//! The cluster as an image, its changes as records, the controller that decides them.

pub mod settings;
