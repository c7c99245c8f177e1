//! What stands behind `${env:…}`, `${file:…}` and `${directory:…}`: Kafka's own providers of configuration.

use std::path::{Component, Path, PathBuf};

use ottla_base::settings::reference::{self, Provider, ProviderKind, Reference};
use ottla_base::settings::{InvalidSetting, Texts, parse_properties};
use ottla_host::Disk;

use super::MAX_FILE_BYTES;

/// Replaces the references in all values by what the declared providers find.
pub(super) fn resolve(
    disk: &Disk,
    environment: &[(String, String)],
    texts: &mut Texts,
) -> Result<(), InvalidSetting> {
    let providers = reference::providers(texts)?;
    if providers.is_empty() {
        return Ok(());
    }
    reference::resolve(texts, &mut |reference| {
        let Some(provider) = providers.iter().find(|it| it.name == reference.provider) else {
            return Ok(None);
        };
        match provider.kind {
            ProviderKind::Environment => from_environment(provider, environment, reference),
            ProviderKind::File => from_file(disk, provider, reference),
            ProviderKind::Directory => from_directory(disk, provider, reference),
        }
    })
}

fn from_environment(
    provider: &Provider,
    environment: &[(String, String)],
    reference: Reference<'_>,
) -> Result<Option<String>, InvalidSetting> {
    if !reference.path.is_empty() {
        return Err(InvalidSetting::new(format!(
            "Path is not supported for EnvVarConfigProvider, invalid value '{}'",
            reference.path
        )));
    }
    if let Some(pattern) = &provider.allowed_names {
        let whole = regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(|_| {
            InvalidSetting::new(format!(
                "Pattern '{pattern}' of provider {} is not a regular expression",
                provider.name
            ))
        })?;
        if !whole.is_match(reference.key) {
            return Ok(None);
        }
    }
    Ok(environment.iter().find(|(name, _)| name == reference.key).map(|(_, value)| value.clone()))
}

fn from_file(
    disk: &Disk,
    provider: &Provider,
    reference: Reference<'_>,
) -> Result<Option<String>, InvalidSetting> {
    let path = Path::new(reference.path);
    if reference.path.is_empty() || !is_allowed(provider, path) {
        return Ok(None);
    }
    let bytes = read(disk, path)?;
    let mut texts = parse_properties(&bytes)
        .map_err(|malformed| InvalidSetting::new(format!("{}: {malformed}", path.display())))?;
    Ok(texts.remove(reference.key))
}

fn from_directory(
    disk: &Disk,
    provider: &Provider,
    reference: Reference<'_>,
) -> Result<Option<String>, InvalidSetting> {
    let mut names = Path::new(reference.key).components();
    let is_one_name = matches!((names.next(), names.next()), (Some(Component::Normal(_)), None));
    let directory = Path::new(reference.path);
    if reference.path.is_empty() || !is_one_name || !is_allowed(provider, directory) {
        return Ok(None);
    }
    let path = directory.join(reference.key);
    match disk.exists(&path) {
        Ok(true) => {}
        _ => return Ok(None),
    }
    let bytes = read(disk, &path)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(InvalidSetting::new(format!("{} is not text", path.display()))),
    }
}

fn read(disk: &Disk, path: &Path) -> Result<Vec<u8>, InvalidSetting> {
    let unreadable = |error| InvalidSetting::new(format!("Could not read {}: {error}", path.display()));
    disk.read(path, MAX_FILE_BYTES).map_err(unreadable)
}

/// Whether the path lies within those that the provider may read, once its `..` are resolved.
fn is_allowed(provider: &Provider, path: &Path) -> bool {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    provider.allowed_paths.is_empty() || provider.allowed_paths.iter().any(|it| resolved.starts_with(it))
}
