//! `host:port` and `NAME://host:port`, as Kafka's `Utils` and `SocketServerConfigs` read them.

/// The name, host and port. The name and the host may be empty; brackets around a v6 address are taken off.
pub fn split(text: &str) -> Option<(&str, &str, u32)> {
    let (name, rest) = match text.find("://") {
        Some(at) if is_name(&text[..at]) => (&text[..at], &text[at + 3..]),
        _ => ("", text),
    };
    let (host, port) = rest.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    let host_ok = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_' | '%' | ':');
    if host.chars().all(host_ok) { Some((name, host, port)) } else { None }
}

/// Whether a listener may bear the name.
fn is_name(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_' | b'%'))
}
