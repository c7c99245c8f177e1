//! A store that does not answer, for some objects or for all: what else there is to do is done, and nothing is lost.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderName, Method, Request, Response, StatusCode, header};
use ottla_base::Str;
use ottla_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::fixture::{Node, batch};

/// A server of objects that speaks as much of Google's XML protocol as is asked of it here.
#[derive(Clone, Default)]
struct Objects(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    /// No request is answered whose path holds this.
    silent_for: Option<&'static str>,
}

impl Objects {
    /// Serves as long as the runtime lives. Gives that and the address.
    fn serve(&self) -> (Runtime, String) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let objects = self.clone();
        let answer = move |request| objects.clone().answer(request);
        let serving = async { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() };
        runtime.spawn(serving);
        (runtime, address)
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if self.0.lock().unwrap().silent_for.is_some_and(|word| path.contains(word)) {
            pending::<()>().await;
        }
        let range = request.headers().get(header::RANGE).map(|it| it.to_str().unwrap().to_owned());
        let content = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let objects = &mut self.0.lock().unwrap().objects;
        let answer = Response::builder().header(header::ETAG, "\"it\"");
        let answer = answer.header(header::LAST_MODIFIED, "Sun, 29 Nov 2026 10:00:00 GMT");
        let with = |status, headers: &[(HeaderName, String)], body: Bytes| {
            let answer = headers.iter().fold(answer, |it, (name, value)| it.header(name, value));
            answer.status(status).body(Body::from(body)).unwrap()
        };
        match (method, objects.get(&path), range) {
            (Method::PUT, ..) => {
                objects.insert(path, content);
                with(StatusCode::OK, &[], Bytes::new())
            }
            (Method::DELETE, Some(_), _) => {
                objects.remove(&path);
                with(StatusCode::NO_CONTENT, &[], Bytes::new())
            }
            (Method::GET, Some(found), Some(range)) => {
                let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let last = last.min(found.len() - 1);
                let told = format!("bytes {first}-{last}/{}", found.len());
                let headers = [(header::CONTENT_RANGE, told)];
                with(StatusCode::PARTIAL_CONTENT, &headers, found.slice(first..=last))
            }
            (Method::GET, Some(found), None) => with(StatusCode::OK, &[], found.clone()),
            _ => with(StatusCode::NOT_FOUND, &[], Bytes::new()),
        }
    }

    fn be_silent_for(&self, word: Option<&'static str>) {
        self.0.lock().unwrap().silent_for = word;
    }

    /// How many segments of a topic are there.
    fn segments_of(&self, topic: &str) -> usize {
        let held = self.0.lock().unwrap();
        held.objects.keys().filter(|it| it.contains(topic) && it.ends_with("log")).count()
    }
}

fn start(address: &str, more: &[&str]) -> Node {
    let own = [
        "remote.log.storage.system.enable=true",
        "ottla.remote.storage.url=gs://bucket",
        &format!("rsm.config.google.base.url={address}"),
        "rsm.config.google.bearer.token=a",
        "remote.log.metadata.manager.listener.name=PLAINTEXT",
        "rlmm.config.remote.log.metadata.topic.num.partitions=2",
        "rlmm.config.remote.log.metadata.topic.replication.factor=1",
        "rlmm.config.remote.log.metadata.topic.min.isr=1",
        "remote.log.manager.task.interval.ms=20",
        "remote.log.manager.task.retry.backoff.ms=20",
        "remote.log.manager.task.retry.backoff.max.ms=50",
        "log.initial.task.delay.ms=20",
        "log.retention.check.interval.ms=20",
    ];
    let settings: Vec<&str> = own.into_iter().chain(more.iter().copied()).collect();
    Node::start(&settings)
}

fn create(node: &Node, topic: &str) {
    let configs = [
        ("remote.storage.enable", "true"),
        ("internal.segment.bytes", "2000"),
        ("retention.ms", "-1"),
        ("local.retention.bytes", "1"),
    ];
    node.create_topic(topic, 1, &configs);
}

