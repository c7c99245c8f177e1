//! Log directories: described, chosen, and known to the controller.

use ottla_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;

use crate::fixture::{Node, batch};

#[test]
fn log_directories_are_described_with_what_is_in_them() {
    let node = Node::with_log_dirs(2, &[]);
    node.create_topic("t", 4, &[]);
    node.produce("t", batch(&["a"]));
    let answer = node.ask(5, &DescribeLogDirsRequest { topics: None, ..Default::default() });
    assert_eq!(answer.results.len(), 2);
    for directory in &answer.results {
        assert_eq!(directory.error_code, 0);
        assert!(directory.total_bytes > 0 && directory.usable_bytes > 0, "{directory:?}");
        let partitions: usize = directory.topics.iter().map(|it| it.partitions.len()).sum();
        assert_eq!(partitions, 2, "partitions are spread evenly: {answer:?}");
    }
}

#[test]
fn the_controller_knows_where_replicas_are() {
    let node = Node::with_log_dirs(2, &[]);
    let id = node.create_topic("t", 4, &[]);
    let broker = node.running().broker().clone();
    for _ in 0..200 {
        let image = broker.image.load();
        let known = image.topics.partitions(id).all(|(_, it)| {
            let directory = it.directory_of(broker.node_id);
            directory.is_some_and(|it| broker.online_directories().contains(&it))
        });
        if known {
            return;
        }
        node.pause(10);
    }
    panic!("{:?}", broker.image.load().topics.partitions(id).collect::<Vec<_>>());
}
