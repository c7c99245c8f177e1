//! Threads come with work and go without.

use std::sync::mpsc;

use super::*;

fn threads(pool: &Pool) -> usize {
    pool.queue.state.lock().threads
}

/// Runs as many jobs at once, so that each needs a thread.
fn run_together(pool: &Pool, jobs: usize) {
    let barrier = Arc::new(std::sync::Barrier::new(jobs + 1));
    for _ in 0..jobs {
        let barrier = barrier.clone();
        pool.run(Box::new(move || {
            barrier.wait();
        }));
    }
    barrier.wait();
}

#[test]
fn idle_threads_end_and_work_brings_new_ones() {
    let pool = Pool::new(4, Duration::from_millis(20), Kind::Blocking);
    for _ in 0..3 {
        run_together(&pool, 4);
        assert!(threads(&pool) > 0);
        while threads(&pool) > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn no_job_is_lost_between_a_thread_that_ends_and_the_next() {
    let pool = Pool::new(3, Duration::from_micros(50), Kind::Blocking);
    let (sender, receiver) = mpsc::channel();
    for number in 0..2000u32 {
        let sender = sender.clone();
        pool.run(Box::new(move || sender.send(number).unwrap()));
        if number % 7 == 0 {
            while threads(&pool) > 0 {
                std::thread::yield_now();
            }
        }
    }
    drop(sender);
    assert_eq!(receiver.iter().count(), 2000);
}

/// The priority of the thread that runs a job.
fn nice_of(pool: &Pool) -> i32 {
    let (sender, receiver) = mpsc::channel();
    pool.run(Box::new(move || sender.send(rustix::process::getpriority_process(None).unwrap()).unwrap()));
    receiver.recv().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn only_background_threads_yield_to_others() {
    let before = rustix::process::getpriority_process(None).unwrap();
    let limit = Duration::from_secs(10);
    assert_eq!(nice_of(&Pool::new(1, limit, Kind::Background)), BACKGROUND_NICE.max(before));
    assert_eq!(nice_of(&Pool::new(1, limit, Kind::Blocking)), before);
    assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
}
