//! Log levels as Kafka's tools see and change them.

use super::*;

fn loggers(initial: &str) -> (Loggers, Arc<Mutex<String>>) {
    let in_force = Arc::new(Mutex::new(String::new()));
    let put = in_force.clone();
    let put_in_force = move |filter: &str| {
        *put.lock() = filter.to_owned();
        Ok(())
    };
    (Loggers::new(initial, Arc::new(put_in_force)), in_force)
}

fn set(name: &str, level: &str) -> Change {
    Change { name: name.to_owned(), operation: Operation::Set, value: Some(level.to_owned()) }
}

fn unset(name: &str) -> Change {
    Change { name: name.to_owned(), operation: Operation::Delete, value: None }
}

#[test]
fn levels_are_inherited_from_what_the_process_was_started_with() {
    let (loggers, _) = loggers("warn, ottla_net=debug,ottla_storage::log=trace,ottla_broker[a{b}]=trace");
    let levels = loggers.levels();
    let expected = [
        ("root", "WARN"),
        ("kafka.server", "WARN"),
        ("kafka.network", "DEBUG"),
        ("kafka.network.Processor", "DEBUG"),
        ("kafka.log", "WARN"),
        ("org.apache.kafka.storage.internals.log.UnifiedLog", "TRACE"),
        // The name begins the same, but it is no child.
        ("kafka.log.LogManager", "WARN"),
    ];
    for (name, level) in expected {
        assert_eq!(levels[name], level, "{name}");
    }
    let (nothing, _) = self::loggers("");
    assert_eq!(nothing.levels()["root"], "ERROR");
}

#[test]
fn changes_are_put_in_force_and_undone() {
    let (loggers, in_force) = loggers("info,ottla_net=debug,ottla_broker[a]=trace");
    loggers.change(&[
        set("kafka.server.KafkaApis", "TRACE"),
        set("root", "FATAL"),
        set("kafka.server", "ERROR"),
    ]);
    let filter = "ottla_broker[a]=trace,off,ottla_broker=error,ottla_broker::api=trace,\
                  ottla_broker::dispatch=trace,ottla_net=debug";
    assert_eq!(*in_force.lock(), filter);
    let levels = loggers.levels();
    let told = |name: &str| levels[name].as_str();
    assert_eq!(
        (told("root"), told("kafka.server"), told("kafka.server.KafkaApis")),
        ("FATAL", "ERROR", "TRACE")
    );
    assert_eq!((told("kafka.server.KafkaConfig"), told("kafka.raft")), ("ERROR", "ERROR"));
    assert_eq!((told("ottla_storage"), told("ottla_net")), ("FATAL", "DEBUG"));
    loggers.change(&[unset("kafka.server.KafkaApis"), set("root", "INFO")]);
    assert_eq!(loggers.levels()["kafka.server.KafkaApis"], "ERROR");
    loggers.change(&[unset("kafka.server")]);
    assert_eq!(*in_force.lock(), "ottla_broker[a]=trace,info,ottla_net=debug");
}
