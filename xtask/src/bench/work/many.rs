//! Many of something: partitions, topics that come and go, connections that do nothing.

use std::time::{Duration, Instant};

use super::{Figure, MIB, Server, figure, wait_for_leaders};
use crate::load::process;
use crate::load::protocol::{Connection, Request, put_i32, put_string};
use crate::workspace::Outcome;

const TOPICS_PER_REQUEST: usize = 500;
/// How long connections are left alone before their memory counts.
const IDLE_AFTER: Duration = Duration::from_secs(8);

/// A count with a comma before its thousands.
pub fn grouped(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        _ => format!("{},{:03}", count / 1000, count % 1000),
    }
}

/// Makes `topics` topics of one partition each.
pub fn partitions(server: Server, topics: usize) -> Outcome<Vec<Figure>> {
    let begin = Instant::now();
    create(server, "many", topics)?;
    let seconds = begin.elapsed().as_secs_f64();
    let resident = process::resident_bytes(server.pid)? as f64 / MIB;
    let count = grouped(topics);
    Ok(vec![
        figure(format!("create {count} topics, s"), seconds),
        figure(format!("resident with {count} partitions, MiB"), resident),
        figure(format!("open files with {count} partitions"), process::open_files(server.pid)? as f64),
    ])
}

fn create(server: Server, prefix: &str, topics: usize) -> Outcome {
    let mut connection = Connection::open(server.port)?;
    connection.set_patience(Duration::from_secs(180))?;
    let mut buffer = Vec::new();
    let names: Vec<String> = (0..topics).map(|it| format!("{prefix}-{it}")).collect();
    for names in names.chunks(TOPICS_PER_REQUEST) {
        connection.ask(&Request::create_topics(names, 1), &mut buffer)?.created()?;
    }
    match names.last() {
        Some(last) => wait_for_leaders(&mut connection, last, 1),
        None => Ok(()),
    }
}

/// Makes and deletes `topics` topics, round after round: what is left in memory.
pub fn come_and_go(server: Server, rounds: usize, topics: usize) -> Outcome<Vec<Figure>> {
    let mut connection = Connection::open(server.port)?;
    connection.set_patience(Duration::from_secs(180))?;
    let mut buffer = Vec::new();
    let before = process::resident_bytes(server.pid)? as f64 / MIB;
    let begin = Instant::now();
    let mut first = before;
    for round in 0..rounds {
        let prefix = format!("passing-{round}");
        create(server, &prefix, topics)?;
        let mut body = Vec::new();
        put_i32(&mut body, topics as i32);
        (0..topics).for_each(|it| put_string(&mut body, &format!("{prefix}-{it}")));
        put_i32(&mut body, 60_000);
        let mut answer = connection.ask(&Request::new(20, 3, body), &mut buffer)?;
        answer.i32()?;
        for _ in 0..answer.i32()? {
            answer.string()?;
            match answer.i16()? {
                0 => {}
                code => return Err(format!("a topic was not deleted: error {code}").into()),
            }
        }
        if round == 0 {
            first = process::resident_bytes(server.pid)? as f64 / MIB;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let count = grouped(rounds * topics);
    let after = process::resident_bytes(server.pid)? as f64 / MIB;
    Ok(vec![
        figure(format!("{count} topics made and deleted, topics/s"), (rounds * topics) as f64 / seconds),
        figure(format!("resident after {count} topics made and deleted, MiB"), after),
        figure(format!("resident growth after the first {topics} topics, MiB"), after - first),
    ])
}

/// Opens `count` connections that do nothing: what each costs the server.
pub fn idle_connections(server: Server, count: usize) -> Outcome<Vec<Figure>> {
    // What the first connections set up is not the cost of the others.
    let first: Vec<Connection> = connect(server, 100)?;
    let before = process::resident_bytes(server.pid)? as f64;
    let begin = Instant::now();
    let all = connect(server, count - first.len())?;
    let seconds = begin.elapsed().as_secs_f64();
    // They are idle once nobody remembers their last request: Ottla keeps a buffer for 5 s.
    std::thread::sleep(IDLE_AFTER);
    let after = process::resident_bytes(server.pid)? as f64;
    let label = grouped(count);
    Ok(vec![
        figure(format!("{label} idle connections, KiB each"), (after - before) / 1024.0 / all.len() as f64),
        figure("connections opened and asked once, /s", all.len() as f64 / seconds),
    ])
}

/// Opens connections that each ask for the versions that the server speaks, as every client does.
fn connect(server: Server, count: usize) -> Outcome<Vec<Connection>> {
    let mut buffer = Vec::new();
    (0..count)
        .map(|_| {
            let mut connection = Connection::open(server.port)?;
            connection.ask(&Request::new(18, 0, Vec::new()), &mut buffer)?;
            Ok(connection)
        })
        .collect()
}
