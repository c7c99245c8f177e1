//! References inside values: `${provider:path:key}` and `${provider:key}`, as Kafka's `ConfigTransformer`
//! reads them.

use super::Texts;

/// The key that names the providers.
pub const PROVIDERS: &str = "config.providers";

/// One reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The name under which `config.providers` declares who resolves it.
    pub provider: &'a str,
    /// Where to look; empty when not given.
    pub path: &'a str,
    /// What to look for.
    pub key: &'a str,
}

/// The classes of Kafka's own providers, which Ottla stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Environment variables.
    Environment,
    /// Keys of a properties file.
    File,
    /// Files of a directory.
    Directory,
}

/// A declared provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub kind: ProviderKind,
    /// `param.allowed.paths`: outside of these it finds nothing. Empty allows everything.
    pub allowed_paths: Vec<String>,
    /// `param.allowlist.pattern`: only variables that match it whole are found. `None` allows everything.
    pub allowed_names: Option<String>,
}

/// The providers that `texts` declare, or the class that Ottla does not know.
pub fn providers(texts: &Texts) -> Result<Vec<Provider>, super::InvalidSetting> {
    let Some(names) = texts.get(PROVIDERS) else { return Ok(Vec::new()) };
    let names = super::value::split_list(names.trim());
    let mut declared = Vec::new();
    for name in names.into_iter().filter(|it| !it.is_empty()) {
        let class_key = format!("{PROVIDERS}.{name}.class");
        let Some(class) = texts.get(&class_key).map(|it| it.trim()) else { continue };
        let kind = match class.rsplit('.').next() {
            Some("EnvVarConfigProvider") => ProviderKind::Environment,
            Some("FileConfigProvider") => ProviderKind::File,
            Some("DirectoryConfigProvider") => ProviderKind::Directory,
            _ => {
                let reason = "Class could not be found; Ottla has the providers of Kafka itself: \
                    EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider";
                return Err(super::InvalidSetting::value(&class_key, class, reason));
            }
        };
        let parameter = |key: &str| texts.get(&format!("{PROVIDERS}.{name}.param.{key}"));
        let allowed_paths = parameter("allowed.paths").map_or_else(Vec::new, |it| {
            super::value::split_list(it.trim()).into_iter().filter(|path| !path.is_empty()).collect()
        });
        let allowed_names = parameter("allowlist.pattern").cloned();
        declared.push(Provider { name, kind, allowed_paths, allowed_names });
    }
    Ok(declared)
}

/// Replaces the references in every value by what `lookup` finds; what it does not find stays as written.
pub fn resolve<E>(
    texts: &mut Texts,
    lookup: &mut dyn FnMut(Reference<'_>) -> Result<Option<String>, E>,
) -> Result<(), E> {
    for value in texts.values_mut().filter(|it| it.contains("${")) {
        let mut resolved = String::with_capacity(value.len());
        let mut rest = value.as_str();
        while let Some((before, reference, after)) = next_reference(rest) {
            resolved.push_str(before);
            match lookup(reference)? {
                Some(found) => resolved.push_str(&found),
                None => resolved.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        resolved.push_str(rest);
        *value = resolved;
    }
    Ok(())
}

/// The text before the first reference, the reference, and the text after it.
fn next_reference(text: &str) -> Option<(&str, Reference<'_>, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("${")?;
        let inner = &text[start + 2..];
        let end = inner.find('}')?;
        let inner = &inner[..end];
        if let Some((provider, rest)) = inner.split_once(':') {
            let (path, key) = rest.split_once(':').unwrap_or(("", rest));
            let after = &text[start + 2 + end + 1..];
            return Some((&text[..start], Reference { provider, path, key }, after));
        }
        from = start + 2;
    }
}
