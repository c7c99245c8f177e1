//! Where the project's files are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a command of this tool ends with.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The folder that holds the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The files that git tracks, and the new ones that it does not ignore, relative to [`root`].
pub fn files() -> Outcome<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        return Err("git ls-files failed: run this inside a git checkout".into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut files: Vec<PathBuf> =
        text.lines().map(PathBuf::from).filter(|it| root().join(it).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Copies a folder with everything in it, and when its files were last written to.
pub fn copy_folder(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            let modified = entry.metadata()?.modified()?;
            std::fs::File::options().write(true).open(target)?.set_modified(modified)?;
        }
    }
    Ok(())
}
