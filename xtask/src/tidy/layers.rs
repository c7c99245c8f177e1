//! Holds what cargo says of the dependencies between crates against `layers.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::workspace::{Outcome, root};

#[derive(Deserialize)]
struct Layers {
    crates: BTreeMap<String, Layer>,
}

#[derive(Deserialize)]
struct Layer {
    layer: u8,
    may_use: Vec<String>,
}

/// Crates that the pure layers (0 to 2) must not pull in: they would bring clocks, threads or sockets.
const IMPURE: [&str; 8] = ["tokio", "rustix", "socket2", "libc", "mio", "parking_lot", "axum", "tracing"];

/// Every edge that `layers.toml` does not allow.
pub fn check() -> Outcome<Vec<String>> {
    let text = std::fs::read_to_string(root().join("layers.toml"))?;
    let layers: Layers = toml::from_str(&text)?;
    let output = std::process::Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        check_package(package, &layers, &mut broken);
    }
    Ok(broken)
}

fn check_package(package: &serde_json::Value, layers: &Layers, broken: &mut Vec<String>) {
    let folder = folder(package["name"].as_str().unwrap_or_default());
    let Some(layer) = layers.crates.get(folder) else {
        broken.push(format!("crate `{folder}` is not in layers.toml"));
        return;
    };
    let anything = layer.may_use.iter().any(|it| it == "*");
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default();
        let is_for_tests = dependency["kind"].as_str() == Some("dev");
        if !is_for_tests && layer.layer <= 2 && IMPURE.contains(&name) {
            broken.push(format!("`{folder}` is layer {} and must not depend on `{name}`", layer.layer));
        }
        if name.starts_with("ottla-") && !anything && !is_for_tests {
            let used = self::folder(name);
            if !layer.may_use.iter().any(|it| it == used) {
                broken.push(format!("`{folder}` may not depend on `{used}` (layers.toml)"));
            }
        }
    }
}

fn folder(package: &str) -> &str {
    package.strip_prefix("ottla-").unwrap_or(package)
}
