//! Holds what is linked into the binary against `deny.toml`, and what is declared against `docs/dependencies.md`.
//!
//! The same rules as `cargo deny check bans licenses sources`, from what cargo itself knows, so that nothing has to be
//! installed for them.

use serde::Deserialize;

use crate::workspace::{Outcome, root};

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    name: String,
    reason: String,
    /// Who may bring it along.
    #[serde(default)]
    wrappers: Vec<String>,
}

/// Every dependency that may not be there, and every one without a reason in writing.
pub fn check() -> Outcome<Vec<String>> {
    let deny: Deny = toml::from_str(&std::fs::read_to_string(root().join("deny.toml"))?)?;
    let reasons = std::fs::read_to_string(root().join("docs/dependencies.md"))?;
    let output = std::process::Command::new("cargo")
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        match package["source"].as_str() {
            None => check_declared(package, &reasons, &mut broken),
            Some(source) => check_foreign(name, source, package["license"].as_str(), &deny, &mut broken),
        }
    }
    check_wrappers(&metadata, &deny, &mut broken);
    broken.sort();
    broken.dedup();
    Ok(broken)
}

fn check_declared(package: &serde_json::Value, reasons: &str, broken: &mut Vec<String>) {
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default();
        if !name.starts_with("ottla-") && !reasons.contains(&format!("`{name}`")) {
            broken.push(format!("`{name}` has no reason in docs/dependencies.md"));
        }
    }
}

fn check_foreign(name: &str, source: &str, license: Option<&str>, deny: &Deny, broken: &mut Vec<String>) {
    if !source.starts_with("registry+") {
        broken.push(format!("`{name}` does not come from the registry"));
    }
    if let Some(banned) = deny.bans.deny.iter().find(|it| it.name == name && it.wrappers.is_empty()) {
        broken.push(format!("`{name}` is banned: {}", banned.reason));
    }
    if !license.is_some_and(|it| is_allowed(it, &deny.licenses.allow)) {
        broken.push(format!("`{name}` has the licence {license:?}, which deny.toml does not allow"));
    }
}

/// What is banned but for some may come with none but those.
fn check_wrappers(metadata: &serde_json::Value, deny: &Deny, broken: &mut Vec<String>) {
    let name_of = |id: &serde_json::Value| {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        packages.into_iter().find(|it| it["id"] == *id).and_then(|it| it["name"].as_str()).unwrap_or_default()
    };
    for banned in deny.bans.deny.iter().filter(|it| !it.wrappers.is_empty()) {
        for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
            let brings =
                node["deps"].as_array().into_iter().flatten().any(|it| name_of(&it["pkg"]) == banned.name);
            let by = name_of(&node["id"]);
            if brings && !banned.wrappers.iter().any(|it| it == by) {
                broken.push(format!("`{}` is banned, and `{by}` brings it: {}", banned.name, banned.reason));
            }
        }
    }
}

/// Whether a licence expression can be met with allowed licences alone.
pub(super) fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, allowed);
    met && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = all(rest, allowed);
    while let ["OR", tail @ ..] = rest {
        *rest = tail;
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", tail @ ..] = rest {
        *rest = tail;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    match rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let met = any(rest, allowed);
            if let [")", tail @ ..] = rest {
                *rest = tail;
            }
            met
        }
        [name, "WITH", exception, tail @ ..] => {
            *rest = tail;
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        [name, tail @ ..] => {
            *rest = tail;
            allowed.iter().any(|it| it == name)
        }
        [] => false,
    }
}
