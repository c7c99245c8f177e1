//! The HTTP port that Prometheus asks: `GET /metrics`, and what Kafka's protocol has no words for.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::Str;

use bytes::BytesMut;
use ottla_host::net::{Listener, Stream};

use super::exposition::CONTENT_TYPE;
use super::pages;
use crate::broker::Broker;

/// What there is instead.
const NOTHING_HERE: &str =
    "The metrics are at /metrics, why a group rebalanced at /groups/{group}/rebalances.\n";
/// The longest request that is read.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// How long a client may take to ask, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers until dropped.
pub async fn serve(broker: Arc<Broker>, listener: Listener) {
    let host = broker.host.clone();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (client, broker) = (host.clone(), broker.clone());
                host.spawn(async move {
                    let answered = answer(&broker, stream);
                    if !matches!(client.timeout(PATIENCE, answered).await, Ok(Ok(()))) {
                        tracing::debug!("a client of the metrics went away or was too slow");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics listener cannot accept a connection");
                host.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(broker: &Arc<Broker>, mut stream: Stream) -> std::io::Result<()> {
    let mut head = BytesMut::with_capacity(1024);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES || stream.read(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.as_ref().split(|it| *it == b'\r').next().unwrap_or_default();
    let mut words = line.split(|it| *it == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|it| *it == b'?').next().unwrap_or_default();
    let is_asked = matches!(method, b"GET" | b"HEAD");
    let (status, kind, body) = match path {
        _ if !is_asked => ("405 Method Not Allowed", CONTENT_TYPE, "Only GET is answered.\n".to_owned()),
        b"/metrics" => ("200 OK", CONTENT_TYPE, pages::metrics(broker).await),
        path => match group_of(path) {
            Some(group) => ("200 OK", "application/json", pages::rebalances(broker, group).await),
            None => ("404 Not Found", CONTENT_TYPE, NOTHING_HERE.to_owned()),
        },
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let body = if method == b"HEAD" { &[][..] } else { body.as_bytes() };
    stream.write_all_vectored(&mut [IoSlice::new(head.as_bytes()), IoSlice::new(body)]).await
}

/// The group in `/groups/{group}/rebalances`, in which bytes may be written as `%` and two hexadecimal digits.
fn group_of(path: &[u8]) -> Option<Str> {
    let written = path.strip_prefix(b"/groups/")?.strip_suffix(b"/rebalances")?;
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => *byte,
        });
    }
    Str::from_utf8(bytes.into()).ok().filter(|group| !group.is_empty())
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn a_path_names_a_group() {
        let group = |path: &str| group_of(path.as_bytes()).map(|it| it.to_string());
        assert_eq!(group("/groups/orders/rebalances").as_deref(), Some("orders"));
        assert_eq!(group("/groups/a%2Fb%c3%bc/rebalances").as_deref(), Some("a/bü"));
        for path in
            ["/groups//rebalances", "/groups/a", "/groups/%/rebalances", "/groups/%zz/rebalances", "/"]
        {
            assert_eq!(group(path), None, "{path}");
        }
    }
}
