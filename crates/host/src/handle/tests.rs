//! Tests of hosts.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn ids_fit_a_command_line() {
    let host = Host::simulated(5);
    for _ in 0..500 {
        let id = host.random_uuid();
        assert!(!id.is_reserved() && !id.to_string().starts_with('-'), "{id}");
    }
    let real = Host::real();
    assert_ne!(real.random_uuid(), real.random_uuid());
}

#[test]
fn a_seed_decides_what_is_random() {
    let draw = |seed| (0..5).map(|_| Host::simulated(seed).random_u64()).collect::<Vec<_>>();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let host = Host::simulated(1);
    assert_ne!(host.random_u64(), host.random_u64());
}

#[test]
fn a_test_moves_the_clock() {
    let host = Host::simulated(1);
    let (moment, wall_clock) = (host.now(), host.wall_clock());
    host.simulation().unwrap().advance(Duration::from_secs(5));
    assert_eq!(host.now() - moment, Duration::from_secs(5));
    assert_eq!(host.wall_clock().get() - wall_clock.get(), 5000);
}

#[tokio::test(start_paused = true)]
async fn paused_time_jumps() {
    let host = Host::simulated(1);
    let start = host.now();
    host.sleep_until(start + Duration::from_secs(3600)).await;
    assert_eq!(host.now() - start, Duration::from_secs(3600));
    let never = std::future::pending::<()>();
    assert_eq!(host.timeout_at(host.now() + Duration::from_secs(60), never).await, Err(Elapsed));
    assert_eq!(host.now() - start, Duration::from_secs(3660));
    assert_eq!(host.timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
}

#[tokio::test]
async fn blocking_work_is_bounded_and_done() {
    let host = Host::real_with_pool(3);
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let work = (0..20).map(|number| {
        let (running, most) = (running.clone(), most.clone());
        host.blocking(move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            number
        })
    });
    let work: Vec<_> = work.collect();
    for (number, done) in work.into_iter().enumerate() {
        assert_eq!(done.await, number);
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(Host::simulated(1).blocking(|| 7).await, 7);
}

#[tokio::test]
#[should_panic(expected = "on a pool panicked")]
async fn a_panic_reaches_who_waits() {
    Host::real().blocking(|| assert_eq!(1, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_moves_both_ways() {
    let host = Host::simulated(1);
    let start = host.now();
    let mut timer = crate::Timer::new(&host);
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut poll = |deadline| {
        let waker = std::task::Waker::noop();
        timer.poll_until(&mut std::task::Context::from_waker(waker), deadline).is_ready()
    };
    assert!(!poll(at(10)));
    assert!(!poll(at(5)));
    host.sleep_until(at(6)).await;
    assert!(poll(at(5)));
    assert!(!poll(at(20)));
    host.sleep_until(at(19)).await;
    assert!(!poll(at(30)));
    host.sleep_until(at(29)).await;
    assert!(!poll(at(30)));
    std::future::poll_fn(|cx| timer.poll_until(cx, at(30))).await;
    assert!(host.now() >= at(30) && host.now() < at(31));
}