/// Seals some segments more.
fn produce(node: &Node, topic: &str) {
    for _ in 0..5 {
        assert_eq!(node.produce(topic, batch(&["x".repeat(1_500).as_str()])).error_code, 0);
    }
}

fn delete(node: &Node, topic: &str) {
    let name = Some(Str::from(topic));
    let topics = vec![DeleteTopicState { name, ..Default::default() }];
    let answer = node.ask(6, &DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() });
    assert_eq!(answer.responses[0].error_code, 0);
}

fn until(node: &Node, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        node.pause(10);
    }
    panic!("{what}");
}

/// Its first records are in the store alone, and are read.
fn read_tiered(node: &Node, topic: &str) {
    until(node, "the first segments leave the disk", || {
        let local = node.running().broker().logs.logs();
        local.iter().any(|it| it.partition().topic == topic && it.view().local_start().get() > 0)
    });
    until(node, "what was tiered is read", || {
        let found = node.fetch(topic, 0);
        assert_eq!((found.error_code, found.log_start_offset), (0, 0));
        found.records.is_some_and(|it| !it.is_empty())
    });
}

#[test]
fn a_partition_whose_objects_are_not_answered_for_holds_up_no_other_and_no_stop() {
    let objects = Objects::default();
    // No request ends for want of time.
    let (_serving, address) = objects.serve();
    let mut node = start(
        &address,
        &[
            "ottla.remote.storage.request.timeout.ms=3600000",
            "rsm.config.timeout=1 hour",
            "remote.fetch.max.wait.ms=50",
        ],
    );
    for topic in ["reading", "stuck", "copying", "fine"] {
        create(&node, topic);
    }
    for topic in ["reading", "stuck"] {
        produce(&node, topic);
        until(&node, "segments are copied", || objects.segments_of(topic) >= 4);
    }
    // `reading`, `stuck` and `copying` have nothing else in common that is in no other path.
    objects.be_silent_for(Some("ing"));
    produce(&node, "copying");
    read_nothing(&node, "reading");
    produce(&node, "fine");
    until(&node, "segments of another topic are copied", || objects.segments_of("fine") >= 4);
    read_tiered(&node, "fine");
    objects.be_silent_for(Some("stuck"));
    delete(&node, "stuck");
    produce(&node, "fine");
    until(&node, "more segments are copied", || objects.segments_of("fine") >= 8);
    delete(&node, "fine");
    until(&node, "what is deleted goes", || objects.segments_of("fine") == 0);
    assert!(objects.segments_of("stuck") >= 4);
    node.stop();
    objects.be_silent_for(None);
    node.resume();
    until(&node, "what was begun is done after a restart", || {
        objects.segments_of("stuck") == 0 && objects.segments_of("copying") >= 4
    });
    read_tiered(&node, "reading");
}

/// Its first records have left the disk and do not come; as many readers ask for them as there are for all partitions.
fn read_nothing(node: &Node, topic: &str) {
    until(node, "the first segments leave the disk", || {
        let local = node.running().broker().logs.logs();
        local.iter().any(|it| it.partition().topic == topic && it.view().local_start().get() > 0)
    });
    for _ in 0..12 {
        let found = node.fetch(topic, 0);
        assert_eq!((found.error_code, found.records.unwrap_or_default().len()), (0, 0));
    }
}

#[test]
fn what_was_not_answered_in_time_is_counted_and_tried_again() {
    let objects = Objects::default();
    let (_serving, address) = objects.serve();
    let node = start(&address, &["ottla.remote.storage.request.timeout.ms=100"]);
    create(&node, "t");
    objects.be_silent_for(Some("bucket"));
    produce(&node, "t");
    let unanswered = || {
        let page = node.metrics();
        let line = "ottla_remote_storage_requests_unanswered_total{operation=\"put\"} ";
        let value = page.lines().find_map(|it| it.strip_prefix(line)).unwrap_or("0");
        value.parse::<u64>().unwrap()
    };
    until(&node, "requests end when their time is over", || unanswered() >= 2);
    objects.be_silent_for(None);
    until(&node, "segments are copied at last", || objects.segments_of("bucket") >= 4);
    read_tiered(&node, "t");
}
