//! Record batches as bytes: view, build, validate, compress.
